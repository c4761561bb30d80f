"""U-Boot: vtool's script is the first it runs, and one sector outside of every file system says what that starts.

The sector holds U-Boot environment text, so that U-Boot reads and writes it with ``env import -t`` and
``env export -t``. A sector is written whole or not at all, by the loader and by Linux, which no file on a
FAT file system is. The loader's half stands in ``templates/uboot/entry.cmd.j2``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .base import replace_file
from .loader import KEYS
from .typed import Any

SECTOR_BYTES = 512
FORMAT = "1"
ENTRY = "entry.scr"
IN_THE_WAY = ("extlinux/extlinux.conf", "boot/extlinux/extlinux.conf")
"""U-Boot looks for these first, and for its script where there are none; the script ends with what is set aside."""


def read_state(boot: dict[str, Any]) -> dict[str, str]:
    """Return the boot state: the sector's, or the copy's where somebody wrote over it."""
    for raw in (_read_sector(boot), _read_copy(boot)):
        found = parse(raw)
        if found is not None:
            return found
    return dict.fromkeys(KEYS, "")


def parse(raw: bytes) -> dict[str, str] | None:
    """Read environment text; None when it is no boot state of this format, or somebody wrote over some of it."""
    pairs: dict[str, str] = {}
    for line in raw.split(b"\0", 1)[0].decode("ascii", errors="replace").splitlines():
        key, separator, value = line.partition("=")
        if separator and key.startswith("vtool_"):
            pairs[key[len("vtool_") :]] = value
    state = {key: pairs.get(key, "") for key in KEYS}
    sound = all(set(value) <= set("0123456789abcdef") for value in state.values())
    return state if pairs.get("state") == FORMAT and sound else None


def format_state(state: dict[str, str]) -> bytes:
    """Write a boot state as environment text of one sector."""
    pairs = {"state": FORMAT, **{key: value for key, value in state.items() if value}}
    text = "".join(f"vtool_{key}={value}\n" for key, value in pairs.items()).encode("ascii")
    if len(text) >= SECTOR_BYTES:
        raise ValueError(f"a boot state of {len(text)} bytes")
    return text.ljust(SECTOR_BYTES, b"\0")


def write_state(boot: dict[str, Any], state: dict[str, str]) -> None:
    """Write the sector, then the copy that is read where the sector is not one."""
    content = format_state(state)
    with Path(boot["state_device"]).open("r+b", buffering=0) as device:
        device.seek(boot["state_sector"] * SECTOR_BYTES)
        device.write(content)
        os.fsync(device.fileno())
    replace_file(copy_path(boot), format_state({**state, "trial": "", "trial_set": ""}).rstrip(b"\0"))


def forget_state(boot: dict[str, Any]) -> None:
    """Empty the sector: the loader starts what the board came with."""
    with Path(boot["state_device"]).open("r+b", buffering=0) as device:
        device.seek(boot["state_sector"] * SECTOR_BYTES)
        device.write(bytes(SECTOR_BYTES))
        os.fsync(device.fileno())
    with contextlib.suppress(FileNotFoundError):
        copy_path(boot).unlink()


def copy_path(boot: dict[str, Any]) -> Path:
    """Return where the copy of the boot state lies."""
    return Path(boot["mount"]) / "vtool" / "state.env"


def _read_sector(boot: dict[str, Any]) -> bytes:
    with Path(boot["state_device"]).open("rb", buffering=0) as device:
        return os.pread(device.fileno(), SECTOR_BYTES, boot["state_sector"] * SECTOR_BYTES)


def _read_copy(boot: dict[str, Any]) -> bytes:
    try:
        return copy_path(boot).read_bytes()
    except OSError:
        return b""


def entry_path(boot: dict[str, Any]) -> Path:
    """Return the script that U-Boot runs."""
    return Path(boot["mount"]) / "boot.scr"
