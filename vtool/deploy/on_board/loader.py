"""The board's boot loader: which generation it starts, and vtool's way into it.

A loader is a module with ``ENTRY`` (the file of a boot set that is its way in), ``IN_THE_WAY`` (what it would take
before that, on the boot partition), ``keep`` for what is set aside of that, ``entry_path``, ``read_state``,
``write_state`` and ``forget_state``. ``boot`` is a generation's own: ``loader``, ``mount`` of the boot partition, and
what else that loader needs. A boot state is these texts, each empty where nothing is known:

good, good_set    the last generation that was confirmed, and its folder on the boot partition
last, last_set    the one confirmed before it
trial, trial_set  the one to boot next, once: the loader takes it out before it starts it
count             starts of the system since Linux last said that it is up (hexadecimal)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from .base import replace_file, sha256_of, sync_folder
from .typed import Any

KEYS = ("good", "good_set", "last", "last_set", "trial", "trial_set", "count")
_MODULES = {"u-boot": ".u_boot", "systemd-boot": ".systemd_boot"}


def of(boot: dict[str, Any]) -> ModuleType:
    """Return the board's loader. What was deployed before there were two is U-Boot's."""
    return import_module(_MODULES[boot.get("loader", "u-boot")], __package__)


def install(boot: dict[str, Any], boot_set: Path) -> None:
    """Make vtool's file of a boot set the first that the loader reads; what was there before is kept beside it."""
    entry = of(boot).entry_path(boot)
    backup = _backup(entry)
    if not backup.exists():
        replace_file(backup, entry.read_bytes() if entry.exists() else b"")
    replace_file(entry, (boot_set / of(boot).ENTRY).read_bytes())
    in_the_way = list(filter(Path.exists, _in_the_way(boot)))
    if in_the_way:
        of(boot).keep(boot, in_the_way[0])
    for path in in_the_way:
        path.replace(_backup(path))
        sync_folder(path.parent)


def changed(boot: dict[str, Any], wanted_sha256: str) -> list[str]:
    """Return what somebody put between the loader and vtool's file."""
    entry = of(boot).entry_path(boot)
    found = [] if sha256_of(entry) == wanted_sha256 else [str(entry)]
    return found + [str(path) for path in _in_the_way(boot) if path.exists()]


def uninstall(boot: dict[str, Any]) -> None:
    """Let the board boot as it did before vtool."""
    entry = of(boot).entry_path(boot)
    for path in (*_in_the_way(boot), entry):
        if _backup(path).exists():
            _backup(path).replace(path)
    if entry.exists() and not entry.stat().st_size:
        entry.unlink()
    of(boot).forget_state(boot)


def _in_the_way(boot: dict[str, Any]) -> list[Path]:
    return [Path(boot["mount"]) / name for name in of(boot).IN_THE_WAY]


def _backup(path: Path) -> Path:
    return path.with_name(f"{path.name}.before-vtool")
