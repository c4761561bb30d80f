"""What guests that Xen builds at boot have to show of the regions they share."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.deploy.proof import proofs
from vtool.deploy.proof.saved import from_json, to_json
from vtool.plan.types import XenBootGuest

EXAMPLE = Path(__file__).resolve().parents[2] / "topology/examples/dom0less-static.yaml"
STEP = "bytes-ring0-fe0-be0"
DIGEST = "0123456789abcdef"


def test_each_guest_writes_a_slot_of_its_own_where_it_sees_the_region() -> None:
    guests = {guest.name: guest for guest in prepare(EXAMPLE).plan.boards[0].xen_boot.guests}

    def words(guest: XenBootGuest) -> list[str]:
        return [word for word in guest.bootargs.split() if word.startswith("vtool.share=")]

    assert words(guests["fe0"])[:2] == ["vtool.share=50000000:0:2", "vtool.share=90000000:0:2"]
    assert words(guests["be0"]) == ["vtool.share=60000000:1:2", "vtool.share=70000000:1:2"]


def test_both_ways_of_each_region_of_two_guests_are_rows() -> None:
    steps = [step["id"] for proof in proofs(prepare(EXAMPLE).plan.boards[0]) for step in proof.steps]
    shown = [step for step in steps if step.startswith("bytes-")]
    assert shown == [f"bytes-{region}-{ends}" for ends in ("fe0-be0", "be0-fe0") for region in ("ring0", "ring1")]


@pytest.mark.parametrize(
    ("output", "proven"),
    [
        (f"{DIGEST}\n{DIGEST}\n", True),
        (f"{DIGEST}\n{'f' * 16}\n", False),
        (f"{DIGEST}\n\n", False),
        ("\n\n", False),
        ("", False),
    ],
)
def test_bytes_are_the_same_or_not_proven(output: str, proven: bool) -> None:
    (proof,) = (p for p in from_json(to_json(proofs(prepare(EXAMPLE).plan.boards[0]))) if p.steps[0]["id"] == STEP)
    row = proof.read({STEP: {"code": 0, "output": output}})
    assert (row.proven, row.bytes_checked) == (proven, 64 if proven else 0)
