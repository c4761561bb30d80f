"""Two of the faults of ``make chaos``: a power cut, and a guest that never comes up."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import run

from .conftest import Bench

pytestmark = pytest.mark.board
SEED, NUMBERS = 1, (3, 4)


def test_a_board_comes_through_faults(bench: Bench) -> None:
    bench.fresh()
    outcomes = list(run(bench, SEED, NUMBERS))
    assert [outcome.fault for outcome in outcomes] == ["power cut", "guest never comes up"]
    assert {outcome.number: outcome.broken for outcome in outcomes if outcome.broken} == {}
