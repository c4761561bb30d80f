"""U-Boot: vtool's script is the first it runs, and one sector outside of every file system says what that starts.

The sector holds U-Boot environment text, so that U-Boot reads and writes it with ``env import -t`` and
``env export -t``. A sector is written whole or not at all, by the loader and by Linux. Where a board has none to spare
(``state`` of ``boot``), it is the one sector of a file on a FAT, which both write in place, so that neither its name
nor its clusters ever change; or variables of U-Boot's own environment, which libubootenv writes for Linux. The loader's
half stands in ``templates/uboot/entry.cmd.j2``, and ``u_boot_factory`` has what it ends with.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from . import u_boot_factory
from .base import BoardError, replace_file, run
from .loader import KEYS
from .typed import Any

SECTOR_BYTES = 512
FORMAT = "1"
ENTRY = "entry.scr"
IN_THE_WAY = ("extlinux/extlinux.conf", "boot/extlinux/extlinux.conf")
"""U-Boot looks for these first, and for its script where there are none; the script ends with what is set aside."""
_OWN_VARIABLES = ("vtool_generation", "vtool_set", "vtool_save", "vtool_start")
"""Those that vtool's script sets for itself, and that U-Boot saves with the others."""


def read_state(boot: dict[str, Any]) -> dict[str, str]:
    """Return the boot state: what is kept of it, or the copy's where somebody wrote over that."""
    for raw in (_read(boot), _read_copy(boot)):
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
    """Write the boot state, then the copy that is read where there is none."""
    _write(boot, format_state(state))
    replace_file(copy_path(boot), format_state({**state, "trial": "", "trial_set": ""}).rstrip(b"\0"))


def forget_state(boot: dict[str, Any]) -> None:
    """Leave no boot state: the loader starts what the board came with."""
    _write(boot, bytes(SECTOR_BYTES))
    with contextlib.suppress(FileNotFoundError):
        copy_path(boot).unlink()


def keep(boot: dict[str, Any], settings: Path) -> None:
    """Keep what an ``extlinux.conf`` boots startable when it is set aside, by whatever U-Boot."""
    u_boot_factory.keep(settings, boot)


def copy_path(boot: dict[str, Any]) -> Path:
    """Return where the copy of the boot state lies."""
    return Path(boot["mount"]) / "vtool" / "state.env"


def file_path(boot: dict[str, Any]) -> Path:
    """Return where the boot state lies that is a file of one sector."""
    return Path(boot["mount"]) / "vtool" / "boot.env"


def _read(boot: dict[str, Any]) -> bytes:
    if boot.get("state") == "environment":
        return run("fw_printenv", check=False).stdout.encode()
    if boot.get("state") == "file":
        return file_path(boot).read_bytes() if file_path(boot).exists() else b""
    with Path(boot["state_device"]).open("rb", buffering=0) as device:
        return os.pread(device.fileno(), SECTOR_BYTES, boot["state_sector"] * SECTOR_BYTES)


def _write(boot: dict[str, Any], content: bytes) -> None:
    if boot.get("state") == "environment":
        _write_environment(content)
    elif boot.get("state") != "file":
        _write_in_place(Path(boot["state_device"]), boot["state_sector"], content)
    elif file_path(boot).exists() and file_path(boot).stat().st_size == SECTOR_BYTES:
        _write_in_place(file_path(boot), 0, content)
    else:
        replace_file(file_path(boot), content)


def _write_in_place(path: Path, sector: int, content: bytes) -> None:
    with path.open("r+b", buffering=0) as stream:
        stream.seek(sector * SECTOR_BYTES)
        stream.write(content)
        os.fsync(stream.fileno())


def _write_environment(content: bytes) -> None:
    """Set U-Boot's variables, all in one write of its environment; a name without a value takes one away.

    Raises VT716 where Linux does not reach that environment.
    """
    pairs = dict(line.split("=", 1) for line in content.split(b"\0", 1)[0].decode("ascii").splitlines())
    names = (*(f"vtool_{key}" for key in ("state", *KEYS)), *(() if pairs else _OWN_VARIABLES))
    with tempfile.NamedTemporaryFile("w", suffix=".env") as script:
        script.writelines(f"{name} {pairs.get(name, '')}".rstrip() + "\n" for name in names)
        script.flush()
        try:
            run("fw_setenv", "--script", script.name)
        except (OSError, BoardError) as error:
            hint = "install libubootenv-tool, and say in /etc/fw_env.config where the environment is"
            raise BoardError("VT716", f"U-Boot's environment cannot be written: {error}", [hint]) from None


def _read_copy(boot: dict[str, Any]) -> bytes:
    try:
        return copy_path(boot).read_bytes()
    except OSError:
        return b""


def entry_path(boot: dict[str, Any]) -> Path:
    """Return the script that U-Boot runs."""
    return Path(boot["mount"]) / "boot.scr"
