"""What is looked at on a board, and what it must show: steps for vtool-board, rows for people.

Pure: a plan gives steps; steps' results give rows. A row that is not proven says what was expected and
what was seen. I/O steps come in an order: a guest's write before the board reads it back.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof import saved
from vtool.deploy.proof.argo import argo
from vtool.deploy.proof.boot import boot_domain, event_channel, shared_bytes
from vtool.deploy.proof.driver_domain import driver_domain
from vtool.deploy.proof.kvm import kvm_guest
from vtool.deploy.proof.paths import every_proof
from vtool.deploy.proof.reach import kvm_reach
from vtool.deploy.proof.releases import releases
from vtool.deploy.proof.steps import TREE, Proof, Row, domain_answers, on_board, region_reg, steps_of
from vtool.deploy.proof.xen_virtio import virtio_guest
from vtool.plan.types import BoardPlan, HostRegion

__all__ = ["Proof", "Row", "proofs", "saved", "steps_of"]


def proofs(board: BoardPlan) -> list[Proof]:
    """Return everything that has to be shown for a board, in order."""
    found: list[Proof] = [*releases(board)]
    found += argo(board)
    for region in board.host_regions:
        found += _host_region(region)
    for guest in board.kvm_guests:
        found += kvm_guest(guest)
        found += [proof for device in guest.devices if device.virtio for proof in kvm_reach(guest, device)]
    found += [proof for path in every_proof() for proof in path.kvm_guests(board.kvm_guests)]
    pools = {pool.label: pool for pool in board.xen_boot.cpupools}
    for boot_guest in board.xen_boot.guests:
        found += boot_domain(boot_guest, pools.get(boot_guest.cpupool or ""))
        found += [proof for path in every_proof() for proof in path.built_guest(boot_guest)]
    found += shared_bytes(board.xen_boot.guests)
    for view in board.xen_boot.shared:
        command = f"od -An -v -tx1 {TREE}/reserved-memory/xen-shmem@{view.inside.base:x}/reg | tr -d ' \\n'"
        what = f"stands in the tree of '{board.control.name}' where it was planned"
        found.append(region_reg(f"region {view.region}", what, on_board(f"dom0-{view.region}", command), view.inside))
    numbers = {board.control.name: 0, **{guest.name: guest.domain_id for guest in board.xen_boot.guests}}
    found += [event_channel(end, numbers) for end in board.xen_boot.channel_ends]
    for domain in board.xen_guests:
        found += domain_answers(domain)
        found += [proof for path in every_proof() for proof in path.xl_guest(domain)]
        found += virtio_guest(domain)
    by_name = {domain.name: domain for domain in board.xen_guests}
    for domain in board.xen_guests:
        if domain.driver_domain:
            found += driver_domain(domain, [by_name[name] for name in domain.driver_domain.frontends])
    return found


def _host_region(region: HostRegion) -> Iterator[Proof]:
    subject = f"region {region.region}"
    # A region stands where it was planned, by its content and not by its name: any node of that region.
    command = f"od -An -v -tx1 {TREE}/reserved-memory/vtool-{region.region}@*/reg | tr -d ' \\n'"
    yield region_reg(subject, "stands where it was planned", on_board(f"reg-{region.region}", command), region.range)
