"""A pool that is bypassed behind vtool's back: the disk works, and `vtool verify` says what its backend can reach.

vtool refuses such topologies; so the guest's unit is changed on the board. All of its RAM is made shared, too:
otherwise the disk would just not work.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import Any

import pytest

from vtool.base.progress import Silent
from vtool.images.build import ensure

from .conftest import EXAMPLES, Bench

pytestmark = pytest.mark.board
TOPOLOGY, IN_RAM = EXAMPLES / "kvm-pool.yaml", EXAMPLES / "kvm-pool-in-ram.yaml"
UNIT = "vtool-domain-fe0.service"
CHANGED = f"/run/systemd/system/{UNIT}.d/bypass.conf"
FEATURES = "features the driver accepted"
NO_POOLS = ("kernel has CONFIG_DMA_RESTRICTED_POOL", "kernel made it a restricted", "kernel assigned it the pool")
SHARED = ("memory-backend-ram,id=private,size=256M", "memory-backend-memfd,id=private,size=256M,share=on")
IMAGE = "/var/lib/vtool/current/domains/fe0/Image"
KERNEL = "kernel that knows no pools"
# Case: what is changed in QEMU's command line, the rows that fail besides what can be reached, and whether the disk
# works all the same. With legacy mmio it does not: libvhost-user, in the daemon, refuses virtio before 1.0.
CASES = {
    "no ACCESS_PLATFORM": ([("iommu_platform=on,", "iommu_platform=off,")], (FEATURES,), True),
    "legacy mmio": ([("force-legacy=false", "force-legacy=true")], (FEATURES,), False),
    KERNEL: ([], NO_POOLS, True),
}
SAMPLE = "no ACCESS_PLATFORM"
"""The one that `make test` has time for."""


@pytest.fixture(scope="module")
def deployed(bench: Bench) -> Iterator[Bench]:
    bench.deploy(TOPOLOGY)
    yield bench
    # The next deploy starts it, and puts its kernel right.
    bench.ssh(f"rm -f {CHANGED}; systemctl daemon-reload; systemctl stop {UNIT}")


def without_pools(image: bytes) -> bytes:
    """Return a kernel that does not know restricted pools and does not name the option in its configuration."""
    start, end = image.index(b"IKCFG_ST") + 8, image.index(b"IKCFG_ED")
    config = gzip.decompress(image[start:end]).replace(b"CONFIG_DMA_RESTRICTED_POOL=y\n", b"")
    packed = gzip.compress(config).ljust(end - start, b"\0")
    assert len(packed) == end - start
    return (image[:start] + packed + image[end:]).replace(b"restricted-dma-pool", b"unconfined-dma-poo_")


def restart(bench: Bench, deadline_s: int) -> None:
    """Start the guest again; one that does not come up is for `vtool verify` to name."""
    bench.ssh(f"systemctl daemon-reload; systemctl restart {UNIT}")
    bench.ssh(f"timeout {deadline_s} /var/lib/vtool/current/vtool-board converge || true")


def reach(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["what"] == "what its backend can reach")


@pytest.mark.long
def test_a_pool_next_to_an_iommu_is_named(bench: Bench) -> None:
    """Linux has the IOMMU map for a device behind it, and never uses its pool; virtio-mmio is not behind one."""
    bench.deploy(IN_RAM)
    unit, machine = bench.ssh(f"cat $(systemctl show -p FragmentPath --value {UNIT})"), "-machine virt,"
    assert unit.count(machine) == 2, "for the tree that QEMU writes, and to run"
    bench.ssh(f"cat > /run/systemd/system/{UNIT}", unit.replace(machine, f"{machine}iommu=smmuv3,").encode())
    try:
        restart(bench, 60)
        rows = bench.verify(IN_RAM, code=3)
    finally:
        bench.ssh(f"rm /run/systemd/system/{UNIT}; systemctl daemon-reload")
    used = {row["subject"]: row["seen"].split(";")[0] for row in rows if row["what"].startswith("slots of ")}
    assert (used["device disk0"], used["device net0"]) == ("0", "0") and int(used["device disk1"]) > 0, used
    assert all(row["proven"] for row in rows if "by the frontend" in row["what"]), "silent: the disks work"


@pytest.mark.parametrize("case", [c if c == SAMPLE else pytest.param(c, marks=pytest.mark.long) for c in CASES])
def test_a_pool_that_is_bypassed_is_named(deployed: Bench, case: str) -> None:
    changes, also, works = CASES[case]
    if case == KERNEL:
        deployed.ssh(f"cat > {IMAGE}", without_pools(ensure(["linux"], Silent())["linux"].path.read_bytes()))
    unit = deployed.ssh(f"cat $(systemctl show -p FragmentPath --value {UNIT})")
    found = re.search(r"^ExecStart=(?:.*\\\n)*.*\n", unit, re.MULTILINE)
    assert found is not None
    command = found[0]
    for written, instead in (SHARED, *changes):
        assert written in command
        command = command.replace(written, instead)
    deployed.ssh(f"mkdir -p $(dirname {CHANGED}); cat > {CHANGED}", f"[Service]\nExecStart=\n{command}".encode())
    restart(deployed, 60 if works else 20)
    rows = deployed.verify(TOPOLOGY, code=3)
    assert not reach(rows)["proven"], rows
    failed = {row["what"]: (row["expected"], row["seen"]) for row in rows if not row["proven"]}
    assert failed.get(NO_POOLS[0]) == (("y", "n") if case == KERNEL else None), failed
    assert all(any(what.startswith(beginning) for what in failed) for beginning in also), failed
    if not works:
        return
    assert reach(rows)["seen"].startswith("all RAM: secret found"), rows
    moved = [row for row in rows if "written by the frontend" in row["what"] or "read by the frontend" in row["what"]]
    assert len(moved) == 2 and all(row["proven"] for row in moved), "silent: the disk works"
