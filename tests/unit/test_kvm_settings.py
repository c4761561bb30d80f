"""CPUs of each vCPU and huge pages of a guest of KVM: what is rendered, what the board does, what is shown."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden import checked_in
from tests.golden.test_golden import CASES
from vtool.cli.common import prepare
from vtool.deploy.on_board import hugepages, vcpus
from vtool.deploy.on_board.base import BoardError
from vtool.deploy.proof.kvm import kvm_guest
from vtool.diagnostics import VtoolError
from vtool.plan.types import KvmGuest


@pytest.fixture
def guest() -> KvmGuest:
    return prepare(CASES["kvm-kept"]).plan.boards[0].kvm_guests[0]


def test_units_take_give_back_and_pin() -> None:
    files = checked_in.read("kvm-kept")
    unit = files["board0/generation/units/vtool-domain-fe0.service"]
    lines = re.findall(r"^(Exec\w+)=\+\S+vtool-board (.*)$", unit, re.M)
    note = "/run/vtool/domain-fe0/hugepages"
    assert lines == [
        ("ExecStartPre", f"hugepages-take {note} 2048 128"),
        ("ExecStopPost", f"hugepages-return {note}"),
        ("ExecStartPost", f"hugepages-mapped {note} --domain fe0"),
        ("ExecStartPost", "pin fe0 --others 0 1 0-1"),
    ]
    assert "\nAllowedCPUs=0 1\n" in unit
    # Without CPUs for all else, nothing else is kept anywhere.
    assert "AllowedCPUs" not in files["board0/generation/units/vtool-domain-fe1.service"]


# -- huge pages of the board


class Pages:
    """Huge pages in a folder, as a kernel has them that finds at most so many."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, most: int = 1 << 20) -> None:
        self.folder, self.most, self.used = folder / "sys" / "hugepages-2048kB", most, 0
        self.folder.mkdir(parents=True)
        self.run = folder / "run"
        monkeypatch.setattr(hugepages, "FOLDER", folder / "sys")
        write = Path.write_text

        def written(path: Path, text: str) -> int:
            if path.name != "nr_hugepages":
                return write(path, text)
            self.set(min(int(text), self.most))
            return len(text)

        self._write = write
        monkeypatch.setattr(Path, "write_text", written)
        self.set(0)

    def set(self, number: int, reserved: int = 0) -> None:
        for name, value in (("nr", number), ("free", number - self.used), ("resv", reserved)):
            self._write(self.folder / f"{name}_hugepages", f"{value}\n")

    @property
    def number(self) -> int:
        return int((self.folder / "nr_hugepages").read_text())

    def note(self, guest: str) -> str:
        (self.run / f"domain-{guest}").mkdir(parents=True, exist_ok=True)
        return str(self.run / f"domain-{guest}" / "hugepages")

    def take(self, count: int, kib: int = 2048, guest: str = "fe0") -> dict[str, object]:
        return hugepages.verb_hugepages_take(argparse.Namespace(note=self.note(guest), kib=kib, count=count))

    def map(self, count: int, guest: str = "fe0") -> None:
        self.used += count
        self.set(self.number)
        hugepages.verb_hugepages_mapped(argparse.Namespace(note=self.note(guest), domain=""))

    def give(self, guest: str = "fe0") -> dict[str, object]:
        return hugepages.verb_hugepages_return(argparse.Namespace(note=self.note(guest)))


def test_what_is_lacking_is_set_aside_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages(tmp_path, monkeypatch)
    pages.set(10, reserved=4)
    assert pages.take(8) == {"added": 2} and pages.number == 12
    pages.set(12)
    assert pages.give() == {"returned": 2} and pages.number == 10
    assert pages.give() == {"returned": 0} and pages.number == 10


def test_what_the_board_has_aside_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages(tmp_path, monkeypatch)
    pages.set(100)
    assert pages.take(64) == {"added": 0} and pages.number == 100
    assert pages.give() == {"returned": 0} and pages.number == 100


def test_what_is_promised_to_one_guest_is_not_given_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests start side by side: the pages of one are free until its QEMU has mapped them."""
    pages = Pages(tmp_path, monkeypatch)
    pages.set(10)
    assert pages.take(8) == {"added": 0}
    assert pages.take(8, guest="fe1") == {"added": 6} and pages.number == 16
    pages.map(8)
    pages.map(8, guest="fe1")
    assert pages.take(4, guest="fe2") == {"added": 4} and pages.number == 20
    pages.used -= 8
    assert pages.give(guest="fe1") == {"returned": 6} and pages.number == 14
    assert pages.give() == {"returned": 0} and pages.number == 14


def test_too_few_are_an_error_that_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages(tmp_path, monkeypatch, most=40)
    pages.set(7)
    with pytest.raises(BoardError, match="the board has 40 huge pages of 2048kB to give, 64 are needed") as caught:
        pages.take(64)
    assert caught.value.code == "VT449" and pages.number == 7
    assert pages.give() == {"returned": 0} and pages.number == 7


def test_pages_of_a_size_that_the_kernel_lacks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BoardError, match="no huge pages of 64kB") as caught:
        Pages(tmp_path, monkeypatch).take(1, kib=64)
    assert caught.value.hints == ["it has: 2048kB"]


# -- vCPUs


@pytest.fixture
def two_processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield processes whose only threads are kept on CPUs, as vCPUs are."""
    started = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    yield started
    for each in started:
        each.kill()
        each.wait()


def answering(path: Path, threads: list[int], after_s: float) -> threading.Thread:
    """Answer as QEMU does at its socket, once it listens there, as long as somebody asks."""

    def serve() -> None:
        time.sleep(after_s)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            connection, _ = listening.accept()
            with connection, connection.makefile("rw") as stream:
                stream.write('{"QMP": {}}\n')
                stream.flush()
                for line in stream:
                    asked = json.loads(line)["execute"]
                    # In no order, as QMP promises none.
                    found = [{"cpu-index": n, "thread-id": t} for n, t in reversed(list(enumerate(threads)))]
                    stream.write(json.dumps({"return": found if asked == "query-cpus-fast" else {}}) + "\n")
                    stream.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def at_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "qmp"
    monkeypatch.setattr(vcpus, "manifest", lambda: {"domains": {"fe0": {"qmp": str(path)}}})
    return path


def test_each_vcpu_is_kept_on_its_cpus(at_socket: Path, two_processes: list[subprocess.Popen[bytes]]) -> None:
    pids = [each.pid for each in two_processes]
    mine = sorted(os.sched_getaffinity(0))
    every = ",".join(map(str, mine))
    # QEMU listens a little after its unit has started it.
    answering(at_socket, pids, after_s=0.3)
    vcpus.verb_pin(argparse.Namespace(domain="fe0", cpus=[str(mine[-1]), every], others=""))
    assert os.sched_getaffinity(pids[0]) == {mine[-1]} and os.sched_getaffinity(pids[1]) == set(mine)
    at_socket.unlink()
    answering(at_socket, pids, after_s=0).join(0.2)
    assert vcpus.observe_vcpus({"domain": "fe0"}) == {"output": f"{mine[-1]}; {every}"}


def test_what_is_no_vcpu_is_kept_on_the_others(
    at_socket: Path, two_processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pids, kept = [each.pid for each in two_processes], dict[int, set[int]]()
    monkeypatch.setattr(vcpus.os, "sched_setaffinity", lambda thread, cpus: kept.update({thread: cpus}))
    monkeypatch.setattr(vcpus, "threads", lambda _: [pids[0] + (1 << 22)] if not kept else [])
    monkeypatch.setattr(
        vcpus.Path, "iterdir", lambda _: iter([Path(f"/proc/1/task/{pids[0]}"), Path(f"/proc/1/task/{pids[1]}")])
    )
    vcpus.verb_pin(argparse.Namespace(domain="fe0", cpus=["1"], others="2-3"))
    assert kept == {pids[0] + (1 << 22): {1}, pids[0]: {2, 3}, pids[1]: {2, 3}}


def test_another_number_of_vcpus_is_an_error(at_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vcpus, "threads", lambda _: [1, 2])
    with pytest.raises(BoardError, match="'fe0' has 2 vCPUs, 1 are to be kept"):
        vcpus.verb_pin(argparse.Namespace(domain="fe0", cpus=["1"], others=""))


def test_a_list_of_cpus_is_read() -> None:
    assert vcpus.numbers("0-2,5") == {0, 1, 2, 5} and vcpus.numbers("7") == {7}


# -- what is shown


def test_a_proof_looks_at_pages_and_vcpus(guest: KvmGuest) -> None:
    rows = {proof.what: proof for proof in kvm_guest(guest)}
    pages = rows["its memory is in huge pages of 2MiB"]
    assert pages.read({"huge-fe0": {"output": "262144 kB"}}).proven
    assert not pages.read({"huge-fe0": {"output": "0 kB"}}).proven
    kept = rows["each vCPU is kept on its CPUs"]
    assert kept.steps == ({"id": "vcpus-fe0", "op": "vcpus", "domain": "fe0"},)
    assert kept.read({"vcpus-fe0": {"output": "1; 0,1"}}).proven
    assert not kept.read({"vcpus-fe0": {"output": "0,1; 0,1"}}).proven


def test_a_guest_without_them_has_no_such_rows() -> None:
    (plain, *_) = prepare(CASES["kvm-shared-ram"]).plan.boards[0].kvm_guests
    assert not [proof.what for proof in kvm_guest(plain) if "huge" in proof.what or "vCPU" in proof.what]


# -- what the host sets aside at boot

ASIDE = """
version: 1
name: case
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm}}
domains:
  host: {role: control, kernel: board, bootargs: hugepages=1024}
  fe0: {memory: 2GiB, ramdisk: vtool:guest-initramfs, kvm: {hugepages: 2MiB}}
"""


def test_huge_pages_that_guests_are_made_of_are_not_lost_to_the_board(tmp_path: Path) -> None:
    (tmp_path / "case.yaml").write_text(ASIDE)
    prepare(tmp_path / "case.yaml")
    (tmp_path / "case.yaml").write_text(ASIDE.replace(", kvm: {hugepages: 2MiB}", ""))
    with pytest.raises(VtoolError) as caught:
        prepare(tmp_path / "case.yaml")
    assert [found.code for found in caught.value.diagnostics] == ["VT356"]
