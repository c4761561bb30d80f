"""A short run of ``make chaos``: every kind of fault on an sshd, twice, and a power cut on the emulated board."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import __main__ as on_board
from tests.chaos import sshd

from .conftest import Bench
from .machine import why_not


def test_an_sshd_comes_through_every_kind_of_fault() -> None:
    if reason := why_not():
        pytest.skip(reason)
    outcomes = list(sshd.run(1, range(1, 2 * len(sshd.FAULTS) + 1)))
    assert {outcome.fault for outcome in outcomes} == {fault.name for fault in sshd.FAULTS}
    assert [outcome for outcome in outcomes if outcome.broken] == []


@pytest.fixture
def new_bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="vt-"))
    bench = Bench(folder)
    yield bench
    bench.vtool("board", "power", "off")
    shutil.rmtree(folder)


@pytest.mark.board
def test_the_emulated_board_comes_through_a_power_cut(new_bench: Bench) -> None:
    outcomes = list(on_board.run(new_bench, 1, (3,)))
    assert len(outcomes) == 1 and [outcome for outcome in outcomes if outcome.broken] == []
