"""``vtool board check``: what is not ready is said, with what to do, before anything is risked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.property.xen_topologies import base_tree
from tests.unit.installed import Installed
from tests.unit.test_installation import plan
from vtool.board.protocols import Board
from vtool.cli import board_verb
from vtool.cli.main import main
from vtool.deploy.board_check import Line, checked
from vtool.deploy.for_installation import for_installation, look
from vtool.diagnostics import VtoolError
from vtool.model.board_facts import BoardFacts, BootState, LoadAddresses
from vtool.model.validate import load_facts

COMPATIBLE = "sys/firmware/devicetree/base/compatible"
RPI4 = "raspberrypi,4-model-b\0brcm,bcm2711\0"
SECTOR = BootState(device="/dev/mmcblk0", sector=9, read_command="mmc read", write_command="mmc write")


class Ready(Installed):
    """A Raspberry Pi 4 that is ready; ``said`` replaces rows of what it says, by their first word."""

    def __init__(self, folder: Path, said: dict[str, str], **files: str | None) -> None:
        super().__init__(folder, **{COMPATIBLE: RPI4, **files})
        (folder / "sys/firmware/fdt").write_bytes(base_tree("rpi4"))
        self.said = {"user": "0", "python": "3.11", "clock": str(int(time.time())), "fsck-vfat": "x", **said}
        self.free = "500000"

    def run(self, command: str, *, timeout_s: float = 60.0) -> Any:
        done = super().run(command, timeout_s=timeout_s)
        if "\nuser " not in done.stdout:
            return done
        lines = [line for line in done.stdout.splitlines() if line.split(" ")[0] not in self.said]
        lines = [f"{line.rsplit(' ', 1)[0]} {self.free}" if line.startswith("mount ") else line for line in lines]
        lines += [f"{key} {value}" for key, value in self.said.items() if value]
        return type(done)(done.code, "\n".join(lines), done.stderr)


def facts(**boot: Any) -> BoardFacts:
    shipped = load_facts("rpi4").facts
    assert shipped.boot is not None
    return shipped.model_copy(update={"boot": shipped.boot.model_copy(update=boot)})


def lines_of(board: Ready, about: BoardFacts | None = None) -> dict[str, Line]:
    named = cast(Board, SimpleNamespace(name="b", facts=about or facts()))
    found = checked(named, board)
    assert all(line.do for line in found if line.verdict.value == "failed")
    return {line.check: line for line in reversed(found)}


def test_a_board_that_is_ready(tmp_path: Path) -> None:
    found = lines_of(Ready(tmp_path, {"environment": "bootcmd bootflow scan"}))
    assert {name for name, line in found.items() if line.verdict.value == "failed"} == set()
    ok = {"board", "device tree", "load addresses", "systemd", "python", "clock", "installation", "boot partition"}
    assert {name: found[name].verdict.value for name in ok} == dict.fromkeys(ok, "ok")
    assert found["loader"].verdict.value == "ok" and "bootflow scan" in found["loader"].found
    assert found["watchdog"].verdict.value == "warning"


@pytest.mark.parametrize(
    ("check", "said", "files", "words"),
    [
        ("board", {}, {COMPATIBLE: "raspberrypi,5-model-b\0brcm,bcm2712\0"}, "the board is a 'raspberrypi,5-model-b'"),
        ("board", {}, {COMPATIBLE: "raspberrypi,400\0brcm,bcm2711\0"}, "the board is a 'raspberrypi,400'"),
        ("loader", {}, {"boot/firmware/boot.scr.uimg": "x"}, "U-Boot runs 'boot.scr.uimg'"),
        ("loader", {"environment": "bootcmd tftp ${loadaddr} Image; booti"}, {}, "U-Boot runs no script"),
        ("installation", {}, {"boot/firmware/extlinux/extlinux.conf": None}, "no mounted partition has files"),
        ("installation", {}, {"proc/mounts": "/dev/mmcblk0p2 / ext4 rw 0 0\n", "boot/boot.scr": "x"}, "not FAT"),
        ("systemd", {"systemd": ""}, {}, "the board's init is not systemd"),
    ],
)
def test_what_a_deploy_would_stumble_over_is_said_before(
    check: str, said: dict[str, str], files: dict[str, str | None], words: str, tmp_path: Path
) -> None:
    board = Ready(tmp_path, said, **files)
    found = lines_of(board)[check]
    assert found.verdict.value == "failed" and words in found.found
    if check != "systemd":  # a deploy asks the same, and says the same before it changes anything (VT456 of that)
        with pytest.raises(VtoolError, match=r"VT72\d"):
            for_installation(plan(tmp_path), look(board))


@pytest.mark.parametrize(
    ("check", "said", "words"),
    [
        ("clock", {"clock": "86400"}, "hours from this machine's"),
        ("clock", {"clock": ""}, "tells no time"),
        ("python", {"python": "3.6"}, "3.6"),
        ("python", {"python": ""}, "no /usr/bin/python3"),
        ("file system check", {"fsck-vfat": ""}, "no fsck.vfat"),
    ],
)
def test_what_makes_a_deploy_harder_is_a_warning(check: str, said: dict[str, str], words: str, tmp_path: Path) -> None:
    found = lines_of(Ready(tmp_path, said))[check]
    assert found.verdict.value == "warning" and words in found.found and found.do


def test_a_partition_that_is_full_read_only_or_not_there(tmp_path: Path) -> None:
    full = Ready(tmp_path / "full", {})
    full.free = "1000"
    assert lines_of(full)["boot partition"].verdict.value == "warning"
    mounts = "/dev/mmcblk0p2 / ext4 rw 0 0\n/dev/mmcblk0p1 /boot/firmware vfat ro 0 0\n"
    found = lines_of(Ready(tmp_path / "ro", {}, **{"proc/mounts": mounts}))["boot partition"]
    assert found.verdict.value == "failed" and "read-only" in found.found
    found = lines_of(Ready(tmp_path / "none", {}), facts(partition_mount="/boot/efi"))["boot partition"]
    assert found.verdict.value == "failed" and "nothing is mounted at /boot/efi" in found.found


def test_windows_over_firmware_and_ram_that_is_not_there(tmp_path: Path) -> None:
    board = Ready(tmp_path, {})
    over = LoadAddresses(hypervisor=0, kernel=0x200_0000, device_tree=0x560_0000, ramdisk=0x570_0000)
    about = facts(load=over)
    low = next(carve for carve in about.carve_outs if carve.name == "boot-loads")
    carves = [low.model_copy(update={"base": 0, "size": low.size + 0x8_0000}), *about.carve_outs[1:]]
    found = lines_of(board, about.model_copy(update={"carve_outs": tuple(carves)}))["load addresses"]
    assert found.verdict.value == "failed" and "overlaps" in found.found
    more = (*about.ram, about.ram[0].model_copy(update={"base": 1 << 32}))
    found = lines_of(board, facts().model_copy(update={"ram": more}))["device tree"]
    assert found.verdict.value == "failed" and "the facts have RAM at [0x100000000" in found.found
    found = lines_of(board, facts().model_copy(update={"carve_outs": ()}))["device tree"]
    assert found.verdict.value == "warning" and "the facts do not know of" in found.found


def test_a_sector_that_is_not_free(tmp_path: Path) -> None:
    board = Ready(tmp_path, {})
    disk = tmp_path / "disk"

    def state(content: bytes, sector: int = 9) -> Line:
        disk.write_bytes(bytes(512 * 9) + content)
        where = SECTOR.model_copy(update={"device": str(disk), "sector": sector})
        return lines_of(board, facts(state=where))["boot state"]

    assert state(bytes(512)).verdict.value == "ok"
    assert state(b"vtool_state=1\n".ljust(512, b"\0")).verdict.value == "ok"
    assert "not free" in state(b"U-Boot SPL".ljust(512)).found
    assert "cannot be read" in state(b"short").found
    inside = lines_of(board, facts(state=SECTOR.model_copy(update={"sector": 4096})))["boot state"]
    assert inside.verdict.value == "failed" and "inside of mmcblk0p1" in inside.found


def test_an_environment_has_to_be_reached_by_both(tmp_path: Path) -> None:
    about = facts(state="environment")
    found = lines_of(Ready(tmp_path / "a", {}), about)["boot state"]
    assert found.verdict.value == "failed" and "fw-env-config" in found.found
    said = {"fw-printenv": "x", "fw-setenv": "x", "fw-env-config": "/dev/mmcblk0 0x400000 0x1000"}
    assert lines_of(Ready(tmp_path / "b", said), about)["boot state"].verdict.value == "failed"
    said["environment"] = "bootcmd bootflow scan -lb"
    assert lines_of(Ready(tmp_path / "c", said), about)["boot state"].verdict.value == "ok"


def test_facts_without_boot_say_so(tmp_path: Path) -> None:
    found = lines_of(Ready(tmp_path, {}), facts().model_copy(update={"boot": None}))["boot"]
    assert found.verdict.value == "failed" and "--ssh" in found.do


def test_the_verb_ends_with_3_unless_all_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Ready(tmp_path, {"systemd": ""})

    @contextmanager
    def held(_: Any) -> Iterator[Any]:
        yield None, SimpleNamespace(name="b", facts=facts())

    @contextmanager
    def shell(_: Any) -> Iterator[Any]:
        yield board

    monkeypatch.setattr(board_verb, "_held", held)
    monkeypatch.setattr(board_verb, "open_shell", shell)
    assert main(["board", "check", "b"]) == 3
    text = capsys.readouterr().out
    assert "failed" in text and "do: install a system with systemd" in text
    board.said["systemd"] = "runs 252"
    assert main(["board", "check", "b", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["board"], told["facts"], told["ready"]) == (1, "b", "rpi4", True)
    assert {*told["checks"][0]} == {"check", "verdict", "found", "do"}
