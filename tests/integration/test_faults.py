"""A few of the faults of ``make chaos``, on the board that the tests before left."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import run

from .conftest import Bench

pytestmark = pytest.mark.board
SEED, FAULTS = 1, 4


def test_a_board_comes_through_faults(bench: Bench) -> None:
    outcomes = list(run(bench, SEED, range(1, FAULTS + 1)))
    assert len(outcomes) == FAULTS
    assert {outcome.number: outcome.broken for outcome in outcomes if outcome.broken} == {}
