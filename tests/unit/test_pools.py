"""What devices need of a pool: the sum of what they hold, or whole segments for a disk beside what others keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.errors.test_errors import found_in
from vtool.base.units import KIB, MIB

HEAD = """
version: 1
name: pools
boards:
  board0: {{facts: qemu-virt, hypervisor: {{kind: kvm, suite: {suite}}}}}
domains:
  host: {{role: control}}
  fe0: {{memory: 256MiB, cpus: 2, ramdisk: vtool:guest-initramfs}}
regions:
  pool0: {{size: {size}KiB, owner: fe0, borrowers: [host], use: restricted-dma-pool}}
devices:
"""
PATH = "frontend: fe0, backend: host, program: qemu, transport: pci, data_path: pool-in-ram, region: pool0"
BRIDGED = "network: {bridge: br0, frontend_address: 192.0.2.2/24, backend_address: 192.0.2.1/24}"
DEVICES = {
    "disk": f"{{type: blk, {PATH}, disk: {{file: NAME.img, size: 64MiB}}}}",
    "hosts": f"{{type: scsi, {PATH}, scsi: {{disks: [{{file: NAME.img, size: 64MiB}}]}}}}",
    "net": f"{{type: net, {PATH}, {BRIDGED}}}",
    "wide": f"{{type: net, {PATH}, queues: 2, queue_size: 512, {BRIDGED}}}",
    "folder": (
        "{type: fs, frontend: fe0, backend: host, program: virtiofsd, transport: mmio, data_path: pool-in-ram, "
        "region: pool0, share: {directory: NAME}}"
    ),
    "random": f"{{type: rng, {PATH}}}",
    "port": f"{{type: console, {PATH}}}",
}
# Debian 13's QEMU offers 1024 entries whatever a device has, its backports' 256: Linux fills all of them.
NEEDS = [
    ("trixie", ["disk"], 4 * MIB),
    ("trixie", ["disk", "disk"], 8 * MIB),
    ("trixie", ["net"], 7 * MIB),
    ("trixie", ["net", "folder"], 11 * MIB),
    ("trixie", ["disk", "net"], 16 * MIB),
    ("trixie", ["hosts", "net"], 16 * MIB),
    ("trixie", ["disk", "net", "disk"], 16 * MIB),
    ("trixie", ["disk", "net", "disk", "folder"], 19 * MIB),
    ("trixie", ["disk", "net", "net"], 28 * MIB),
    ("trixie", ["disk", "random"], 4 * MIB + 256 * KIB),
    ("trixie-backports", ["net"], 4 * MIB),
    ("trixie-backports", ["disk", "net"], 7 * MIB + 256 * KIB),
    ("trixie-backports", ["disk", "wide"], 16 * MIB),
    ("trixie-backports", ["port"], 4 * MIB),
    ("trixie-backports", ["disk", "port"], 68 * MIB),
]


def said(tmp_path: Path, suite: str, kinds: list[str], size: int) -> list[str]:
    lines = [f"  {kind}{n}: {DEVICES[kind].replace('NAME', f'f{n}')}\n" for n, kind in enumerate(kinds)]
    topology = tmp_path / "topology.yaml"
    topology.write_text(HEAD.format(suite=suite, size=size // KIB) + "".join(lines))
    return [found.message for found in found_in(topology) if found.code == "VT405"]


@pytest.mark.parametrize(("suite", "kinds", "least"), NEEDS, ids=lambda value: str(value).replace(" ", ""))
def test_a_pool_is_refused_below_what_its_devices_need_and_not_from_there_on(
    tmp_path: Path, suite: str, kinds: list[str], least: int
) -> None:
    assert said(tmp_path, suite, kinds, least) == []
    (message,) = said(tmp_path, suite, kinds, least - 256 * KIB)
    assert message.startswith("pool 'pool0' has ")


def test_who_takes_what_is_said(tmp_path: Path) -> None:
    (message,) = said(tmp_path, "trixie", ["disk", "net", "disk"], 8 * MIB)
    assert message == "pool 'pool0' has 8MiB, and its devices need at least 16MiB: 'net1' 12MiB, 'disk0' 4MiB"
