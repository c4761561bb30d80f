"""Reading recorded results: what is proven, what is not, and why."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vtool.cli.common import prepare
from vtool.deploy.proof import Row, proofs, steps_of
from vtool.deploy.proof.releases import ASKED, MET
from vtool.deploy.proof.saved import from_json, to_json
from vtool.plan.types import TRACK_HIWATER, BoardPlan
from vtool.report.summary import proof_lines

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"
DIGEST = "a" * 64
FEATURES = "0" * 32 + "11" + "0" * 30
"""As sysfs has them, bit 0 first: VERSION_1 and ACCESS_PLATFORM."""
ACCEPTED = "features the driver accepted (of bits 32 and 33)"
USED = "slots of 'pool0' used by that I/O (high-water mark)"
NO_SHELL = ("qmp", "offers", "maps", "kernel-option", "reach", "granted", "beside")
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
    "release-linux": {"code": 0, "output": "6.12.117\n"},
    "release-fe0": {"code": 0, "output": "6.12.117"},
    "qemu-fe0": {"answers": [{"qemu": {"major": 10, "minor": 0, "micro": 13}, "package": "Debian"}]},
    "features-fe0-disk0": {"code": 0, "output": FEATURES + "\n"},
    "offers-disk0": {"VIRTIO_F_VERSION_1": True, "VIRTIO_F_IOMMU_PLATFORM": True},
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


def rows(changes: dict[str, Any]) -> list[Row]:
    found = from_json(to_json(proofs(prepare(EXAMPLES / "kvm-pool.yaml").plan.boards[0])))
    results = {**GOOD, **changes}
    assert {step["id"] for step in steps_of(found)} == set(GOOD)
    return [proof.read(results) for proof in found]


def read(changes: dict[str, Any]) -> dict[str, Row]:
    return {row.what: row for row in rows(changes)}


def wrong(changes: dict[str, Any]) -> list[str]:
    return [row.what for row in rows(changes) if row.failed]


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
        ({"hiwater-fe0-disk0": {"code": 0, "output": "0"}}, USED),
        ({"hiwater-fe0-disk0": {"code": 1, "output": ""}}, USED),
        ({"hiwater-fe0-disk0": {"code": 0, "output": "0\n7.3.4\n"}}, USED),
        ({"features-fe0-disk0": {"code": 1, "output": "cat: no such file"}}, ACCEPTED),
        ({"features-fe0-disk0": {"code": 0, "output": FEATURES.replace("11", "10")}}, ACCEPTED),
        ({"features-fe0-disk0": {"code": 0, "output": FEATURES[:40]}}, ACCEPTED),
        ({"release-linux": {"code": 0, "output": ""}}, "its kernel"),
        ({"qemu-fe0": {"answers": [{"class": "CommandNotFound"}]}}, "release of its QEMU"),
    ]
    for changes, what in cases:
        assert wrong(changes) == [what], changes


def test_features_are_read_at_the_guest_whatever_the_number_of_digits() -> None:
    both = "VIRTIO_F_VERSION_1, VIRTIO_F_IOMMU_PLATFORM"
    for digits, seen in ((FEATURES, both), (FEATURES + "0" * 64, both), (FEATURES.replace("11", "10"), both[:18])):
        assert read({"features-fe0-disk0": {"code": 0, "output": digits}})[ACCEPTED].seen == seen


def test_of_a_guest_that_hangs_qemu_says_what_can_be_accepted_at_most() -> None:
    hangs = {"features-fe0-disk0": {"error": {"message": "domain 'fe0' did not answer", "detail": []}}}
    row = read(hangs)[ACCEPTED]
    assert row.failed and row.seen == "not known: of what QEMU offers, VIRTIO_F_VERSION_1, VIRTIO_F_IOMMU_PLATFORM"
    plain = {"VIRTIO_F_VERSION_1": True, "VIRTIO_F_IOMMU_PLATFORM": False}
    assert read({**hangs, "offers-disk0": plain})[ACCEPTED].seen == "not known: of what QEMU offers, VIRTIO_F_VERSION_1"
    gone = {"error": {"message": "no socket", "detail": []}}
    assert read({**hangs, "offers-disk0": gone})[ACCEPTED].seen == "not known"


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("0", "0"),
        ("0\n7.3.4\n", "0; its command line lacks {}, without which Linux 7.3 and later count nothing; this is 7.3.4"),
        (
            f"0\n6.12.117\n{TRACK_HIWATER}",
            "0; its command line has {}, without which Linux 7.3 and later count nothing; this is 6.12.117",
        ),
        (f"131\n7.3.4\n{TRACK_HIWATER}", "131"),
    ],
)
def test_a_mark_of_0_says_whether_the_kernel_counts(told: str, seen: str) -> None:
    assert read({"hiwater-fe0-disk0": {"code": 0, "output": told}})[USED].seen == seen.format(TRACK_HIWATER)


def qemu(major: int, minor: int) -> dict[str, Any]:
    return {"qemu-fe0": {"answers": [{"qemu": {"major": major, "minor": minor, "micro": 1}}]}}


@pytest.mark.parametrize(
    ("changes", "what", "seen"),
    [
        (qemu(12, 0), "release of its QEMU", "12.0.1: not proven with QEMU 12.0: the topology says 10.0"),
        (qemu(11, 1), "release of its QEMU", "11.1.1: the topology says 10.0"),
        (
            {"release-fe0": {"code": 0, "output": "6.18.3-arm64"}},
            "its kernel",
            "6.18.3-arm64: not proven with Linux 6.18",
        ),
    ],
)
def test_a_release_that_was_not_met_is_noted_and_takes_nothing_back(
    changes: dict[str, Any], what: str, seen: str
) -> None:
    (noted,) = (row for row in rows(changes) if not row.proven)
    assert (noted.what, noted.seen, noted.noted, noted.failed) == (what, seen, True, False)
    assert [line for line in proof_lines(rows(changes)) if "FAILED" in line] == []
    (line,) = (line for line in proof_lines(rows(changes)) if line.split()[0] == "noted")
    assert line.endswith(seen)


def test_another_xen_than_the_topology_says_is_noted() -> None:
    found = from_json(to_json(proofs(prepare(EXAMPLES / "xen-pv.yaml").plan.boards[0])))
    said = {"4.20.4": "", "4.21.1": ": not proven with Xen 4.21: the topology says 4.20"}
    for told, words in said.items():
        (row,) = (proof.read({"release-xen": {"code": 0, "output": told}}) for proof in found[:1])
        assert (row.what, row.seen, row.noted) == ("its release", f"{told}{words}", bool(words))


# -- what is asked


def asked_of(board: BoardPlan) -> Iterator[tuple[str, str]]:
    """Yield what the proof of a board asks, as (how, what)."""
    for step in steps_of(proofs(board)):
        if step["op"] == "qmp":
            yield from (("QMP", command["execute"]) for command in step["commands"])
        for command in (str(step.get(key, "")) for key in ("command", "control")):
            yield from (("xl", word) for word in re.findall(r"\bxl (?!dmesg\b|\$)([a-z-]+)", command) if word != "devd")
            yield from (("xenstore", word) for word in re.findall(r"xenstore-[a-z]+", command))
            yield from (("debugfs", word) for word in re.findall(r"(?<=/)io_tlb_\w+", command))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_proof_asks_what_the_table_has_and_nothing_unstable(path: Path) -> None:
    known = {(asked.how, asked.what) for asked in ASKED}
    for board in prepare(path, keep=False).plan.boards:
        assert set(asked_of(board)) - known == set()
    assert not any(what.startswith("x-") for _, what in known)


def test_what_runs_on_the_board_asks_nothing_else_of_hypervisors() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "vtool/deploy/on_board").glob("*.py"))
    commands = set(re.findall(r'"execute": "([\w-]+)"', sources))
    assert commands == {"qmp_capabilities", "qom-get", "query-cpus-fast", "system_powerdown"}
    known = {asked.what for asked in ASKED}
    assert set(re.findall(r'run\("xl", "([a-z-]+)"', sources)) - known == {"shutdown", "destroy"}


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs/reference/what-a-proof-asks.md").read_text()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line][2:]
    assert [row[:3] for row in rows] == [[asked.of, asked.how, asked.what] for asked in ASKED]
    assert all(" and ".join(releases) in page for releases in MET.values())


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


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "kvm-networks",
            {
                "device up0": ("0", False, True),
                "device lan1": ("0", False, True),
                "device alone0": ("0", True, False),
            },
        ),
        ("dom0less-pv", {"device net1": ("0", True, False)}),
    ],
)
def test_a_guest_that_sends_nothing_is_told_where_it_has_no_address_and_fails_where_it_asks_for_one(
    name: str, wanted: dict[str, tuple[str, bool, bool]]
) -> None:
    found = proofs(prepare(ROOT / "tests" / "topologies" / f"{name}.yaml").plan.boards[0])
    sent = {proof.subject: proof for proof in found if proof.what == "frames that it sent, counted on the board"}
    silent = {proof.steps[0]["id"]: {"output": "0", "exit_code": 0, "code": 0} for proof in sent.values()}
    rows = {subject: proof.read(silent) for subject, proof in sent.items()}
    assert {subject: (row.seen, row.noted, row.failed) for subject, row in rows.items()} == wanted


def test_granted_pages_are_counted_and_the_secret_is_not_among_them() -> None:
    found = from_json(to_json(proofs(prepare(EXAMPLES / "xen-pv.yaml").plan.boards[0])))
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
        found = from_json(to_json(proofs(board)))
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
