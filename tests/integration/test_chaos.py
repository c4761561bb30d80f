"""A short run of ``make chaos``: every kind of fault that an sshd can have, once."""

from __future__ import annotations

import pytest

from tests.chaos import sshd

from .machine import why_not


def test_an_sshd_comes_through_every_kind_of_fault() -> None:
    if reason := why_not():
        pytest.skip(reason)
    outcomes = list(sshd.run(1, range(1, len(sshd.FAULTS) + 1)))
    assert {outcome.fault for outcome in outcomes} == {fault.name for fault in sshd.FAULTS}
    assert [outcome for outcome in outcomes if outcome.broken] == []
