"""Boards with another way to boot, U-Boot's extlinux and UEFI's systemd-boot: a trial that fails leads back, too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import EXAMPLES, ROOT, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
KVM, XEN = (ROOT / "tests" / "topologies" / f"uefi-{name}.yaml" for name in ("kvm", "xen"))
PANICS = "bootargs: init=/nosuch"
EXTLINUX = """\
default factory
label factory
  kernel /factory/Image
  fdt /factory/board.dtb
  append console=ttyAMA0 root=/dev/vda2 rootfstype=ext4 rw rootwait vtool.boot=factory from=extlinux
"""
FILES = ["./extlinux/extlinux.conf", "./factory/Image", "./factory/board.dtb"]


def changed(topology: Path, folder: Path, written: str, instead: str) -> Path:
    text = topology.read_text()
    assert text.count(written) == 1
    path = folder / topology.name
    path.write_text(text.replace(written, instead))
    return path


def test_a_board_that_came_with_extlinux_boots_by_it_again(bench: Bench, tmp_path: Path) -> None:
    bench.vtool("board", "up")
    assert bench.ssh("ls /boot").split() == ["boot.scr", "factory"], "the board is as it came"
    bench.ssh("mkdir /boot/extlinux; cat > /boot/extlinux/extlinux.conf; rm /boot/boot.scr; sync", EXTLINUX.encode())
    topology = EXAMPLES / "kvm-pool.yaml"
    control = "    role: control\n"
    report = bench.deploy(changed(topology, tmp_path, control, f"{control}    {PANICS}\n"), code=3)
    assert (report["fault"], report["went_back_to"]) == ("board", "")
    assert "from=extlinux" in bench.ssh("cat /proc/cmdline"), "vtool's script ends with what it set aside"
    assert bench.deploy(topology)["confirmed"]
    bench.ssh("cd /boot/extlinux; sed s/from=extlinux/from=a-package/ extlinux.conf.before-vtool > extlinux.conf")
    assert "extlinux.conf" in bench.vtool("status", topology, code=3).stdout
    assert bench.deploy(topology)["proven"]
    bench.vtool("down", topology)
    assert "from=a-package" in bench.ssh("cat /proc/cmdline"), "U-Boot itself takes it"
    assert bench.ssh("cd /boot; find . -type f | sort").split() == FILES


@pytest.fixture(scope="module")
def uefi(bench: Bench) -> Iterator[Bench]:
    subprocess.run(bench.command("board", "power", "off"), env=bench.environment, capture_output=True)
    uefi = Bench(bench.folder, "efi0")
    yield uefi
    uefi.vtool("board", "power", "off", "efi0")
    uefi.vtool("board", "destroy", "efi0")


@pytest.fixture(scope="module")
def first(uefi: Bench) -> str:
    report = uefi.deploy(KVM)
    assert report["proven"] and report["confirmed"] and report["rebooted"]
    assert uefi.ssh("ls /boot/loader/entries").split() == ["factory.conf", entry_of(uefi, report["generation"])]
    return str(report["generation"])


def entry_of(uefi: Bench, generation: str) -> str:
    return uefi.ssh(f"ls /boot/loader/entries | grep -- -{generation}-").strip()


def test_systemd_boot_starts_a_generation_and_what_it_was_confirmed_by_is_its_name(uefi: Bench, first: str) -> None:
    assert entry_of(uefi, first).endswith("+3.conf")
    assert f"vtool.generation={first}" in uefi.ssh("cat /proc/cmdline")
    assert uefi.ssh("test -d /sys/firmware/efi && echo uefi") == "uefi\n"


def test_a_kernel_that_panics_under_systemd_boot_is_left_behind(uefi: Bench, first: str, tmp_path: Path) -> None:
    panics = changed(KVM, tmp_path, "host: {role: control}", f"host: {{role: control, {PANICS}}}")
    report = uefi.deploy(panics, code=3)
    assert (report["fault"], report["went_back_to"]) == ("board", first)
    assert f"vtool.generation={first}" in uefi.ssh("cat /proc/cmdline")


def test_xen_is_booted_by_systemd_boot(uefi: Bench, first: str) -> None:
    report = uefi.deploy(XEN)
    assert report["proven"] and report["confirmed"] and report["rebooted"]
    assert uefi.ssh("cat /sys/hypervisor/type") == "xen\n"
    assert f"vtool.generation={report['generation']}" in uefi.ssh("cat /proc/cmdline")


def test_the_board_is_left_clean(uefi: Bench, first: str) -> None:
    uefi.vtool("down", XEN)
    assert "vtool.boot=factory" in uefi.ssh("cat /proc/cmdline")
    assert uefi.ssh("cd /boot; find . -name '*vtool*'; ls loader/entries") == "factory.conf\n"
