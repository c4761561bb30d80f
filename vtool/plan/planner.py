"""From a checked topology to a plan. Pure: same topology and facts in, same plan out.

Owns every derived number and name. Assumes ``vtool.check`` found no error: what it forbids is not
handled again here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vtool.check import XenBuild
from vtool.diagnostics import VtoolError
from vtool.model import command_lines
from vtool.model.board_facts import BoardFacts
from vtool.model.lookup import Lookup
from vtool.model.topology import Kvm, Start, Topology, Xen
from vtool.plan import kvm, xen, xen_boot
from vtool.plan import types as plan
from vtool.plan.cells import too_few_cells
from vtool.plan.extra import unit_extras
from vtool.plan.placement import host_region, place
from vtool.plan.scope import BoardScope, join
from vtool.reading.source import Document


def make_plan(
    document: Document,
    topology: Topology,
    facts: Mapping[str, BoardFacts],
    lock: Mapping[str, int] | None = None,
    xens: Mapping[str, XenBuild] | None = None,
    image_bytes: Mapping[str, int] | None = None,
) -> plan.Plan:
    """Decide everything; ``facts`` and ``xens`` are keyed by board name, ``lock`` holds numbers to keep.

    ``image_bytes`` is how large a guest sees the disk images that the topology names, by their references.

    Raises VtoolError VT410 when memory runs out, VT411 when a number cannot be kept, VT821 when one cannot be written.
    """
    lookup = Lookup(topology)
    boards = tuple(
        replace(
            _plan_board(BoardScope(document, lookup, name, board, facts[name], lock or {}, image_bytes or {})),
            xen_release=xens[name].version if xens and name in xens else None,
        )
        for name, board in topology.boards.items()
    )
    if too_few := [
        replace(finding, span=document.span(("boards", board.name, "facts")))
        for board in boards
        for finding in too_few_cells(board)
    ]:
        raise VtoolError(too_few)
    return plan.Plan(topology.name, boards)


def _plan_board(scope: BoardScope) -> plan.BoardPlan:
    hypervisor = scope.board.hypervisor
    facts = scope.facts
    is_xen = isinstance(hypervisor, Xen)
    watchdog = facts.watchdog if scope.board.watchdog else None
    own = {n: r for n, r in scope.regions_of(scope.control_name).items() if not scope.is_static_shared(r)}
    requests = scope.host_requests()
    kept = {request.key: number for request in requests if (number := scope.kept(request.key)) is not None}
    placed = place(scope.document, facts, requests, kept)
    control = plan.ControlDomain(
        name=scope.control_name,
        cpus=command_lines.dom0_vcpus(scope.control, facts) if is_xen else facts.cpus,
        memory_bytes=scope.control.memory if is_xen else None,
        kernel_image=scope.control.kernel,
        ramdisk_image=scope.control.ramdisk_named,
        ramdisk_window=scope.ramdisk_window(),
        ramdisk_required=scope.control.ramdisk is not None,
        bootargs=join(*command_lines.of_control_domain(facts, watchdog, is_xen=is_xen), scope.control.bootargs),
    )
    made = plan.BoardPlan(
        name=scope.name,
        facts=facts,
        hypervisor=hypervisor.kind,
        control=control,
        xen_image=hypervisor.image if isinstance(hypervisor, Xen) else None,
        xen_bootargs=xen.hypervisor_bootargs(scope, hypervisor) if isinstance(hypervisor, Xen) else None,
        host_regions=tuple(host_region(name, region, placed[f"region {name}"]) for name, region in own.items()),
        kvm_guests=tuple(kvm.plan_guest(scope, name, domain) for name, domain in scope.guests.items())
        if isinstance(hypervisor, Kvm)
        else (),
        xen_guests=tuple(
            xen.plan_guest(scope, name, domain) for name, domain in scope.guests.items() if domain.start is Start.XL
        )
        if is_xen
        else (),
        bridges=xen.plan_bridges(scope),
        xen_boot=xen_boot.plan_boot(scope, hypervisor, placed) if isinstance(hypervisor, Xen) else plan.XenBoot(),
        watchdog=watchdog,
        xen_arguments=xen.added_arguments(scope, hypervisor) if isinstance(hypervisor, Xen) else (),
        suite=hypervisor.suite if isinstance(hypervisor, Kvm) else None,
        qemu=hypervisor.qemu,
        xsm_policy=hypervisor.xsm_policy if isinstance(hypervisor, Xen) else None,
        xen_not_checked=hypervisor.extra if isinstance(hypervisor, Xen) else "",
    )
    return replace(made, units_not_checked=unit_extras(scope, made.guests))
