"""EDK2 and U-Boot themselves start on the command lines of guests that they boot, and EDK2 makes a store of a flash."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path

from tests.golden.test_golden import CASES, rendered
from vtool.cli.common import prepare
from vtool.plan.types import KvmGuest

VOLUME = b"_FVH"
"""At byte 40 of a flash that EDK2 formatted (UEFI PI 1.7, volume 3, 3.2.1)."""


def started(guest: KvmGuest, folder: Path) -> list[str]:
    """Return how the unit of a guest starts QEMU, without KVM and in a folder."""
    text = rendered(CASES["kvm-firmware"])[f"board0/generation/units/{guest.unit}"]
    (line,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", text, re.M)
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line.replace("\\\n", " "))]
    words[words.index("kvm")], words[words.index("host")] = "tcg", "max"
    return [re.sub(r"/(run|var/lib|var/log)/vtool[^,]*/", f"{folder}/", word) for word in words]


def test_an_empty_flash_becomes_a_store(tmp_path: Path) -> None:
    guest = prepare(CASES["kvm-firmware"]).plan.boards[0].kvm_guests[0]
    assert guest.firmware is not None and guest.firmware.variables is not None
    words = started(guest, tmp_path)
    flash = tmp_path / Path(guest.firmware.variables.disk_path).name
    for path, size in ((flash, guest.firmware.variables.disk_bytes), (tmp_path / "debian.img", 1 << 20)):
        with path.open("wb") as file:
            file.truncate(size)
    with subprocess.Popen(words, stderr=subprocess.PIPE) as qemu:
        until = time.monotonic() + 180
        while (seen := flash.read_bytes()[40:44]) != VOLUME and time.monotonic() < until:
            assert qemu.poll() is None, qemu.stderr and qemu.stderr.read()
            time.sleep(0.2)
        qemu.kill()
    assert seen == VOLUME


def test_u_boot_starts(tmp_path: Path) -> None:
    guest = prepare(CASES["kvm-firmware"]).plan.boards[0].kvm_guests[2]
    words = started(guest, tmp_path)
    with (tmp_path / "debian3.img").open("wb") as file:
        file.truncate(1 << 20)
    log = tmp_path / "console.log"
    with subprocess.Popen(words, stderr=subprocess.PIPE) as qemu:
        until = time.monotonic() + 180
        while not (log.exists() and b"Hit any key" in log.read_bytes()) and time.monotonic() < until:
            assert qemu.poll() is None, qemu.stderr and qemu.stderr.read()
            time.sleep(0.2)
        qemu.kill()
    assert re.search(rb"U-Boot \d{4}\.", log.read_bytes()) and b"DRAM:  512 MiB" in log.read_bytes()
