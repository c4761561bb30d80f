"""Sizes and ranges: what is read, what is refused, what stands at the edges."""

from __future__ import annotations

import re

import pytest

from vtool.base.units import (
    GIB,
    KIB,
    MIB,
    AddressRange,
    align_up,
    exact_division,
    format_cpu_list,
    format_size,
    free_ranges,
    parse_cpu_list,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("16MiB", 16 * MIB),
        ("4 KiB", 4 * KIB),
        ("0x1000", 4096),
        ("4096", 4096),
        (4096, 4096),
        ("1_024B", 1024),
        (" 2GiB ", 2 * GIB),
        ("0", 0),
    ],
)
def test_sizes_that_are_read(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "16MB",
        "16M",
        "16 mib",
        "1.5GiB",
        "010",
        "-1",
        "",
        "MiB",
        "1  KiB",
        "0x",
        "1e3",
        "٤KiB",
        "1KiB\n2",
        "0x1000B",
        "0x_",
        "9" * 5000,
    ],
)
def test_texts_that_are_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("value", [True, None, 1.5, [1], -1])
def test_values_that_are_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="a size"):
        parse_size(value)  # type: ignore[arg-type]


def test_sizes_are_written_with_the_largest_unit_that_fits_exactly() -> None:
    sizes = [0, 1, 1023, 1024, 1536, MIB, MIB + KIB, 3 * GIB, 1 << 40]
    written = [format_size(size) for size in sizes]
    assert written == ["0B", "1B", "1023B", "1KiB", "1536B", "1MiB", "1025KiB", "3GiB", "1TiB"]


def test_coarser_units_are_exact_or_refused() -> None:
    assert exact_division(3 * MIB, MIB, "memory") == 3
    with pytest.raises(ValueError, match="memory: 1025 is not a multiple of 1024"):
        exact_division(1025, 1024, "memory")


def test_align_up_leaves_multiples_alone() -> None:
    assert [align_up(value, 4) for value in (0, 1, 4, 5)] == [0, 4, 4, 8]


@pytest.mark.parametrize(("base", "end"), [(0, 0), (2, 1), (-1, 1)])
def test_ranges_are_never_empty_or_negative(base: int, end: int) -> None:
    with pytest.raises(ValueError, match="not a range"):
        AddressRange(base, end)


def test_ranges_are_half_open() -> None:
    low, high = AddressRange(0x1000, 0x2000), AddressRange.of_size(0x2000, 0x1000)
    assert not low.overlaps(high) and not high.overlaps(low)
    assert low.contains(AddressRange(0x1000, 0x2000)) and not low.contains(AddressRange(0x1FFF, 0x2001))
    assert (low.size_bytes, str(low)) == (0x1000, "[0x1000, 0x2000)")


def test_free_ranges_around_holes_that_overlap_and_stick_out() -> None:
    banks = [AddressRange(100, 200), AddressRange(0, 50)]
    holes = [AddressRange(190, 300), AddressRange(110, 130), AddressRange(120, 140), AddressRange(40, 60)]
    assert [str(gap) for gap in free_ranges(banks, holes)] == ["[0x0, 0x28)", "[0x64, 0x6e)", "[0x8c, 0xbe)"]
    assert free_ranges(banks, [AddressRange(0, 200)]) == []
    assert free_ranges([], holes) == []


@pytest.mark.parametrize(
    ("value", "cpus"),
    [
        ("0-3,5", (0, 1, 2, 3, 5)),
        ("2", (2,)),
        (2, (2,)),
        ("4, 0-1", (0, 1, 4)),
        ("7-7", (7,)),
        ([4, 0, 1], (0, 1, 4)),
        ("4095", (4095,)),
    ],
)
def test_cpu_lists(value: object, cpus: tuple[int, ...]) -> None:
    assert parse_cpu_list(value) == cpus
    assert parse_cpu_list(format_cpu_list(cpus)) == cpus


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "nothing is not a list of CPUs; write 0-3,5 or [0, 1, 4]"),
        ("1,", "nothing is not a list of CPUs"),
        ([], "at least one CPU is needed here"),
        ("3-1", "the range 3-1 runs backwards; write 1-3"),
        ("0-3,2", "CPU 2 is named twice"),
        ([1, 1], "CPU 1 is named twice"),
        ("4096", "CPU 4096 is not between 0 and 4095"),
        ("0-999999999", "CPU 999999999 is not between 0 and 4095"),
        (-1, "CPU -1 is not between 0 and 4095"),
        ("0-", "'0-' is not a list of CPUs"),
        ("a", "'a' is not a list of CPUs"),
        (["0-3"], "'0-3' is not a list of CPUs"),
        (True, "True is not a list of CPUs"),
        ({"a": 1}, "{'a': 1} is not a list of CPUs"),
        (None, "nothing is not a list of CPUs"),
    ],
)
def test_what_is_no_cpu_list(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_cpu_list(value)


def test_a_list_of_something_else_is_said_to_be_one() -> None:
    with pytest.raises(ValueError, match="colour 1 is named twice"):
        parse_cpu_list([1, 1], "colour")


@pytest.mark.parametrize(("cpus", "text"), [((5, 0, 1, 2), "0-2,5"), ((0, 1), "0-1"), ((3,), "3"), ((), "")])
def test_cpu_lists_are_written_one_way(cpus: tuple[int, ...], text: str) -> None:
    assert format_cpu_list(cpus) == text
