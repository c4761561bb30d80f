"""EDK2 itself starts on the command line of a guest that firmware boots, and makes a store of an empty flash."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path

from tests.golden.test_golden import CASES, rendered
from vtool.cli.common import prepare

VOLUME = b"_FVH"
"""At byte 40 of a flash that EDK2 formatted (UEFI PI 1.7, volume 3, 3.2.1)."""


def test_an_empty_flash_becomes_a_store(tmp_path: Path) -> None:
    guest = prepare(CASES["kvm-firmware"]).plan.boards[0].kvm_guests[0]
    assert guest.firmware is not None
    text = rendered(CASES["kvm-firmware"])[f"board0/generation/units/{guest.unit}"]
    (line,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", text, re.M)
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line.replace("\\\n", " "))]
    words[words.index("kvm")], words[words.index("host")] = "tcg", "max"
    words = [re.sub(r"/(run|var/lib|var/log)/vtool[^,]*/", f"{tmp_path}/", word) for word in words]
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
