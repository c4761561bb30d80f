"""What ``alignment`` of a region does to the plan: every address keeps it, and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.base.units import KIB, MIB
from vtool.cli.common import prepare
from vtool.diagnostics import VtoolError
from vtool.plan.lock import format_lock, lock_path
from vtool.plan.types import BoardPlan

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "tests" / "topologies" / "dom0less-shared.yaml"
RING = "{size: 4MiB, owner: fe0, borrowers: [be0], use: shared-memory"


def planned(folder: Path, more: str, *, lock: bool = False) -> BoardPlan:
    path = folder / "t.yaml"
    text = SHARED.read_text().replace(RING, f"{RING}{more}").replace("xen-4.20", str(SHARED.parent / "xen-4.20"))
    path.write_text(text)
    plan = prepare(path).plan
    if lock:
        lock_path(path).write_text(format_lock(plan))
    return plan.boards[0]


def places(board: BoardPlan, region: str) -> list[int]:
    views = [view for guest in board.xen_boot.guests for view in guest.shared if view.region == region]
    return [address for view in views for address in (view.host.base if view.host else 0, view.inside.base)]


@pytest.mark.parametrize("alignment", [64 * KIB, 4 * MIB, 512 * MIB])
def test_host_and_guest_addresses_keep_it(alignment: int, tmp_path: Path) -> None:
    before, after = planned(tmp_path, ""), planned(tmp_path, f", alignment: {alignment // KIB}KiB")
    assert places(after, "ring0") and all(address % alignment == 0 for address in places(after, "ring0"))
    assert places(after, "ring1") == places(before, "ring1")


def test_a_locked_address_that_does_not_keep_it_is_refused(tmp_path: Path) -> None:
    base = planned(tmp_path, "", lock=True)
    wanted = 2 * max(address & -address for address in places(base, "ring0"))
    with pytest.raises(VtoolError) as caught:
        planned(tmp_path, f", alignment: {wanted // KIB}KiB")
    assert {(d.code, "not a multiple of" in d.message) for d in caught.value.diagnostics} == {("VT411", True)}


def test_the_lock_keeps_a_smaller_alignment_that_was_taken_back(tmp_path: Path) -> None:
    first = planned(tmp_path, ", alignment: 4KiB", lock=True)
    assert places(planned(tmp_path, ""), "ring0") == places(first, "ring0")
