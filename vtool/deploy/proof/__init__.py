"""What is looked at on a board, and what it must show: steps for vtool-board, rows for people.

Pure: a plan gives steps; steps' results give rows. A row that is not proven says what was expected and
what was seen. I/O steps come in an order: a guest's write before the board reads it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vtool.deploy.proof import saved
from vtool.deploy.proof.argo import argo
from vtool.deploy.proof.boot import built_at_boot
from vtool.deploy.proof.control_domain import control_domain
from vtool.deploy.proof.disks import disks
from vtool.deploy.proof.kvm import kvm_guests
from vtool.deploy.proof.networks import bridges
from vtool.deploy.proof.passthrough import passed_to, pci_of
from vtool.deploy.proof.releases import releases
from vtool.deploy.proof.steps import TREE, Proof, Row, on_board, region_reg, steps_of
from vtool.deploy.proof.xen_guests import flask
from vtool.deploy.proof.xl import xl_guests
from vtool.plan.types import BoardPlan, Guest, HostRegion

__all__ = ["Proof", "Row", "proofs", "saved", "steps_of"]


def proofs(board: BoardPlan) -> list[Proof]:
    """Return everything that has to be shown for a board, in order."""
    found = [
        *releases(board),
        *control_domain(board),
        *flask(board),
        *argo(board),
        *(_host_region(region) for region in board.host_regions),
        *kvm_guests(board.kvm_guests),
        *(row for guest in board.kvm_guests for row in pci_of(guest)),
        *built_at_boot(board),
        *xl_guests(board.xen_guests, board.facts.cpus),
        *(row for guest in board.xen_guests for row in passed_to(guest, board.control.name)),
        *(row for guest in board.xen_boot.guests for row in passed_to(guest, board.control.name)),
        *disks(board),
        *bridges(board),
    ]
    return list(_required(board.guests, found))


def _required(guests: Sequence[Guest], found: Sequence[Proof]) -> Iterator[Proof]:
    """Mark the rows of the kinds that their guests, or a guest that they ask, must show."""
    owners = {subject: guest for guest in guests for subject in _subjects(guest)}
    by_name = {guest.name: guest for guest in guests}
    for proof in found:
        asked = [by_name[step["domain"]] for step in proof.steps if step.get("domain") in by_name]
        concerned = [*([owners[proof.subject]] if proof.subject in owners else ()), *asked]
        yield replace(proof, required=any(proof.kind in guest.require for guest in concerned))


def _subjects(guest: Guest) -> Iterator[str]:
    yield from (f"domain {guest.name}", f"backend of {guest.name}")
    for device in guest.devices:
        yield from (f"device {device.name}", f"backend of {device.name}")


def _host_region(region: HostRegion) -> Proof:
    subject = f"region {region.region}"
    # A region stands where it was planned, by its content and not by its name: any node of that region.
    command = f"od -An -v -tx1 {TREE}/reserved-memory/vtool-{region.region}@*/reg | tr -d ' \\n'"
    return region_reg(subject, "stands where it was planned", on_board(f"reg-{region.region}", command), region.range)
