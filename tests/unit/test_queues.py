"""The queues that a topology chooses: what they take of pools and grants, what proves them, what QEMU is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.cli.common import examine, prepare
from vtool.deploy.proof import Row, proofs, steps_of
from vtool.model.devices.queues import QEMU_ENTRIES, nearest_size
from vtool.plan.types import BoardPlan
from vtool.platform.xen_grants import ring_pages
from vtool.render import render

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"
QUEUES = ROOT / "tests" / "topologies" / "kvm-queues.yaml"
USED, ENTRIES = "queues that its driver uses", "entries of each of its queues"


def board_of(path: Path, *settings: str) -> BoardPlan:
    return prepare(path, settings=settings, keep=False).plan.boards[0]


def rows_of(board: BoardPlan, output: str, answer: object) -> dict[tuple[str, str], Row]:
    """Return the rows of queues, where a guest says this and QEMU that."""
    found = [proof for proof in proofs(board) if proof.what.startswith((USED, ENTRIES))]
    results = {
        step["id"]: {"answers": [answer]} if step["op"] == "qmp" else {"code": 0, "output": output}
        for step in steps_of(found)
    }
    return {(proof.subject, proof.what): proof.read(results) for proof in found}


def test_a_proof_has_a_row_for_what_was_chosen_and_none_for_what_was_not() -> None:
    board = board_of(QUEUES)
    size = f"{ENTRIES}, as QEMU has it"
    assert list(rows_of(board, "2", 1024)) == [
        ("device disk0", USED),
        ("device disk0", ENTRIES),
        ("device net0", f"{size} (rx_queue_size)"),
        ("device share0", f"{size} (queue-size)"),
        ("device disk1", USED),
        ("device disk1", ENTRIES),
        ("device net1", USED),
        ("device net1", f"{size} (rx_queue_size)"),
    ]
    for example in EXAMPLES.glob("*.yaml"):
        assert rows_of(board_of(example), "", "") == {}


def test_queues_that_did_not_take_are_seen() -> None:
    board = board_of(QUEUES)
    good, bad = rows_of(board, "2", 1024), rows_of(board, "1", 256)
    assert good["device disk0", USED].proven and good["device net1", USED].proven
    assert not bad["device disk0", USED].proven and bad["device disk0", USED].seen == "1"
    assert not bad["device net1", USED].proven
    received = ("device net0", f"{ENTRIES}, as QEMU has it (rx_queue_size)")
    assert good[received].proven and not bad[received].proven and bad[received].seen == "256"
    assert not good["device disk0", ENTRIES].proven and good["device disk0", ENTRIES].expected == "1024"


def test_a_guest_is_asked_for_as_many_queues_as_it_has_cpus() -> None:
    board = board_of(EXAMPLES / "kvm-pool.yaml", "devices.disk0.queues=4", "domains.fe0.cpus=2")
    assert rows_of(board, "2", None)["device disk0", USED].proven


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        (("regions.pool0.size=12MiB",), "'net0' 12MiB"),
        (("devices.disk0.queues=4",), None),
        (("devices.disk0.queues=64",), "'disk0' 6MiB"),
        # 256 rings of nine pages; the first segment of them is in the least.
        (("devices.disk0.queues=256", "devices.disk0.queue_size=1024"), "'disk0' 13056KiB"),
    ],
)
def test_a_pool_holds_the_rings_and_what_is_received(settings: tuple[str, ...], needs: str | None) -> None:
    found = [d.message for d in examine(EXAMPLES / "kvm-pool-daemons.yaml", settings=settings).findings]
    assert [needs in message for message in found if "needs at least" in message or "need at least" in message] == (
        [True] if needs else []
    ), found


def test_a_frontend_grants_each_request_of_each_queue() -> None:
    def grants(*settings: str) -> int:
        (guest,) = board_of(EXAMPLES / "xen-grant.yaml", "domains.fe0.xen.max_grant_frames=4096", *settings).xen_guests
        assert guest.grants is not None
        return guest.grants.at_worst

    one, two, longer = grants(), grants("devices.disk0.queues=2"), grants("devices.disk0.queue_size=1024")
    assert 15 * (two - one) == longer - one + 15 * ring_pages(1024) > 300_000, "64 requests, in a ring as large"
    assert grants("devices.net0.queue_size=1024") - one == 768 * 2 + ring_pages(1024) - ring_pages(256)


def test_xens_qemu_is_told_what_was_chosen_instead_of_the_64_of_what_is_granted() -> None:
    def disk(*settings: str) -> str:
        (guest,) = board_of(EXAMPLES / "xen-grant.yaml", "domains.fe0.xen.max_grant_frames=4096", *settings).xen_guests
        return str(next(d.options[-1].pairs for d in guest.virtio if d.name == "disk0"))

    assert "('queue-size', '64')" in disk() and "num-queues" not in disk()
    chosen = disk("devices.disk0.queue_size=1024", "devices.disk0.queues=2")
    assert "('num-queues', '2'), ('queue-size', '1024')" in chosen and "'64'" not in chosen


def test_a_tap_of_several_queues_is_made_for_them() -> None:
    board = board_of(QUEUES)
    (tap,) = (a.content for a in render(board).artifacts if a.name == "units/vtool-tap-net1.service")
    assert " mode tap multi_queue user vtool-domain\n" in tap
    (net,) = (d for guest in board.kvm_guests for d in guest.devices if d.name == "net1")
    assert net.setting("queues") == "2" and net.setting("mq") == "on"


def test_libvirt_has_the_number_of_a_scsi_hosts_queues() -> None:
    path = ROOT / "tests" / "topologies" / "kvm-libvirt.yaml"
    disk = next(n for n, d in prepare(path, keep=False).topology.devices.items() if d.type == "scsi")
    board = board_of(path, f"devices.{disk}.queues=2")
    assert any('<driver queues="2"' in str(a.content) for a in render(board).artifacts if a.name.endswith(".xml"))


@pytest.mark.parametrize(("size", "nearest"), [(1, 4), (100, 64), (128, 128), (2000, 1024), (32768, 1024)])
def test_the_nearest_size_is_one_that_is_taken(size: int, nearest: int) -> None:
    assert nearest_size(size, QEMU_ENTRIES) == nearest
