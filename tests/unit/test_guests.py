"""One vocabulary of guests: whoever starts one, its images, disks and units are found by the same names."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden.test_golden import CASES
from vtool.base.units import KIB, MIB
from vtool.cli.common import _images_of, prepare
from vtool.model.lookup import Lookup
from vtool.plan.types import FileDisk, GuestKind, WindowKind, file_disks, served_by
from vtool.platform import layouts
from vtool.render import render
from vtool.render.artifacts import Kind


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_of_images_is_what_is_fetched_for_them(case: str) -> None:
    for board in prepare(CASES[case]).plan.boards:
        rendered = {artifact.content for artifact in render(board).artifacts if artifact.kind is Kind.IMAGE}
        assert rendered == set(_images_of(board)) - {""}


@pytest.mark.parametrize("case", CASES)
def test_a_guest_has_what_its_hypervisor_knows_of_it(case: str) -> None:
    for board in prepare(CASES[case]).plan.boards:
        of_kvm = {GuestKind.KVM}
        kinds = of_kvm if board.hypervisor == "kvm" else set(GuestKind) - of_kvm
        assert {guest.kind for guest in board.guests} <= kinds
        units = {a.name.removeprefix("units/") for a in render(board).artifacts if a.name.startswith("units/")}
        manifest = json.loads(next(a.content for a in render(board).artifacts if a.name == "manifest.json"))
        for guest in board.guests:
            assert sum(bank.size_bytes for bank in guest.banks) <= guest.memory_bytes
            assert all(isinstance(disk, FileDisk) for disk in file_disks(guest))
            served = served_by(guest)
            assert set(served.values()) <= units
            assert {name: manifest["backends"][name] for name in served} == served


@pytest.mark.parametrize("case", CASES)
def test_a_guests_windows_are_its_memory_its_regions_and_its_devices_each_apart(case: str) -> None:
    own = (WindowKind.DOMAIN_MEMORY, WindowKind.REGION, WindowKind.DEVICE)
    for board in prepare(CASES[case]).plan.boards:
        for guest in board.guests:
            windows = guest.windows.windows
            placed = {window.range for window in windows if window.kind in own}
            assert {*guest.banks, *(view.inside for view in guest.views)} <= placed
            assert not any(a.overlaps(b) for a, b in itertools.combinations(placed, 2))
            rooms = [window.range for window in windows if window.kind in (WindowKind.RAM, WindowKind.MACHINE)]
            assert all(any(room.contains(where) for room in rooms) for where in placed) or not rooms
            assert all(window.origin is not None for window in windows)


@pytest.mark.parametrize("case", CASES)
def test_the_rule_counts_the_boot_modules_that_are_planned(case: str) -> None:
    prepared = prepare(CASES[case])
    lookup = Lookup(prepared.topology)
    for board in prepared.plan.boards:
        for guest in board.xen_boot.guests:
            keys = [key for key in ("kernel", "ramdisk", "device_tree") if getattr(guest, key) is not None]
            assert tuple(keys) == lookup.boot_modules_of(guest.name)


@settings(max_examples=60, deadline=None)
@given(
    memory=st.integers(1, 4096).map(lambda count: count * MIB),
    pools=st.lists(
        st.tuples(st.integers(1, 64).map(lambda n: n * 64 * KIB), st.integers(12, 30).map(lambda n: 1 << n)), max_size=4
    ),
)
def test_the_least_memory_for_pools_is_the_least(memory: int, pools: list[tuple[int, int]]) -> None:
    def fits(ram: int) -> bool:
        places = layouts.qemu_pools(ram, (size for size, _ in pools))
        return all(where.base % unit == 0 for where, (_, unit) in zip(places, pools, strict=True))

    found = layouts.qemu_memory_for_pools(memory, pools)
    tried = range(memory, memory + (1 << 30) + MIB, MIB)
    assert found == next((ram for ram in tried if fits(ram)), None)
