"""Emulated machines: what QEMU is told of each, which facts are of which."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from vtool.board import machines, qemu_process
from vtool.board.emulated import EmulatedBoard
from vtool.board.machines import VIRT, VIRT_SMMU, model_of
from vtool.board.protocols import BoardClock
from vtool.diagnostics import VtoolError
from vtool.images import NAMES
from vtool.model.board_facts import BoardFacts
from vtool.model.validate import known_facts, load_facts

VIRT_WORDS = (
    "-machine virt,virtualization=on,gic-version=3,acpi=off,dtb-randomness=off -accel tcg,thread=multi -cpu cortex-a72 "
    "-smp 2 -m 3072M -name vtool-b0 -bios B0/u-boot.bin -global virtio-mmio.force-legacy=false "
    "-drive if=none,id=disk,format=raw,file=B0/disk.img -device virtio-blk-device,drive=disk "
    "-netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-device,netdev=net "
    "-device virtio-rng-device -device i6300esb,addr=1 -chardev "
)


@pytest.mark.parametrize(("facts", "words"), [("qemu-virt", VIRT_WORDS)])
def test_what_qemu_is_told(facts: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(qemu_process, "free_port", lambda: 2222)
    board = EmulatedBoard("b0", load_facts(facts).facts, BoardClock.EMULATED)
    started: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        started.append(" ".join(command).replace(str(board.folder), "B0"))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(qemu_process.subprocess, "run", run)
    board._qemu.start(2222)
    assert words in started[0]


def test_whose_facts_are_of_which_machine() -> None:
    expected = {"qemu-virt": VIRT, "qemu-virt-efi": VIRT, "qemu-virt-smmu": VIRT_SMMU}
    for name in known_facts():
        facts = load_facts(name).facts
        if name in expected:
            assert model_of(facts) is expected[name]
        else:
            with pytest.raises(VtoolError, match=f"VT631: vtool emulates no '{name}' "):
                model_of(facts)


def test_a_loader_that_the_machine_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: BoardFacts = load_facts("qemu-virt-efi").facts
    monkeypatch.setattr(machines, "VIRT", replace(VIRT, firmware={"u-boot": ("firmware",)}))
    with pytest.raises(VtoolError, match="VT631: vtool emulates no 'qemu-virt-efi' that systemd-boot starts"):
        model_of(facts)


def test_every_image_of_a_machine_is_one_of_the_catalogue() -> None:
    assert {image for images in VIRT.firmware.values() for image in images} <= set(NAMES)
