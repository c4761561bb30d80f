"""How a running board was installed and started: its partitions, boot loader, consoles, watchdogs, programs.

What no facts file of a kind of board can say. One script asks for all of it (``installation.sh``), which changes
nothing and needs no program of vtool's; ``vtool board import --ssh``, ``vtool board check`` and a deploy read the same
answer. Enter at ``question`` and ``installation``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("installation.sh")
SCRIPTS = ("boot.scr.uimg", "boot.scr", "boot/boot.scr.uimg", "boot/boot.scr")
EXTLINUX = ("extlinux/extlinux.conf", "boot/extlinux/extlinux.conf")
SYSTEMD_BOOT = ("EFI/systemd/systemd-bootaa64.efi", "loader/loader.conf")
DEFAULT_OF_UEFI = "EFI/BOOT/BOOTAA64.EFI"
_OF_GRUB = ("grub/grub.cfg", "EFI/debian/grubaa64.efi", "EFI/ubuntu/grubaa64.efi")
_OF_VTOOL = "vtool/state.env"
_FILES = (*SCRIPTS, *EXTLINUX, *SYSTEMD_BOOT, DEFAULT_OF_UEFI, _OF_VTOOL, *_OF_GRUB)
"""What is looked for on each file system that is mounted."""
_MARKS: Mapping[str, tuple[str, ...]] = {"u-boot": (*EXTLINUX, *SCRIPTS), "systemd-boot": SYSTEMD_BOOT}


@dataclass(frozen=True)
class Mount:
    """A file system that is mounted: its device, where, which kind, whether to be read only, KiB that are free.

    ``files`` are those of a boot loader that are on it.
    """

    source: str
    target: str
    kind: str
    read_only: bool
    free_kib: int
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partition:
    """A partition: its name, its disk's, and the sectors of 512 bytes that it takes there, [start, start + size)."""

    name: str
    disk: str
    start: int
    size: int


@dataclass(frozen=True)
class Installation:
    """All that the running system tells of how it is installed; ``rows`` are the single words by their keys."""

    words: Mapping[str, str]
    mounts: tuple[Mount, ...]
    partitions: tuple[Partition, ...]
    partuuids: Mapping[str, str]
    rows: tuple[tuple[str, str], ...]
    environment: Mapping[str, str]

    def all(self, key: str) -> tuple[str, ...]:
        """Return every row of a key that may have several."""
        return tuple(value for name, value in self.rows if name == key)

    def command_line(self, name: str) -> str:
        """Return the value of the last such word of the kernel's command line; empty without one."""
        found = re.findall(rf"(?:^|\s){re.escape(name)}=(\S+)", self.words.get("cmdline", ""))
        return found[-1] if found else ""

    @property
    def root(self) -> Mount | None:
        """Return the root file system."""
        return self.mount_at("/")

    def mount_at(self, target: str) -> Mount | None:
        """Return what is mounted there, the last of several."""
        return next((mount for mount in reversed(self.mounts) if mount.target == target), None)

    @property
    def root_device(self) -> str:
        """Return the root device as any kernel finds it: by its partition's UUID, else as it was found at this boot.

        Linux looks up PARTUUID= itself (init/do_mounts.c, block/early-lookup.c), other names a ramdisk alone.
        """
        source = self.root.source if self.root else ""
        if source in self.partuuids:
            return f"PARTUUID={self.partuuids[source]}"
        return self.command_line("root") or (source if source.startswith("/dev/") else "")

    @property
    def root_filesystem(self) -> str:
        """Return the kind of the root file system; empty when it is none that a disk has."""
        return self.root.kind if self.root else ""

    def boot_mounts(self, loader: str) -> tuple[Mount, ...]:
        """Return the file systems that a loader may have read this boot from: those with files for it, best first.

        What a vtool deployed to before is the one.
        """
        known = [mount for mount in self.mounts if _OF_VTOOL in mount.files]
        if known:
            return tuple(known)
        return tuple(mount for mount in self.mounts if any(mark in mount.files for mark in _MARKS[loader]))

    def told(self, loader: str) -> dict[str, str]:
        """Return what of the section ``boot`` the board tells, by its keys; of several boot partitions none."""
        mounts = self.boot_mounts(loader)
        told = {"partition_mount": mounts[0].target if len(mounts) == 1 else ""}
        told |= {"root_device": self.root_device, "root_filesystem": self.root_filesystem}
        return {key: value for key, value in told.items() if value}

    @property
    def u_boot(self) -> str:
        """Return U-Boot's version: as it told the kernel (boot/fdt_support.c), else its environment; empty for none."""
        found = re.search(r"\d{4}\.\d{2}\S*", self.words.get("u-boot", "") or self.environment.get("ver", ""))
        return found[0] if found else ""

    def disk_of(self, mount: Mount) -> str:
        """Return the name of the disk that a mounted partition is on; empty where it is on none."""
        name = mount.source.removeprefix("/dev/")
        return next((part.disk for part in self.partitions if part.name == name), "")

    def free_sectors(self, disk: str) -> int | None:
        """Return the first sector of the last MiB before a disk's first partition, from 1 MiB on; None without a gap.

        Whether that is really free only its content tells: boot loaders lie there, too.
        """
        first = min((part.start for part in self.partitions if part.disk == disk), default=0)
        return first - 8 if first >= 2048 else None


def starts_systemd_boot(mount: Mount) -> bool:
    """Whether firmware can find systemd-boot on an EFI system partition: by its own name, or as the only default."""
    has_grub = any("grub" in file for file in mount.files)
    return SYSTEMD_BOOT[0] in mount.files or (DEFAULT_OF_UEFI in mount.files and not has_grub)


def question() -> str:
    """Return the shell line that asks."""
    return shlex.join(["/bin/sh", "-c", _SCRIPT.read_text(), "sh", *_FILES])


def installation(said: str) -> Installation:
    """Read what ``question`` printed."""
    rows = tuple((key, value) for key, _, value in (line.partition(" ") for line in said.splitlines()) if value)
    has: dict[str, list[str]] = {}
    for target, file in _pairs(rows, "has"):
        has.setdefault(target, []).append(file)
    return Installation(
        words=dict(rows),
        mounts=tuple(_mounts(rows, has)),
        partitions=tuple(_partitions(rows)),
        partuuids=dict(_pairs(rows, "partuuid")),
        rows=rows,
        environment=dict(_pairs(rows, "environment")),
    )


def _pairs(rows: tuple[tuple[str, str], ...], key: str) -> Iterator[tuple[str, str]]:
    """Yield what stands in the rows of a key: a first word, and the rest."""
    for first, _, rest in (value.partition(" ") for name, value in rows if name == key):
        yield first, rest


def _mounts(rows: tuple[tuple[str, str], ...], has: Mapping[str, list[str]]) -> Iterator[Mount]:
    for value in (value for key, value in rows if key == "mount"):
        fields = value.split(" ")
        if len(fields) == 5 and fields[4].isdigit():
            source, target, kind, option, free = fields
            yield Mount(source, target, kind, option == "ro", int(free), tuple(has.get(target, ())))


def _partitions(rows: tuple[tuple[str, str], ...]) -> Iterator[Partition]:
    for value in (value for key, value in rows if key == "partition"):
        name, disk, start, size = value.split(" ")
        yield Partition(name, disk, int(start), int(size))
