"""Rules on CPUs under Xen: pools made at boot, and the CPUs that a guest is kept on."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic
from vtool.model.topology import Xen


def cpupools_are_sound(context: Context) -> Iterator[Diagnostic]:
    """VT378: pools have CPUs that exist and are in no other; domains are in pools that exist."""
    for board, declared in context.topology.boards.items():
        hypervisor = declared.hypervisor
        pools = hypervisor.cpupools if isinstance(hypervisor, Xen) else {}
        loaded = context.facts.get(board)
        owner: dict[int, str] = {}
        for name, pool in pools.items():
            for cpu in pool.cpus:
                path = ("boards", board, "hypervisor", "cpupools", name, "cpus")
                if loaded is not None and cpu >= loaded.facts.cpus:
                    message = f"CPU {cpu} of pool '{name}' does not exist: board '{board}' has {loaded.facts.cpus}"
                    yield context.find("VT378", message, path)
                elif cpu in owner:
                    message = f"CPU {cpu} is in pool '{owner[cpu]}' already"
                    yield context.find("VT378", message, path)
                owner.setdefault(cpu, name)
        for name, domain in context.domains_on(board):
            if domain.cpupool is not None and isinstance(hypervisor, Xen) and domain.cpupool not in pools:
                message = f"CPU pool '{domain.cpupool}' does not exist on board '{board}'"
                hint = f"there are: {', '.join(pools)}" if pools else "declare it under hypervisor.cpupools"
                yield context.find("VT378", message, ("domains", name, "cpupool"), hints=(hint,))


def pins_are_in_the_pool(context: Context) -> Iterator[Diagnostic]:
    """VT347: CPUs that a guest is kept on are of the pool that it runs in."""
    for name, domain in context.topology.domains.items():
        hypervisor = context.hypervisor_of(name)
        if not isinstance(hypervisor, Xen) or not hypervisor.cpupools:
            continue
        others = {cpu for pool in hypervisor.cpupools.values() for cpu in pool.cpus}
        # Xen's Pool-0 is the one of the first CPU (xen/common/sched/boot-cpupool.c).
        first = next((pool for pool, declared in hypervisor.cpupools.items() if 0 in declared.cpus), None)
        pool = domain.cpupool or first
        for cpu in domain.host_cpus if pool is None or pool in hypervisor.cpupools else ():
            inside = cpu not in others if pool is None else cpu in hypervisor.cpupools[pool].cpus
            if not inside:
                where = f"pool '{pool}'" if pool else "the pool of those that no pool names"
                message = f"CPU {cpu} is not in {where}, where '{name}' runs"
                yield context.find("VT347", message, ("domains", name, "host_cpus"))


RULES = (
    cpupools_are_sound,
    pins_are_in_the_pool,
)
