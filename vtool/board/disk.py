"""The disk of an emulated board: GPT, a FAT boot partition U-Boot reads, an ext4 root.

Works on files only, without root privileges or loop devices (mtools, debugfs, sfdisk).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtool.base.units import MIB, align_up
from vtool.diagnostics import board_failed, not_installed

BOOT_PARTITION_BYTES = 128 * MIB
_FIRST_PARTITION = 1 * MIB
_TAIL = 1 * MIB


@dataclass(frozen=True)
class RootFile:
    """A file to put into the root partition: absolute path, content, permission bits, number of user and group."""

    path: str
    content: bytes
    mode: int
    owner: int = 0


@dataclass(frozen=True)
class Partition:
    """A partition to be: its name in the GPT, the image that is its content, sfdisk's words for the rest."""

    name: str
    image: Path
    words: str


def with_system_programs() -> dict[str, str]:
    """Return the environment with the folders of mkfs and sfdisk, which an ordinary user's PATH lacks."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def make_disk(
    disk: Path, root_image: Path, boot_files: Mapping[str, Path], root_files: Sequence[RootFile], work: Path
) -> None:
    """Write a whole disk image. ``work`` is an empty folder for intermediate files.

    ``boot_files`` maps a path on the boot partition to a file. Raises VtoolError VT613 naming the step.
    """
    fat = work / "boot.fat"
    with fat.open("wb") as stream:
        stream.truncate(BOOT_PARTITION_BYTES)
    _run("format the boot partition", ["mkfs.vfat", "-n", "BOOT", "-i", "0b0a4d00", str(fat)])
    for folder in sorted({parent for name in boot_files for parent in Path(name).parents} - {Path()}):
        _run("make a boot folder", ["mmd", "-i", str(fat), f"::{folder}"])
    for name, source in boot_files.items():
        _run("copy a boot file", ["mcopy", "-i", str(fat), str(source), f"::{name}"])

    boot = Partition("boot", fat, 'type=uefi, attrs="LegacyBIOSBootable"')
    write_partitions(disk, [boot, Partition("root", root_image, "type=linux")])
    write_root_files(disk, root_files, work)


def write_partitions(disk: Path, partitions: Sequence[Partition]) -> None:
    """Write a disk image with partitions one after the other, of whole MiB. VtoolError VT613."""
    at, layout, starts = _FIRST_PARTITION, ["label: gpt"], []
    for partition in partitions:
        size = align_up(partition.image.stat().st_size, MIB)
        layout.append(f'start={at // 512}, size={size // 512}, name="{partition.name}", {partition.words}')
        starts.append(at)
        at += size
    with disk.open("wb") as stream:
        stream.truncate(at + _TAIL)
    _run("partition the disk", ["sfdisk", "--quiet", str(disk)], "\n".join([*layout, ""]))
    for partition, start in zip(partitions, starts, strict=True):
        _copy_into(partition.image, disk, start)


def _root_start(disk: Path) -> int:
    """Return where the partition named `root` begins, in bytes. VtoolError VT613 when there is none."""
    said = _run("read the partitions", ["sfdisk", "--json", str(disk)])
    table = json.loads(said).get("partitiontable", {})
    for row in table.get("partitions", ()):
        if row.get("name") == "root":
            return int(row["start"]) * int(table.get("sectorsize", 512))
    hint = "give its root partition that name: sfdisk --part-label DISK NUMBER root"
    raise board_failed("VT613", f"'{disk}' has no partition named 'root' (GPT)", hints=(hint,))


def _copy_into(source: Path, disk: Path, offset: int) -> None:
    _run(
        f"copy {source.name} into the disk",
        [
            *("dd", f"if={source}", f"of={disk}", "bs=1M", f"seek={offset // MIB}"),
            *("conv=notrunc,sparse", "status=none"),
        ],
    )


def write_root_files(disk: Path, files: Sequence[RootFile], work: Path) -> None:
    """Put files into the partition named `root`, which is ext4. VtoolError VT613."""
    root_start, script = _root_start(disk), list[str]()
    for index, file in enumerate(files):
        source = work / f"root-file-{index}"
        source.touch(mode=0o600)
        source.write_bytes(file.content)
        parents = [str(parent) for parent in reversed(Path(file.path).parents)][1:]
        script += [f"mkdir {parent}" for parent in parents]
        script += [
            f"rm {file.path}",
            f"write {source} {file.path}",
            f"sif {file.path} mode 0{0o100000 | file.mode:o}",
            f"sif {file.path} uid {file.owner}",
            f"sif {file.path} gid {file.owner}",
        ]
    commands = work / "debugfs.commands"
    commands.write_text("\n".join(script) + "\n")
    filesystem = f"{disk}?offset={root_start}"
    _run("write keys into the root partition", ["debugfs", "-w", "-f", str(commands), filesystem])
    for file in files:
        got = _run("read a key back", ["debugfs", "-R", f"cat {file.path}", filesystem])
        if got != file.content:
            raise board_failed("VT613", f"'{file.path}' was not written into the root partition")


def _run(step: str, command: list[str], text: str = "") -> bytes:
    try:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, check=False, env=with_system_programs()
        )
    except FileNotFoundError:
        raise not_installed(command[0]) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-10:]
        raise board_failed("VT613", f"making the board's disk failed at the step '{step}'", detail=said)
    return done.stdout
