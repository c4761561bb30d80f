"""Sizes read back as written; free ranges are disjoint, free, and all there is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vtool.base.units import AddressRange, align_up, format_size, free_ranges, parse_size

quickly = settings(max_examples=200, deadline=None, derandomize=True, database=None)
ranges = st.builds(AddressRange.of_size, st.integers(0, 200), st.integers(1, 40))
UNITS = ("", "B", "KiB", "MiB", "GiB", "TiB")


@quickly
@given(st.integers(0, 1 << 62))
def test_a_size_reads_back_as_written(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@quickly
@given(st.integers(0, 1 << 20), st.sampled_from(UNITS), st.booleans(), st.booleans())
def test_notations_of_one_size_agree(number: int, unit: str, hexadecimal: bool, spaced: bool) -> None:
    text = f"{number:#x}" if hexadecimal else f"{number:_}"
    spaced |= hexadecimal and unit == "B"  # B is a hexadecimal digit: 0x10B is 267
    size_bytes = parse_size(text + (" " if spaced and unit else "") + unit)
    assert size_bytes == number * 1024 ** max(0, UNITS.index(unit) - 1)
    assert parse_size(format_size(size_bytes)) == size_bytes


@quickly
@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert str(error)


@quickly
@given(st.integers(0, 1 << 48), st.integers(0, 30))
def test_align_up_is_the_nearest_multiple_at_or_above(value: int, power: int) -> None:
    alignment = 1 << power
    aligned = align_up(value, alignment)
    assert aligned % alignment == 0 and value <= aligned < value + alignment


@quickly
@given(ranges, ranges)
def test_overlap_and_containment_agree_with_sets_of_bytes(one: AddressRange, other: AddressRange) -> None:
    first, second = set(range(one.base, one.end)), set(range(other.base, other.end))
    assert one.overlaps(other) == other.overlaps(one) == bool(first & second)
    assert one.contains(other) == (second <= first)


@quickly
@given(st.lists(ranges, max_size=4), st.lists(ranges, max_size=8))
def test_free_ranges_are_exactly_what_is_not_taken(banks: list[AddressRange], taken: list[AddressRange]) -> None:
    apart: list[AddressRange] = []
    for bank in banks:
        if not any(bank.overlaps(other) for other in apart):
            apart.append(bank)
    free = free_ranges(apart, taken)
    wanted = {byte for bank in apart for byte in range(bank.base, bank.end)}
    wanted -= {byte for hole in taken for byte in range(hole.base, hole.end)}
    assert [byte for gap in free for byte in range(gap.base, gap.end)] == sorted(wanted)
