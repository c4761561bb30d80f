"""Disks on an emulated board: begun as images, kept and reset, read-only, a partition of the board, seen by the guest.

The tests run in order on one board.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from .conftest import Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
MIB = 1 << 20
SIZES = {"kept": 64, "anew": 40, "fixed": 39, "foreign": 48, "part": 56}
"""Sizes in MiB, by which a guest knows its disks apart."""
PART = "/dev/disk/by-partlabel/guest"
TOPOLOGY = f"""\
version: 1
name: disks
boards:
  board0: {{facts: qemu-virt, hypervisor: {{kind: kvm}}}}
domains:
  host: {{role: control}}
  fe0: {{memory: 256MiB, ramdisk: vtool:guest-initramfs}}
devices:
  kept: {{DEVICE, disk: {{file: kept.img, source: ./root.img, size: {SIZES["kept"]}MiB, verify: write}}}}
  anew: {{DEVICE, disk: {{file: anew.qcow2, source: ./root.img.xz, size: {SIZES["anew"]}MiB, format: qcow2,
    on_change: reset}}}}
  fixed: {{DEVICE, disk: {{file: fixed.img, source: ./root.img.zst, size: {SIZES["fixed"]}MiB, read_only: true}}}}
  foreign: {{DEVICE, disk: {{file: foreign.img, source: ./root.qcow2, size: {SIZES["foreign"]}MiB}}}}
  part: {{DEVICE, disk: {{device: {PART}, size: {SIZES["part"]}MiB, verify: write}}}}
""".replace("DEVICE", "type: blk, frontend: fe0, backend: host, program: qemu, transport: mmio, data_path: shared-ram")


def make_images(folder: Path, label: str) -> None:
    """Make an ext4 image of 38 MiB as it is, packed and as qcow2; 1 MiB of it goes by the label."""
    with tempfile.TemporaryDirectory() as content:
        (Path(content) / "label").write_text(f"{label}\n")
        (Path(content) / "large").write_bytes(random.Random(1).randbytes(24 * MIB))
        (Path(content) / "piece").write_bytes(random.Random(label).randbytes(MIB))
        image = folder / "root.img"
        image.unlink(missing_ok=True)
        always = ("-U", "01234567-89ab-cdef-0123-456789abcdef", "-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef")
        subprocess.run(
            ["mke2fs", "-q", "-t", "ext4", *always, "-d", content, image, "38M"],
            check=True,
            capture_output=True,
            env={**os.environ, "E2FSPROGS_FAKE_TIME": "1700000000"},
        )
    whole = image.read_bytes()
    (folder / "root.img.xz").write_bytes(lzma.compress(whole, preset=0))
    (folder / "root.img.zst").write_bytes(zstandard.ZstdCompressor(level=1).compress(whole))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", image, folder / "root.qcow2"], check=True)


class Place:
    """A board with a partition for a guest, and the guest with its disks."""

    def __init__(self, bench: Bench, topology: Path) -> None:
        self.bench, self.topology, self.images = bench, topology, topology.parent

    def inside(self, words: str) -> str:
        """Run shell words in the guest."""
        return self.bench.vtool("exec", "--timeout", "120", "fe0", "--", "sh", "-c", words).stdout.strip()

    def block(self, name: str) -> str:
        """Return the guest's own name of a disk."""
        return self.inside(f"grep -l -x {SIZES[name] * 2048} /sys/block/vd*/size | cut -d / -f 4")

    def file(self, name: str, path: str) -> str:
        """Read a file of a disk's file system in the guest, and nothing where it is not there."""
        mount = f"mkdir -p /tmp/m && mount -t ext4 -o ro,noload /dev/{self.block(name)} /tmp/m"
        return self.inside(f"{mount} && cat /tmp/m/{path} 2>/dev/null; umount /tmp/m")

    def write(self, name: str, path: str) -> None:
        """Write a file into a disk's file system in the guest."""
        mount = f"mkdir -p /tmp/m && mount -t ext4 /dev/{self.block(name)} /tmp/m"
        self.inside(f"{mount} && echo a guest was here > /tmp/m/{path} && sync && umount /tmp/m")

    def part(self, at: int, size: int) -> str:
        """Return a digest of what the board has in the partition, MiB."""
        read = f"dd if={PART} bs=1M skip={at} count={size} iflag=direct 2>/dev/null | sha256sum"
        return self.bench.ssh(read).split()[0]


@pytest.fixture(scope="module")
def place(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    bench.vtool("board", "up")
    bench.vtool("board", "down")
    disk = bench.board_folder / "disk.img"
    with disk.open("r+b") as stream:
        stream.truncate(disk.stat().st_size + (SIZES["part"] + 1) * MIB)
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(["sfdisk", "-q", "--relocate", "gpt-bak-std", disk], check=True, env=environment)
    row = f'size={SIZES["part"] * 2048}, type=linux, name="guest"\n'
    subprocess.run(["sfdisk", "-q", "--append", disk], input=row.encode(), check=True, env=environment)
    topology = tmp_path_factory.mktemp("disks") / "t.yaml"
    topology.write_text(TOPOLOGY)
    make_images(topology.parent, "first")
    yield Place(bench, topology)
    bench.vtool("board", "destroy")


def shown(rows: list[dict[str, Any]]) -> None:
    assert not [row for row in rows if not (row["proven"] or row["noted"])], rows


def test_a_guest_has_what_its_images_have(place: Place) -> None:
    report = place.bench.deploy(place.topology)
    shown(report["rows"])
    for row in report["rows"]:
        print(row["subject"], "|", row["what"], "|", row["seen"])
    for name in ("kept", "anew", "fixed", "foreign"):
        assert place.file(name, "label") == "first", name
    large = hashlib.sha256(random.Random(1).randbytes(24 * MIB)).hexdigest()
    mount = f"mkdir -p /tmp/m && mount -t ext4 -o ro,noload /dev/{place.block('anew')} /tmp/m"
    assert place.inside(f"{mount} && sha256sum /tmp/m/large; umount /tmp/m").startswith(large)
    fixed = place.block("fixed")
    assert place.inside(
        f"cat /sys/block/{fixed}/ro; dd if=/dev/zero of=/dev/{fixed} count=1 2>/dev/null || echo no"
    ) == ("1\nno")
    for name in ("kept", "anew", "foreign"):
        place.write(name, "mark")


def test_what_the_guest_writes_to_the_partition_is_there_on_the_board(place: Place) -> None:
    block, digest = place.block("part"), place.part(8, 4)
    place.inside(f"dd if=/dev/urandom of=/dev/{block} bs=1M seek=8 count=4 oflag=direct 2>/dev/null")
    seen = place.inside(f"dd if=/dev/{block} bs=1M skip=8 count=4 iflag=direct 2>/dev/null | sha256sum").split()[0]
    assert seen == place.part(8, 4) != digest


def test_one_mib_changed_is_sent_to_what_is_reset_and_not_to_what_is_kept(place: Place) -> None:
    make_images(place.images, "second")
    report = place.bench.deploy(place.topology)
    shown(report["rows"])
    print(report["notes"])
    assert [note for note in report["notes"] if "anew.qcow2" in note and "starts anew" in note]
    assert (place.file("kept", "label"), place.file("kept", "mark")) == ("first", "a guest was here")
    assert (place.file("foreign", "label"), place.file("foreign", "mark")) == ("first", "a guest was here")
    assert (place.file("anew", "label"), place.file("anew", "mark")) == ("second", "")
    assert place.file("fixed", "label") == "second"
    kept = [row for row in place.bench.verify(place.topology) if "kept as it was" in row["seen"]]
    assert {row["subject"] for row in kept} == {"device kept", "device foreign"} and all(row["noted"] for row in kept)


def test_rollback_finds_the_disk_as_its_guest_left_it(place: Place) -> None:
    said = place.bench.vtool("rollback", place.topology).stdout
    assert "NOT PROVEN" not in said and "anew.qcow2 is as that generation left it" in said
    assert (place.file("anew", "label"), place.file("anew", "mark")) == ("first", "a guest was here")
    assert place.file("fixed", "label") == "first"


def test_what_the_board_uses_is_never_given_away(place: Place) -> None:
    bench, written = place.bench, place.topology.read_text()
    place.topology.write_text(
        written.replace(PART, "/dev/vda2").replace(f"size: {SIZES['part']}MiB, verify: write", "")
    )
    said = str(bench.deploy(place.topology, code=3)["failure"])
    assert "VT466" in said and "own system" in said
    place.topology.write_text(written)
    # A board that mounts the partition by itself keeps it; its guest does not start.
    stop = "systemctl stop vtool-domain-fe0.service"
    bench.ssh(f"{stop}; mkfs.ext4 -q -F {PART} && mkdir -p /srv/part && mount {PART} /srv/part")
    bench.ssh("systemctl start vtool-domain-fe0.service", code=1)
    log = bench.ssh("journalctl -q --no-pager -u vtool-domain-fe0.service -n 40")
    assert "VT466" in log and "/srv/part" in log
    bench.ssh("umount /srv/part; systemctl reset-failed vtool-domain-fe0.service")
    shown(bench.deploy(place.topology)["rows"])


def test_down_removes_files_and_leaves_the_partition(place: Place) -> None:
    before = place.part(0, 8)
    said = place.bench.vtool("down", place.topology).stdout
    assert f"{PART} is the board's own, and stays as it is" in said
    assert place.bench.ssh("ls /var/lib/vtool 2>/dev/null; true") == ""
    assert place.bench.ssh(f"stat -L -c '%U:%G' {PART}").strip() == "root:disk"
    assert place.part(0, 8) == before
