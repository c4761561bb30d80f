"""The sector that says what boots: read back as it was written, and not at all where somebody wrote over it."""

from __future__ import annotations

import pytest

from vtool.deploy.on_board.u_boot import KEYS, SECTOR_BYTES, format_state, parse

STATE = {**dict.fromkeys(KEYS, ""), "good": "0123456789abcdef", "good_set": "f" * 16, "count": "a"}


def test_a_state_is_read_back_as_it_was_written() -> None:
    sector = format_state(STATE)
    assert (len(sector), parse(sector)) == (SECTOR_BYTES, STATE)


@pytest.mark.parametrize(
    ("at", "content"),
    [(0, b"\0"), (0, b"\xff\x00\x55"), (0, b"vtool_state=2\n"), (27, b"\xff\xfe"), (27, b"../../etc")],
)
def test_what_somebody_wrote_over_is_no_state(at: int, content: bytes) -> None:
    sector = format_state(STATE)
    assert parse(sector[:at] + content + sector[at + len(content) :]) is None
