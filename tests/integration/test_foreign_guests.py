"""Guests that are not vtool's on an emulated board: behind a login, and without an operating system; KVM, xl, Xen."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from vtool.base.progress import Silent
from vtool.images import recipe_text
from vtool.images.build import ensure
from vtool.platform.layouts import XEN_UART

from .conftest import Bench
from .foreign import ISSUE, PASSWORD, READY, bare_guest, with_login

COUNTED = "bytes that its backend counted"
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


XEN = """\
version: 1
name: foreign-xen
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: xen}}
domains:
  dom0: {role: control, memory: 1GiB}
  debian:
    memory: 128MiB
    ramdisk: hvc0.cpio.gz
    access: {login: {password_file: pw.txt, prompt: "guest login: "}}
    proof: {require: [unit, console, reach, data]}
  rtos:
    memory: 32MiB
    kernel: xen.bin
    ready: "READY"
    xen: {uart: true}
    access: none
    proof: {require: [unit, console]}
  debian-at-boot:
    start: dom0less
    memory: 128MiB
    ramdisk: ttyAMA0.cpio.gz
    ready: "ISSUE"
    proof: {require: [unit, console]}
  rtos-at-boot:
    start: dom0less
    memory: 32MiB
    kernel: xen.bin
    ready: "READY"
    proof: {require: [unit, console]}
devices:
  disk0:
    type: blk
    frontend: debian
    backend: dom0
    program: blkback
    transport: xenbus
    data_path: pv
    disk: {file: debian.img, size: 64MiB, verify: write}
  net0:
    type: net
    frontend: debian
    backend: dom0
    program: netback
    transport: xenbus
    data_path: pv
    network: {bridge: xenbr0, frontend_address: 192.0.2.2/24, backend_address: 192.0.2.1/24}
  disk1:
    type: blk
    frontend: rtos
    backend: dom0
    program: blkback
    transport: xenbus
    data_path: pv
    disk: {file: rtos.img, size: 16MiB}
"""


@pytest.fixture
def under_xen(tmp_path: Path) -> Path:
    image, _ = bare_guest(tmp_path, XEN_UART.base)
    image.rename(tmp_path / "xen.bin")
    ramdisk = ensure(["guest-initramfs"], Silent())["guest-initramfs"].path
    for console in ("hvc0", "ttyAMA0"):
        made = with_login(ramdisk, recipe_text("guest/init"), console)
        (tmp_path / f"{console}.cpio.gz").write_bytes(made)
    (tmp_path / "pw.txt").write_text(f"{PASSWORD}\n")
    path = tmp_path / "foreign-xen.yaml"
    path.write_text(XEN.replace("READY", READY).replace("ISSUE", ISSUE))
    return path


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
    rows = rows_of(report)
    assert report["confirmed"] and not [row for row in rows.values() if not (row["proven"] or row["noted"])]
    both = ("device disk0", "device net0")
    inside = [row for (subject, what), row in rows.items() if subject in both and what != COUNTED]
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


def rows_of(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rows by subject and what they show, and print them."""
    for row in report["rows"]:
        how = "proven" if row["proven"] else "noted" if row["noted"] else "FAILED"
        print(how, row["subject"], row["what"], row["seen"], row["detail"])
    return {(row["subject"], row["what"]): row for row in report["rows"]}


def test_under_xen_too(bench: Bench, under_xen: Path) -> None:
    report = bench.deploy(under_xen)
    rows = rows_of(report)
    assert report["confirmed"] and not [row for row in rows.values() if not (row["proven"] or row["noted"])]
    devices = ("device disk0", "device net0")
    inside = [row for (subject, what), row in rows.items() if subject in devices and what != COUNTED]
    assert len(inside) >= 6 and all(row["proven"] for row in inside), "negotiation, data, reach"
    for guest, said in (
        ("debian", "its console said"),
        ("rtos", "its console said"),
        ("debian-at-boot", "its console said its ready text in this boot"),
        ("rtos-at-boot", "its console said its ready text in this boot"),
    ):
        assert rows[f"domain {guest}", "its unit is active"]["proven"] and rows[f"domain {guest}", said]["proven"]
    assert (
        rows["domain rtos", "its shell answers"]["seen"] == "not looked at: nobody gets into domain 'rtos' (`access`)"
    )
    of_rtos = [row for (subject, _), row in rows.items() if subject == "device disk1"]
    assert of_rtos and not [row for row in of_rtos if not (row["noted"] or row["proven"])], (
        "of a disk that it never used"
    )
    assert [row["what"] for row in bench.verify(under_xen)] == [row["what"] for row in report["rows"]]
    given = ("exec", "--timeout", "120", "--topology", under_xen)
    assert bench.vtool(*given, "debian", "--", "cat /sys/hypervisor/type").stdout == "xen\n"
    for guest, why in (("rtos", "nobody gets into domain 'rtos'"), ("debian-at-boot", "Xen built it at boot")):
        assert why in bench.vtool(*given, guest, "--", "true", code=3).stderr
    (under_xen.parent / "pw.txt").write_text("another\n")
    refused = [row for row in bench.verify(under_xen, code=3) if not (row["proven"] or row["noted"])]
    assert any("lets user 'root' in by no login" in " ".join(row["detail"]) for row in refused)


def test_a_wrong_password_takes_the_deploy_back(bench: Bench, topology: Path) -> None:
    (topology.parent / "pw.txt").write_text("another\n")
    topology.write_text(topology.read_text().replace("128MiB", "136MiB"))
    report = bench.deploy(topology, code=3)
    failed = [row for row in report["rows"] if not (row["proven"] or row["noted"])]
    assert failed and not report["confirmed"]
    assert any("lets user 'root' in by no login" in " ".join(row["detail"]) for row in failed)
    assert "another" not in str(report)
