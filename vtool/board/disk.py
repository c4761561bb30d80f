"""The disk of an emulated board: GPT, a FAT boot partition U-Boot reads, an ext4 root.

Works on files only, without root privileges or loop devices (mtools, debugfs, sfdisk).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vtool.base.units import MIB
from vtool.diagnostics import board_failed, not_installed

BOOT_PARTITION_BYTES = 128 * MIB
_FIRST_PARTITION = 1 * MIB
_TAIL = 1 * MIB


@dataclass(frozen=True)
class RootFile:
    """A file to put into the root partition: absolute path, content, permission bits."""

    path: str
    content: bytes
    mode: int


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

    root_start = _FIRST_PARTITION + BOOT_PARTITION_BYTES
    root_bytes = root_image.stat().st_size
    with disk.open("wb") as stream:
        stream.truncate(root_start + root_bytes + _TAIL)
    layout = (
        "label: gpt\n"
        f"start={_FIRST_PARTITION // 512}, size={BOOT_PARTITION_BYTES // 512}, "
        'type=uefi, name="boot", attrs="LegacyBIOSBootable"\n'
        f'start={root_start // 512}, size={root_bytes // 512}, type=linux, name="root"\n'
    )
    _run("partition the disk", ["sfdisk", "--quiet", str(disk)], layout)
    _copy_into(fat, disk, _FIRST_PARTITION)
    _copy_into(root_image, disk, root_start)
    _write_root_files(disk, root_start, root_files, work)


def _copy_into(source: Path, disk: Path, offset: int) -> None:
    _run(
        f"copy {source.name} into the disk",
        [
            *("dd", f"if={source}", f"of={disk}", "bs=1M", f"seek={offset // MIB}"),
            *("conv=notrunc,sparse", "status=none"),
        ],
    )


def _write_root_files(disk: Path, root_start: int, files: Sequence[RootFile], work: Path) -> None:
    script: list[str] = []
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
            f"sif {file.path} uid 0",
            f"sif {file.path} gid 0",
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
