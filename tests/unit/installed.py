"""A board's running system as a folder: what ``installation.sh`` and its like ask of one is asked of that."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from vtool.board.protocols import CommandResult

UUID = "7654002a-02"
FILES = {
    "proc/cmdline": "console=ttyS1,115200 root=LABEL=root rootfstype=ext4 quiet",
    "proc/mounts": (
        "/dev/mmcblk0p2 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n"
        "/dev/mmcblk0p1 /boot/firmware vfat rw,relatime 0 0\n"
    ),
    "boot/firmware/extlinux/extlinux.conf": "label l0\n",
    "sys/firmware/devicetree/base/chosen/u-boot,version": "2026.07\0",
    "sys/class/tty/console/active": "ttyS1",
    "sys/class/watchdog/watchdog0/timeout": "15",
    "sys/class/watchdog/watchdog0/identity": "Broadcom BCM2835 Watchdog timer",
}


class Installed:
    """The commands of such a board; ``files`` replace or add to ``FILES``, None takes one away."""

    def __init__(self, folder: Path, **files: str | None) -> None:
        self.folder = folder
        for name, text in {**FILES, **files}.items():
            if text is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
        self.partition("mmcblk0", 1, 2048, 1 << 19)
        self.partition("mmcblk0", 2, 1 << 20, 1 << 23, UUID)
        (folder / "run/systemd/system").mkdir(parents=True, exist_ok=True)

    def partition(self, disk: str, number: int, start: int, size: int, partuuid: str = "") -> None:
        """Add a partition of sectors [start, start + size)."""
        name = f"{disk}p{number}"
        entry = self.folder / "sys/devices" / disk / name
        if not entry.exists():
            entry.mkdir(parents=True)
            for key, value in (("partition", number), ("start", start), ("size", size)):
                (entry / key).write_text(f"{value}\n")
            classes = self.folder / "sys/class/block"
            classes.mkdir(parents=True, exist_ok=True)
            (classes / name).symlink_to(entry)
            (self.folder / "dev/disk/by-partuuid").mkdir(parents=True, exist_ok=True)
            (self.folder / "dev" / name).touch()
        if partuuid and not (self.folder / "dev/disk/by-partuuid" / partuuid).exists():
            (self.folder / "dev/disk/by-partuuid" / partuuid).symlink_to(self.folder / "dev" / name)

    def as_root(self, *words: str) -> str:
        """Return a command line."""
        return shlex.join(words)

    def run(self, command: str, *, timeout_s: float = 60.0) -> CommandResult:
        """Run a command with the folder as its root, as far as the scripts look at files."""
        for place in ("/proc/", "/sys/", "/etc/", "/run/", "/dev/disk/", "/boot/"):
            command = command.replace(place, f"{self.folder}{place}")
        command = command.replace("${target%/}/$file", f"{self.folder}${{target%/}}/$file")
        done = subprocess.run(
            ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        said = done.stdout.replace(str(self.folder), "")
        return CommandResult(done.returncode, said, done.stderr)
