"""What a board came with, as a script of U-Boot's: what its ``extlinux.conf`` boots by default.

Written where ``sysboot`` may be missing, which alone can be pointed to a file of another name: U-Boot has it with
CONFIG_DISTRO_DEFAULTS, and bootstd does without (cmd/Kconfig). Files go where U-Boot's own environment puts them, as
``sysboot`` would have it (boot/pxe_utils.c label_boot).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from .base import replace_file
from .typed import Any

_MAGIC, _LINUX, _ARM64, _SCRIPT = 0x27051956, 5, 22, 6
"""U-Boot include/image.h: IH_MAGIC, IH_OS_LINUX, IH_ARCH_ARM64, IH_TYPE_SCRIPT."""


def script_path(boot: dict[str, Any]) -> Path:
    """Return where that script lies."""
    return Path(boot["mount"]) / "vtool" / "factory.scr"


def keep(settings: Path, boot: dict[str, Any]) -> None:
    """Write the script of an ``extlinux.conf``, if it boots anything."""
    commands = list(commands_of(settings.read_text(errors="replace")))
    if commands:
        replace_file(script_path(boot), script_image("\n".join([*commands, ""])))


def commands_of(text: str) -> Iterator[str]:
    """Yield U-Boot's commands for the entry that an ``extlinux.conf`` boots by default; none where it has none."""
    labels, default = _labels(text)
    entry = labels.get(default) or next(iter(labels.values()), {})
    kernel = entry.get("linux") or entry.get("kernel")
    if kernel is None:
        return
    place = "${devtype} ${devnum}:${distro_bootpart}"
    yield "setenv bootargs " + re.sub(r"([;$\"'\\])", r"\\\1", entry.get("append", ""))
    ramdisk, tree = entry.get("initrd"), "${fdtcontroladdr}"
    if ramdisk is not None:
        yield f"load {place} ${{ramdisk_addr_r}} {_from_root(ramdisk)}"
        yield "setenv vtool_ramdisk ${ramdisk_addr_r}:${filesize}"
    else:
        yield "setenv vtool_ramdisk -"
    folder = entry.get("fdtdir") or entry.get("devicetreedir")
    file = entry.get("fdt") or entry.get("devicetree") or (f"{folder.rstrip('/')}/${{fdtfile}}" if folder else None)
    if file is not None:
        yield f"load {place} ${{fdt_addr_r}} {_from_root(file)}"
        tree = "${fdt_addr_r}"
    yield f"load {place} ${{kernel_addr_r}} {_from_root(kernel)}"
    yield f"booti ${{kernel_addr_r}} ${{vtool_ramdisk}} {tree}"


def script_image(text: str) -> bytes:
    """Return an image that ``source`` takes (U-Boot include/image.h legacy_img_hdr; doc/mkimage.1 on scripts)."""
    words = text.encode()
    content = struct.pack(">II", len(words), 0) + words
    head = struct.pack(
        ">7I4B32s", _MAGIC, 0, 0, len(content), 0, 0, zlib.crc32(content), _LINUX, _ARM64, _SCRIPT, 0, b"factory"
    )
    return head[:4] + struct.pack(">I", zlib.crc32(head)) + head[8:] + content


def _labels(text: str) -> tuple[dict[str, dict[str, str]], str]:
    labels: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    default = ""
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        key, value = key.lower(), value.strip()
        if key == "label":
            current = labels.setdefault(value, {})
        elif key == "default":
            default = value
        elif key and not key.startswith("#"):
            current.setdefault(key, value)
    return labels, default


def _from_root(path: str) -> str:
    """Return a path of an ``extlinux.conf``; one that is not absolute is beside that file for syslinux alone."""
    return path if path.startswith("/") else f"/{path}"
