"""Host memory: what is free, what floats in it, and where something may go so that what floats finds a place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtool.base.units import GIB, MIB, AddressRange
from vtool.model.board_facts import FIRMWARE_BYTES, BoardFacts, Source
from vtool.model.validate import load_facts
from vtool.platform.host_memory import Floating, HostMemory, Taken

RAM = AddressRange.of_size(0x8000_0000, 2 * GIB)
CMA = Floating("'linux,cma'", 576 * MIB, 2 * MIB, (AddressRange.of_size(0xC000_0000, 576 * MIB),))


def test_banks_that_touch_are_one() -> None:
    memory = HostMemory((AddressRange(0, GIB), AddressRange(GIB, 2 * GIB)))
    assert memory.has(AddressRange(GIB - MIB, GIB + MIB)) and not memory.has(AddressRange(GIB, 2 * GIB + 1))


def test_a_place_leaves_room_for_what_floats() -> None:
    memory = HostMemory((RAM, AddressRange.of_size(0x8_8000_0000, 2 * GIB)), floating=(CMA,))
    lowest = memory.places(1200 * MIB, 2 * MIB)[0]
    assert lowest.base == 0x8_8000_0000
    assert memory.crowded_out(AddressRange.of_size(0x8000_0000, 1200 * MIB)) == [CMA]
    assert memory.settled(lowest) == ([CMA.within[0]], [])


def test_below_and_above_what_floats_in_one_gap() -> None:
    anywhere = Floating("'pool'", GIB, 512 * MIB)
    memory = HostMemory((RAM,), floating=(anywhere,))
    places = memory.places(512 * MIB, 2 * MIB)
    assert [where.base for where in places] == [0x8000_0000, 0xA000_0000, 0xE000_0000]
    assert memory.places(1025 * MIB, 2 * MIB) == []


@pytest.mark.parametrize(
    ("floating", "met"),
    [
        (Floating("a", 256 * MIB, 2 * MIB, (AddressRange(0x9000_0000, 0xA000_0000),)), True),
        (Floating("a", 256 * MIB, 2 * MIB, (AddressRange(0x9000_0000, 0x9FFF_F000),)), False),
        (Floating("a", 64 * MIB, 128 * MIB, (AddressRange(0x8400_0000, 0x8800_0000),)), False),
        (Floating("a", 64 * MIB, 128 * MIB, (AddressRange(0, GIB), AddressRange(0x8800_0000, 0x9000_0000))), True),
        (Floating("a", 3 * GIB), False),
    ],
)
def test_what_linux_can_place(floating: Floating, met: bool) -> None:
    assert (HostMemory((RAM,), floating=(floating,)).settled()[1] == []) is met


def test_what_never_found_a_place_is_nobodys_fault() -> None:
    memory = HostMemory((RAM,), floating=(Floating("a", 3 * GIB),))
    assert memory.crowded_out(RAM) == [] and memory.places(MIB, MIB)[0].base == RAM.base


RANGES = st.builds(
    lambda base, size: AddressRange.of_size(base * MIB, size * MIB), st.integers(2048, 4090), st.integers(1, 600)
)


@given(
    taken=st.lists(RANGES, max_size=4),
    floats=st.lists(st.tuples(st.integers(1, 900), st.sampled_from([1, 2, 16, 128]), st.none() | RANGES), max_size=3),
    size=st.integers(1, 700),
    step=st.sampled_from([1, 2, 64]),
)
def test_every_place_is_free_aligned_and_costs_nobody_a_place(
    taken: list[AddressRange], floats: list[tuple[int, int, AddressRange | None]], size: int, step: int
) -> None:
    floating = tuple(
        Floating(str(n), mib * MIB, by * MIB, (within,) if within else ()) for n, (mib, by, within) in enumerate(floats)
    )
    memory = HostMemory((RAM,), tuple(Taken("t", where) for where in taken), floating)
    placed, unmet = memory.settled()
    assert len(placed) + len(unmet) == len(floating)
    for where in memory.places(size * MIB, step * MIB):
        assert memory.has(where) and not memory.met(where) and where.base % (step * MIB) == 0
        assert where.size_bytes == size * MIB
        # With less room the greedy placement can find a place for one that it found none for before.
        assert all(asked in unmet for asked in memory.settled(where)[1])


def of_source(source: Source | None) -> BoardFacts:
    return load_facts("imx8mm-evk").facts.model_copy(update={"source": source})


def test_ends_of_ram_are_left_alone_where_firmware_is_not_known() -> None:
    assert of_source(Source(tree="Linux", file="a.dtb")).ends_of_ram == (
        AddressRange.of_size(0x4000_0000, FIRMWARE_BYTES), AddressRange(0xC000_0000 - FIRMWARE_BYTES, 0xC000_0000),
    )  # fmt: skip
    for source in (None, Source(tree="b", file="a.dtb", booted=True), Source(tree="b", file="/sys/firmware/fdt")):
        assert of_source(source).ends_of_ram == ()
