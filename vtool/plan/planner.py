"""From a checked topology to a plan. Pure: same topology and facts in, same plan out.

Owns every derived number and name. Assumes ``vtool.check`` found no error: what it forbids is not
handled again here.
"""

from __future__ import annotations

from collections.abc import Mapping

from vtool.model.board_facts import BoardFacts
from vtool.model.topology import Kvm, Topology, Xen
from vtool.plan import kvm, xen
from vtool.plan import types as plan
from vtool.plan.placement import place_host_regions
from vtool.plan.scope import BoardScope, join
from vtool.source import Document


def make_plan(document: Document, topology: Topology, facts: Mapping[str, BoardFacts]) -> plan.Plan:
    """Decide everything; ``facts`` is keyed by board name. Raises VtoolError VT410 when memory runs out."""
    boards = tuple(
        _plan_board(BoardScope(document, topology, name, board, facts[name])) for name, board in topology.boards.items()
    )
    return plan.Plan(topology.name, boards)


def _plan_board(scope: BoardScope) -> plan.BoardPlan:
    hypervisor = scope.board.hypervisor
    facts = scope.facts
    is_xen = isinstance(hypervisor, Xen)
    control = plan.ControlDomain(
        name=scope.control_name,
        cpus=min(scope.control.cpus, facts.cpus) if is_xen else facts.cpus,
        memory_bytes=scope.control.memory if is_xen else None,
        kernel_image=scope.control.kernel,
        bootargs=join(_console(scope.facts, is_xen=is_xen), _root(scope.facts), scope.control.bootargs),
    )
    return plan.BoardPlan(
        name=scope.name,
        facts=facts,
        hypervisor=hypervisor.kind,
        control=control,
        xen_image=hypervisor.image if isinstance(hypervisor, Xen) else None,
        xen_bootargs=xen.hypervisor_bootargs(scope, hypervisor) if isinstance(hypervisor, Xen) else None,
        host_regions=place_host_regions(scope.document, facts, scope.regions_of(scope.control_name)),
        kvm_guests=tuple(kvm.plan_guest(scope, name, domain) for name, domain in scope.guests.items())
        if isinstance(hypervisor, Kvm)
        else (),
        xen_guests=tuple(xen.plan_guest(scope, name, domain) for name, domain in scope.guests.items())
        if is_xen
        else (),
        bridges=xen.plan_bridges(scope),
    )


def _console(facts: BoardFacts, *, is_xen: bool) -> str:
    """Return ``console=``, or nothing where the facts name none: Linux then takes /chosen's stdout-path."""
    stdout = facts.stdout.console if facts.stdout else None
    console = "hvc0" if is_xen else facts.boot.console if facts.boot else stdout
    return f"console={console}" if console else ""


def _root(facts: BoardFacts) -> str:
    boot = facts.boot
    return f"root={boot.root_device} rootfstype={boot.root_filesystem} rw rootwait" if boot else ""
