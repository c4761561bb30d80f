"""Reading recorded results: what is proven, what is not, and why."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from vtool.cli.common import prepare
from vtool.deploy.proof import Row, proofs, steps_of

EXAMPLES = Path(__file__).resolve().parents[2] / "topology" / "examples"
DIGEST = "a" * 64
NO_SHELL = ("qmp", "maps", "kernel-option", "reach", "granted", "beside")
SHARED = [{"size_bytes": 16 << 20, "identity": "00:01:7", "name": "/memfd:memory-backend-memfd (deleted)"}]
GOOD: dict[str, Any] = {
    "unit-fe0": {"code": 0, "output": "active\n"},
    "shell-fe0": {"code": 0, "output": "alive\n"},
    "option-fe0": {"value": "y"},
    "tree-fe0-pool0": {"code": 0, "output": "00000000500000000000000001000000"},
    "memdev-fe0": {
        "answers": [
            [
                {"id": "pool-pool0", "size": 16 << 20, "share": True},
                {"id": "private", "size": 256 << 20, "share": False},
            ]
        ]
    },
    "features-disk0": {
        "answers": [{"guest-features": {"transports": ["VIRTIO_F_VERSION_1: x", "VIRTIO_F_IOMMU_PLATFORM: y"]}}]
    },
    "created-fe0-pool0": {"code": 0, "output": "1"},
    "assigned-fe0-disk0": {"code": 0, "output": "1"},
    "reset-fe0-disk0": {"code": 0, "output": "0"},
    "write-fe0-disk0": {"code": 0, "output": f"{DIGEST}  /tmp/w"},
    "written-fe0-disk0": {"code": 0, "output": f"{DIGEST}  -"},
    "fill-fe0-disk0": {"code": 0, "output": f"{DIGEST}  -"},
    "read-fe0-disk0": {"code": 0, "output": f"{DIGEST}  -"},
    "hiwater-fe0-disk0": {"code": 0, "output": "537"},
    "maps-vtool-backend-disk0.service": {
        "shared": [*SHARED, {**SHARED[0], "identity": "00:01:9", "name": "/dev/zero"}]
    },
    "maps-vtool-domain-fe0.service": {"shared": SHARED},
    "reach-fe0-disk0": {
        "secret_shared": 0,
        "secret_own": 0,
        "control_shared": 1 << 20,
        "control_own": 0,
        "searched_bytes": 90 << 20,
        "objects": [{"identity": "1:7", "size_bytes": 16 << 20}],
        "unread": [],
        "processes": 1,
    },
}
REACH = "what its backend can reach"


def read(changes: dict[str, Any]) -> dict[str, Row]:
    found = proofs(prepare(EXAMPLES / "kvm-pool.yaml").plan.boards[0])
    results = {**GOOD, **changes}
    assert {step["id"] for step in steps_of(found)} == set(GOOD)
    return {row.what: row for row in (proof.read(results) for proof in found)}


def wrong(changes: dict[str, Any]) -> list[str]:
    return [what for what, row in read(changes).items() if not row.proven]


def test_all_good_is_all_proven() -> None:
    assert wrong({}) == []


def test_each_bad_observation_fails_its_row() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"unit-fe0": {"code": 0, "output": "failed"}}, "its unit is active"),
        ({"shell-fe0": {"error": {"message": "no answer"}}}, "its shell answers"),
        ({"option-fe0": {"value": "n"}}, "kernel has CONFIG_DMA_RESTRICTED_POOL"),
        ({"option-fe0": {"value": "unknown"}}, "kernel has CONFIG_DMA_RESTRICTED_POOL"),
        ({"created-fe0-pool0": {"code": 0, "output": "0"}}, "kernel made it a restricted DMA pool"),
        ({"assigned-fe0-disk0": {"code": 0, "output": "0"}}, "kernel assigned it the pool"),
        ({"hiwater-fe0-disk0": {"code": 0, "output": "0"}}, "slots of 'pool0' used by that I/O (high-water mark)"),
        ({"hiwater-fe0-disk0": {"code": 1, "output": ""}}, "slots of 'pool0' used by that I/O (high-water mark)"),
        (
            {"features-disk0": {"answers": [{"class": "DeviceNotFound"}]}},
            "features the driver accepted (of bits 32 and 33)",
        ),
    ]
    for changes, what in cases:
        assert wrong(changes) == [what], changes


def test_a_moved_region_says_where_it_was_expected_and_seen() -> None:
    row = read({"tree-fe0-pool0": {"code": 0, "output": "00000000480000000000000001000000"}})[
        "stands where it was planned (device tree)"
    ]
    assert not row.proven
    assert (row.expected, row.seen) == ("[0x50000000, 0x51000000)", "[0x48000000, 0x49000000)")


def test_different_or_missing_digests_are_not_proof() -> None:
    what = "1MiB written by the frontend, read at the backend's file"
    assert wrong({"written-fe0-disk0": {"code": 0, "output": "b" * 64}}) == [what]
    both_empty = {"write-fe0-disk0": {"code": 0, "output": ""}, "written-fe0-disk0": {"code": 0, "output": ""}}
    assert wrong(both_empty) == [what]


def test_a_backend_that_maps_more_or_nothing_fails() -> None:
    what = "guest memory it maps"
    more = [*SHARED, {"size_bytes": 256 << 20, "identity": "00:01:8", "name": "/memfd:x"}]
    assert wrong(
        {
            "maps-vtool-backend-disk0.service": {"shared": more},
            "maps-vtool-domain-fe0.service": {"shared": more},
        }
    ) == [what]
    assert wrong({"maps-vtool-backend-disk0.service": {"shared": []}}) == [what]


def test_what_a_backend_can_reach_is_what_was_found() -> None:
    good = GOOD["reach-fe0-disk0"]
    assert read({})[REACH].seen == "region pool0 (16MiB): secret not found in 90MiB of its memory, control found"
    both = [*good["objects"], {"identity": "1:9", "size_bytes": 256 << 20}]
    cases = [
        ({"secret_own": 64}, "all RAM: secret found in 90MiB of its memory, control found"),
        ({"secret_shared": 64, "objects": both}, "all RAM: secret found in 90MiB of its memory, control found"),
        ({"objects": both}, "272MiB of the guest: secret not found in 90MiB of its memory, control found"),
        ({"control_shared": 0}, "not known: secret not found in 90MiB of its memory, control not found"),
        ({"unread": ["/memfd:x"]}, read({})[REACH].seen),
    ]
    for changes, seen in cases:
        assert wrong({"reach-fe0-disk0": {**good, **changes}}) == [REACH], changes
        assert read({"reach-fe0-disk0": {**good, **changes}})[REACH].seen == seen


def test_granted_pages_are_counted_and_the_secret_is_not_among_them() -> None:
    found = proofs(prepare(EXAMPLES / "xen-pv.yaml").plan.boards[0])
    good = {"granted": 290, "secret": 0, "control": 256, "pages": 65536, "complete": True}
    cases = [({}, True), ({"secret": 1}, False), ({"granted": 0}, False), ({"control": 0}, False)]
    for changes, proven in cases:
        rows = [proof.read({"granted-fe0": {**good, **changes}}) for proof in found]
        reached = [(row.subject, row.proven) for row in rows if row.what == REACH]
        assert reached == [("device disk0", proven), ("device net0", proven)], changes


def test_private_ram_that_is_shared_fails() -> None:
    backends = [dict(item, share=True) for item in GOOD["memdev-fe0"]["answers"][0]]
    assert wrong({"memdev-fe0": {"answers": [backends]}}) == ["only the pool is shared memory"]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_nothing_observed_proves_nothing(example: Path) -> None:
    for board in prepare(example).plan.boards:
        found = proofs(board)
        ids = [step["id"] for step in steps_of(found)]
        assert found and all(not proof.read({}).proven for proof in found)
        assert all(proof.read({}).bytes_checked == 0 for proof in found) and len(ids) == len(set(ids))


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_data_goes_through_every_device_of_the_examples(example: Path) -> None:
    topology, board = prepare(example).topology, prepare(example).plan.boards[0]
    said = {"code": 0, "output": DIGEST, "digest": DIGEST}
    steps = steps_of(proofs(board))
    good = {step["id"]: said for step in steps if step["op"] not in NO_SHELL}
    good |= {name: {**said, "output": f"{DIGEST}\n{DIGEST}"} for name in good if name.startswith("echo-")}
    checked = {row.subject: row.bytes_checked for proof in proofs(board) if (row := proof.read(good)).bytes_checked}
    assert set(checked) == {f"device {name}" for name, device in topology.devices.items() if device.type != "iommu"}


def test_two_digests_of_nothing_are_not_proof() -> None:
    nothing = {"code": 0, "output": hashlib.sha256().hexdigest()}
    what = "1MiB written by the frontend, read at the backend's file"
    assert wrong({"write-fe0-disk0": nothing, "written-fe0-disk0": nothing}) == [what]
