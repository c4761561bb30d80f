"""What virtio under Xen has to show: each bad observation fails its own row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vtool.cli.common import prepare
from vtool.deploy.proof import Row, proofs
from vtool.deploy.proof.saved import from_json, to_json
from vtool.deploy.proof.steps import REACH

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "a" * 64
MAPS, KERNEL, FEATURES = "maps-vtool-qemu-fe0.service", "option-fe0-disk0", "features-fe0-disk0"
ACCEPTED = "features the driver accepted (of bits 32 and 33)"
LOOKED = "beside-fe0"
BUSY = "memory of the guest that QEMU maps, while a disk is read"


def accepted(*names: str) -> dict[str, Any]:
    """Return what sysfs says of these; vtool's guest says the two digits alone."""
    bits = "".join(str(int(name in names)) for name in ("VERSION_1", "IOMMU_PLATFORM"))
    return {"code": 0, "output": f"{'0' * 32}{bits}{'0' * 30}"}


def mapped(grants: int, foreign: int) -> dict[str, Any]:
    """Return mappings of so many KiB; guest memory of other kinds is beside the point."""
    sizes = (("/dev/xen/gntdev", grants), ("/dev/xen/privcmd", foreign), ("/dev/zero", 4096))
    return {"shared": [{"name": name, "size_bytes": size << 10, "identity": "0:5:1"} for name, size in sizes]}


def looked(mapped: dict[str, Any], own: dict[str, Any], **pool: Any) -> dict[str, Any]:
    """Return what the probes say: of what QEMU has mapped, of an attempt by its rights, and of a pool."""
    looks = (
        {"gntdev": 0, "privcmd": 1, "secret": 0, "control": 0, **mapped},
        {"mapped": 300, "refused": 0, "frame": "0x4012b", **own},
        *([{"mapped": 4096, "refused": 0, "secret": 0, "control": 250, **pool}] if pool else []),
    )
    return {"code": 0, "output": "".join(json.dumps(look) + "\n" for look in looks)}


PLATFORM, PLAIN = accepted("VERSION_1", "IOMMU_PLATFORM"), accepted("VERSION_1")
COPIED = {"code": 0, "output": f"{DIGEST}  -\n{DIGEST}  -\n"}
BY_GRANTS = looked({"gntdev": 39, "control": 12}, {})
BY_RIGHT = looked({"privcmd": 1537}, {})
BY_POOL = looked({"privcmd": 257}, {}, control=250)
NO_FRAME, REFUSED = {"mapped": 65536, "frame": ""}, {"mapped": 0, "refused": 65536, "frame": ""}
GOOD: dict[str, dict[str, Any]] = {
    "xen-grant": {FEATURES: PLATFORM, KERNEL: {"value": "y"}, MAPS: mapped(156, 4), LOOKED: BY_GRANTS},
    "xen-foreign": {FEATURES: PLAIN, MAPS: mapped(0, 2048), LOOKED: BY_RIGHT},
    "xen-pool": {
        FEATURES: {"code": 0, "output": "11\n"},
        MAPS: mapped(0, 2048),
        "created-fe0-pool0": {"code": 0, "output": "1\n"},
        "assigned-fe0-disk0": {"code": 0, "output": "assigned\n"},
        "echo-fe0-disk0": COPIED,
        "back-fe0-net0": {"output": DIGEST, "digest": DIGEST},
        "hiwater-fe0-disk0": {"code": 0, "output": "521\n"},
        LOOKED: BY_POOL,
    },
}


def rows(example: str, changes: dict[str, Any]) -> dict[str, Row]:
    """Read the rows whose steps are all among the results."""
    results = {**GOOD[example], **changes}
    found = from_json(to_json(proofs(prepare(ROOT / "topology/examples" / f"{example}.yaml").plan.boards[0])))
    judged = [p for p in found if p.steps[-1]["id"] in results]
    assert {p.steps[-1]["id"] for p in judged} == set(results)
    return {row.what: row for row in (p.read(results) for p in judged)}


@pytest.mark.parametrize("example", GOOD)
def test_all_good_is_all_proven(example: str) -> None:
    assert [what for what, row in rows(example, {}).items() if not row.proven] == []


@pytest.mark.parametrize(
    ("example", "changes", "what"),
    [
        ("xen-grant", {FEATURES: PLAIN}, ACCEPTED),
        ("xen-grant", {FEATURES: {"code": 1, "output": "cat: no such file"}}, ACCEPTED),
        ("xen-grant", {KERNEL: {"value": "n"}}, "kernel has CONFIG_XEN_VIRTIO"),
        ("xen-grant", {MAPS: mapped(156, 2048)}, BUSY),
        ("xen-grant", {MAPS: mapped(0, 4)}, BUSY),
        ("xen-grant", {MAPS: {"error": {"message": "no process"}}}, BUSY),
        ("xen-foreign", {FEATURES: PLATFORM}, ACCEPTED),
        ("xen-foreign", {MAPS: mapped(156, 2048)}, BUSY),
        ("xen-foreign", {MAPS: mapped(0, 4)}, BUSY),
        ("xen-grant", {LOOKED: looked({"gntdev": 39, "control": 12, "secret": 1}, {})}, REACH),
        ("xen-grant", {LOOKED: looked({"gntdev": 39}, {})}, REACH),
        ("xen-grant", {LOOKED: looked({"gntdev": 39, "control": 12, "privcmd": 513}, {})}, REACH),
        ("xen-grant", {LOOKED: looked({"gntdev": 39, "control": 12}, NO_FRAME)}, REACH),
        ("xen-grant", {LOOKED: {"code": 0, "output": ""}}, REACH),
        ("xen-foreign", {LOOKED: looked({"privcmd": 1537}, NO_FRAME)}, REACH),
        ("xen-foreign", {LOOKED: looked({"privcmd": 1537}, REFUSED)}, REACH),
        ("xen-foreign", {LOOKED: looked({"gntdev": 39, "control": 12}, {})}, REACH),
        ("xen-pool", {LOOKED: looked({"privcmd": 257}, {}, control=0)}, REACH),
        ("xen-pool", {LOOKED: looked({"privcmd": 257}, {}, secret=1)}, REACH),
        ("xen-pool", {LOOKED: looked({"privcmd": 8192}, {}, control=250)}, REACH),
        ("xen-pool", {LOOKED: looked({"privcmd": 1}, {}, control=250)}, REACH),
        ("xen-pool", {FEATURES: PLAIN}, ACCEPTED),
        ("xen-pool", {MAPS: mapped(0, 32 << 10)}, "memory of the guest that QEMU maps"),
        ("xen-pool", {MAPS: mapped(4, 2048)}, "memory of the guest that QEMU maps"),
        ("xen-pool", {"created-fe0-pool0": {"code": 1, "output": "0"}}, "kernel made it a restricted DMA pool"),
        ("xen-pool", {"assigned-fe0-disk0": {"code": 1, "output": ""}}, "kernel assigned it the pool"),
        (
            "xen-pool",
            {"echo-fe0-disk0": {"code": 0, "output": f"{'b' * 64}  -\n{DIGEST}  -\n"}},
            "1MiB at the backend's file, read by the frontend and written beside it",
        ),
        (
            "xen-pool",
            {"back-fe0-net0": {"output": "b" * 64, "digest": DIGEST}},
            "1MiB sent by the backend domain, received and sent back by the frontend",
        ),
        (
            "xen-pool",
            {"hiwater-fe0-disk0": {"code": 0, "output": "0"}},
            "slots of the pool that the guest has used (high-water mark)",
        ),
    ],
)
def test_each_bad_observation_fails_its_row(example: str, changes: dict[str, Any], what: str) -> None:
    assert [name for name, row in rows(example, changes).items() if not row.proven] == [what]


@pytest.mark.parametrize(
    ("example", "look", "seen"),
    [
        (
            "xen-grant",
            BY_GRANTS,
            "granted pages: QEMU maps 156KiB granted, 0B foreign; secret in 0 of 39 pages, control in 12; "
            "by right all RAM, a process beside QEMU mapped the secret (frame 0x4012b)",
        ),
        (
            "xen-grant",
            looked({"gntdev": 39, "control": 12}, REFUSED),
            "granted pages: QEMU maps 156KiB granted, 0B foreign; secret in 0 of 39 pages, control in 12; "
            "by right no more, Xen refused 65536 pages",
        ),
        (
            "xen-foreign",
            BY_RIGHT,
            "all RAM: QEMU maps 0B granted, 6140KiB foreign; "
            "by right all RAM, a process beside QEMU mapped the secret (frame 0x4012b)",
        ),
        (
            "xen-pool",
            BY_POOL,
            "region pool0 (16MiB): QEMU maps 0B granted, 1020KiB foreign; secret in 0 of 4096 pages, control in 250; "
            "by right all RAM, a process beside QEMU mapped the secret (frame 0x4012b)",
        ),
    ],
)
def test_a_row_says_what_qemu_has_and_what_it_could_have(example: str, look: dict[str, Any], seen: str) -> None:
    row = rows(example, {LOOKED: look})[REACH]
    assert row.seen == seen and row.proven
