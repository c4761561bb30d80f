"""Where QEMU's releases differ: what is written for each, and which machines each has."""

from __future__ import annotations

import pytest

from vtool.platform.qemu_releases import OPTIONS, Machine, Option, Version, machines_of, offers_sizes, was_released


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.written[0])
def test_an_option_changes_with_its_release(option: Option) -> None:
    before = (option.since[0], option.since[1] - 1)
    assert was_released(option.since) and was_released(before)
    assert option.for_release(option.since) == (option.written,)
    assert option.for_release(before) == ((option.before,) if option.before else ())


# hw/arm/virt.c of each release: the oldest machine that it has, and the oldest that it does not call deprecated.
@pytest.mark.parametrize(
    ("qemu", "oldest", "fresh"), [((7, 2), (2, 6), (2, 6)), ((10, 0), (2, 6), (7, 1)), ((10, 1), (4, 2), (7, 2))]
)
def test_machines_come_and_go(qemu: Version, oldest: Version, fresh: Version) -> None:
    has = machines_of(qemu)
    assert (has[0], has[-1]) == (oldest, qemu)
    assert next(version for version in has if qemu < Machine(version).deprecated) == fresh


@pytest.mark.parametrize(
    ("qemu", "mmio", "offers"),
    [
        ((7, 2), True, False),
        ((7, 2), False, True),
        ((10, 0), False, False),
        ((11, 1), False, True),
        ((11, 1), True, True),
    ],
)
def test_sizes_of_queues_take_effect_with_some_releases(qemu: Version, *, mmio: bool, offers: bool) -> None:
    assert offers_sizes(qemu, mmio=mmio) is offers
