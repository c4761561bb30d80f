"""Guests that are not vtool's on an emulated board: a login, no operating system at all, and a shell that is found."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from vtool.base.progress import Silent
from vtool.images import recipe_text
from vtool.images.build import ensure

from .conftest import Bench
from .foreign import PASSWORD, READY, bare_guest, with_login

pytestmark = [pytest.mark.board, pytest.mark.long]

TOPOLOGY = """\
version: 1
name: foreign
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm}}
domains:
  host: {role: control}
  debian:
    memory: 128MiB
    ramdisk: login.cpio.gz
    access: {login: {password_file: pw.txt, prompt: "guest login: "}}
    proof: {require: [unit, console, features, reach, data]}
  rtos:
    memory: 32MiB
    kernel: bare.bin
    ready: "READY"
    access: none
    proof: {require: [unit, console]}
  rtos-elf:
    memory: 32MiB
    kernel: bare.elf
    ready: "READY"
devices:
  disk0:
    type: blk
    frontend: debian
    backend: host
    program: qemu-storage-daemon
    transport: mmio
    data_path: shared-ram
    disk: {file: debian.img, size: 64MiB, verify: write}
  net0:
    type: net
    frontend: debian
    backend: host
    program: passt
    transport: mmio
    data_path: shared-ram
    network: {frontend_address: 192.0.2.2/24, backend_address: 192.0.2.1/24}
  disk1:
    type: blk
    frontend: rtos
    backend: host
    program: qemu-storage-daemon
    transport: mmio
    data_path: shared-ram
    disk: {file: rtos.img, size: 16MiB}
"""


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    bare_guest(tmp_path)
    ramdisk = ensure(["guest-initramfs"], Silent())["guest-initramfs"].path
    (tmp_path / "login.cpio.gz").write_bytes(with_login(ramdisk, recipe_text("guest/init")))
    (tmp_path / "pw.txt").write_text(f"{PASSWORD}\n")
    path = tmp_path / "foreign.yaml"
    path.write_text(TOPOLOGY.replace("READY", READY))
    return path


def test_what_can_be_shown_is_and_the_rest_takes_nothing_back(bench: Bench, topology: Path, tmp_path: Path) -> None:
    report = bench.deploy(topology)
    rows = {(row["subject"], row["what"]): row for row in report["rows"]}
    for row in report["rows"]:
        print(
            "proven" if row["proven"] else "noted" if row["noted"] else "FAILED",
            row["subject"],
            row["what"],
            row["seen"],
        )
    assert report["confirmed"] and not [row for row in rows.values() if not (row["proven"] or row["noted"])]
    counted = "bytes that its backend counted"
    both = ("device disk0", "device net0")
    inside = [row for (subject, what), row in rows.items() if subject in both and what != counted]
    assert len(inside) == 8 and all(row["proven"] for row in inside), "features, data, reach"
    for guest in ("rtos", "rtos-elf"):
        assert rows[f"domain {guest}", "its unit is active"]["proven"]
        assert rows[f"domain {guest}", "its console said"]["proven"]
        assert rows[f"domain {guest}", "its shell answers"]["seen"].startswith("not looked at: ")
    assert rows["device disk1", "features that it was offered, and works with"]["noted"]
    again = bench.verify(topology)
    assert [row["what"] for row in again] == [row["what"] for row in report["rows"]]
    secret = shlex.quote(PASSWORD)
    found = bench.ssh(
        f"journalctl -q --no-pager | grep -c -F {secret}; "
        f"grep -r -l -F {secret} /var/lib/vtool /var/log /run /etc /tmp 2>/dev/null; true"
    )
    assert found == "0\n", "the board keeps no password"
    assert "root" in bench.ssh("grep -a -o 'login: root' /var/log/vtool/debian/console.log | head -n 1")


def test_a_wrong_password_takes_the_deploy_back(bench: Bench, topology: Path) -> None:
    (topology.parent / "pw.txt").write_text("another\n")
    topology.write_text(topology.read_text().replace("128MiB", "136MiB"))
    report = bench.deploy(topology, code=3)
    failed = [row for row in report["rows"] if not (row["proven"] or row["noted"])]
    assert failed and not report["confirmed"]
    assert any("lets user 'root' in by no login" in " ".join(row["detail"]) for row in failed)
    assert "another" not in str(report)
