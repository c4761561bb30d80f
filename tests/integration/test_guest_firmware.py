"""Guests of KVM that EDK2 starts, on an emulated board: with the topology's kernel, and from their disk."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from vtool.base.progress import Silent
from vtool.base.units import MIB
from vtool.board.disk import Partition, write_partitions
from vtool.images.build import ensure
from vtool.platform.layouts import AAVMF_CODE

from .conftest import Bench

pytestmark = [pytest.mark.board, pytest.mark.long]

TOPOLOGY = """\
version: 1
name: firmware
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm}}
domains:
  host: {role: control}
  given: {memory: 256MiB, firmware: uefi, kernel: "vtool:linux", ramdisk: "vtool:guest-initramfs"}
  own-disk: {memory: 256MiB, firmware: uefi, access: shell}
devices:
  disk0:
    type: blk
    frontend: own-disk
    backend: host
    program: qemu-storage-daemon
    transport: mmio
    data_path: shared-ram
    disk: {file: firmware.img, size: SIZE}
"""
ENTRY = "title guest\nlinux /Image\ninitrd /initrd\noptions console=ttyAMA0\n"
STATE = "find /boot /var/lib/vtool ! -path '*/store/*' 2>/dev/null | sort"
STARTED = "its kernel was started by EDK2"


def bootable(folder: Path) -> Path:
    """Make a disk with an EFI system partition: systemd-boot, and the guest that it starts."""
    built = ensure(["linux", "guest-initramfs", "systemd-boot"], Silent())
    (folder / "guest.conf").write_text(ENTRY)
    files = {
        "EFI/BOOT/BOOTAA64.EFI": built["systemd-boot"].path,
        "loader/entries/guest.conf": folder / "guest.conf",
        "Image": built["linux"].path,
        "initrd": built["guest-initramfs"].path,
    }
    partition, disk = folder / "esp.fat", folder / "disk.img"
    with partition.open("wb") as stream:
        stream.truncate(64 * MIB)
    subprocess.run(["/usr/sbin/mkfs.vfat", "-F", "32", partition], check=True, capture_output=True)
    subprocess.run(["mmd", "-i", partition, "::EFI", "::EFI/BOOT", "::loader", "::loader/entries"], check=True)
    for name, source in files.items():
        subprocess.run(["mcopy", "-i", partition, source, f"::{name}"], check=True)
    write_partitions(disk, [Partition("esp", partition, "type=uefi")])
    return disk


def test_edk2_starts_guests(bench: Bench, tmp_path: Path) -> None:
    disk, topology = bootable(tmp_path), tmp_path / "firmware.yaml"
    topology.write_text(TOPOLOGY.replace("SIZE", f"{disk.stat().st_size // MIB}MiB"))
    bench.vtool("board", "up")
    bench.ssh(f"rm -f {AAVMF_CODE}")
    before = bench.ssh(STATE)
    lacks = bench.deploy(topology, code=3)
    assert "VT457" in str(lacks["failure"]) and AAVMF_CODE in str(lacks["failure"]), lacks["failure"]
    assert bench.ssh(STATE) == before, "nothing is changed"

    # What a board has from `apt install qemu-efi-aarch64`, and a disk that somebody else filled.
    for path, data in ((AAVMF_CODE, Path(AAVMF_CODE)), ("/var/lib/vtool/disks/firmware.img", disk)):
        bench.ssh(f"mkdir -p $(dirname {path}); gzip -d | dd of={path} conv=sparse bs=1M status=none", packed(data))
    report = bench.deploy(topology)
    rows = {(row["subject"], row["what"]): row for row in report["rows"]}
    for row in report["rows"]:
        print(
            "proven" if row["proven"] else "noted" if row["noted"] else "FAILED",
            row["subject"],
            row["what"],
            row["seen"],
        )
    assert report["confirmed"] and all(row["proven"] or row["noted"] for row in rows.values())
    for guest in ("given", "own-disk"):
        assert rows[f"domain {guest}", STARTED]["proven"] and rows[f"domain {guest}", "its shell answers"]["proven"]
        print(guest, bench.ssh(f"grep -a -m 3 -e 'EFI stub' -e 'efi: EFI' /var/log/vtool/{guest}/console.log"))
    assert bench.vtool("exec", "own-disk", "--", "cat /proc/cmdline").stdout.startswith(
        "initrd=\\initrd console=ttyAMA0"
    )

    # What EDK2 wrote down outlives the guest; `down` takes the flash with everything else.
    flash = "/var/lib/vtool/disks/_own-disk.efivars"
    assert int(bench.ssh(f"tr -d '\\0' <{flash} | wc -c")) > 0
    assert {row["what"] for row in bench.verify(topology)} == {row["what"] for row in report["rows"]}
    bench.vtool("down", topology)
    assert bench.ssh(f"ls -d /var/lib/vtool 2>/dev/null || ls {AAVMF_CODE}").split() == [AAVMF_CODE]


def packed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 1)
