"""Guests that xl starts. Enter at ``xl_guests``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vtool.deploy.proof.driver_domain import driver_domain
from vtool.deploy.proof.outside import of_any_guest, traffic
from vtool.deploy.proof.paths import every_proof
from vtool.deploy.proof.steps import Proof, domain_answers
from vtool.deploy.proof.xen_guests import affinity, told_to_xl
from vtool.deploy.proof.xen_virtio import virtio_guest
from vtool.plan.types import XenGuest


def xl_guests(guests: Sequence[XenGuest], board_cpus: int) -> Iterator[Proof]:
    """Return what has to be shown of the guests of a board, then of those that serve others."""
    for guest in guests:
        yield from domain_answers(guest)
        yield from affinity(guest, board_cpus)
        yield from told_to_xl(guest)
        yield from of_any_guest(guest)
        for path in every_proof():
            yield from path.xl_guest(guest)
        yield from virtio_guest(guest)
    for guest in guests:
        yield from traffic(guest)
    by_name = {guest.name: guest for guest in guests}
    for guest in guests:
        if guest.driver_domain:
            yield from driver_domain(guest, [by_name[name] for name in guest.driver_domain.frontends])
