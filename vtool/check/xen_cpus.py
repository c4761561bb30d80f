"""Rules on CPUs under Xen: pools made at boot, schedulers, kinds of cores, and what a guest's vCPUs can be."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.records import record
from vtool.base.units import format_cpu_list
from vtool.check.command_lines import at_word
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.board_facts import BoardFacts
from vtool.model.command_lines import dom0_vcpus
from vtool.model.cores import kinds, vector_bits
from vtool.model.topology import Domain, Role, Scheduler, Start, Xen
from vtool.model.types import LONGEST_VECTOR
from vtool.platform import layouts
from vtool.platform.command_lines import Word, last, starts_every_kind, xen_words
from vtool.reading.source import KeyPath

POOL_0 = "Pool-0"
"""Xen's name of the pool of the CPU that it boots on, the first, where dom0 runs (xen/common/sched/boot-cpupool.c)."""


@record
class Pool:
    """A pool as Xen makes it: declared, or of the CPUs that no pool names; its CPUs are None where facts are missing.

    ``scheduler_path`` is where its scheduler is written, on Xen's command line with the ``word``; None where it is
    Xen's default.
    """

    name: str
    cpus: tuple[int, ...] | None
    scheduler: str
    scheduler_path: KeyPath | None
    domains: dict[str, Domain]
    declared: bool
    word: Word | None = None

    @property
    def shown(self) -> str:
        """Return how messages name it."""
        return f"pool '{self.name}'" if self.declared else f"{POOL_0}, of the CPUs that no pool names,"

    def find(
        self, context: Context, code: str, message: str, *labels: Label, hints: tuple[str, ...] = ()
    ) -> Diagnostic:
        """Make a finding where its scheduler is written."""
        assert self.scheduler_path is not None
        if self.word is not None:
            return at_word(context, code, message, self.scheduler_path, self.word, labels=labels, hints=hints)
        return context.find(code, message, self.scheduler_path, labels=labels, hints=hints)


def pools_of(context: Context, board: str) -> Iterator[Pool]:
    """Yield the pools of a board's Xen, dom0's last; a domain in a pool that does not exist is in none (VT378)."""
    hypervisor, loaded = context.topology.boards[board].hypervisor, context.facts.get(board)
    assert isinstance(hypervisor, Xen)
    at: KeyPath = ("boards", board, "hypervisor")
    words = xen_words(hypervisor.bootargs)
    word = last(words, "sched")
    domains = dict(context.domains_on(board))
    first = next((name for name, pool in hypervisor.cpupools.items() if 0 in pool.cpus), None)

    def inside(pool: str | None) -> dict[str, Domain]:
        return {
            name: domain
            for name, domain in domains.items()
            if (first if domain.role is Role.CONTROL else domain.cpupool or first) == pool
        }

    for name in sorted(hypervisor.cpupools, key=lambda name: name == first):
        pool = hypervisor.cpupools[name]
        if pool.scheduler is not None:
            path: KeyPath = (*at, "cpupools", name, "scheduler")
            yield Pool(name, pool.cpus, pool.scheduler.value, path, inside(name), declared=True)
        else:
            yield _by_default(name, pool.cpus, word, (*at, "bootargs"), inside(name), declared=True)
    if first is None:
        taken = {cpu for pool in hypervisor.cpupools.values() for cpu in pool.cpus}
        rest = tuple(cpu for cpu in _started(loaded.facts, words) if cpu not in taken) if loaded else None
        yield _by_default(POOL_0, rest, word, (*at, "bootargs"), inside(None), declared=False)


def _by_default(
    name: str,
    cpus: tuple[int, ...] | None,
    word: Word | None,
    path: KeyPath,
    domains: dict[str, Domain],
    *,
    declared: bool,
) -> Pool:
    """Make a pool with the scheduler of Xen's command line, or Xen's own default."""
    scheduler = word.value if word is not None else "credit2"
    return Pool(name, cpus, scheduler, path if word is not None else None, domains, declared, word)


def _started(facts: BoardFacts, words: tuple[Word, ...]) -> tuple[int, ...]:
    """Return the CPUs that Xen starts."""
    kind_of = kinds(facts)
    every = not kind_of or starts_every_kind(words) is not None
    return tuple(cpu for cpu in range(facts.cpus) if every or kind_of[cpu] == kind_of[0])


@rule(
    "VT378",
    what="a CPU pool is not possible",
    why="Xen stops when a CPU of a pool does not exist, and a CPU belongs to one pool.",
    example="cpus: [7] on a board with 2",
    fix="Use CPUs of the board, each once.",
)
def cpupools_are_sound(context: Context) -> Iterator[Diagnostic]:
    """Pools have CPUs that exist and are in no other; domains are in pools that exist."""
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


@rule(
    "VT353",
    what="dom0 runs in the pool of CPU 0",
    why="Xen calls the pool of the CPU that it boots on Pool-0, and dom0 is in it, whatever the topology calls it.",
    example="cpupools: {rt: {cpus: [0]}} with a guest in rt",
    fix="Leave CPU 0 to dom0, and give the guest's pool others.",
)
def dom0_has_its_pool(context: Context) -> Iterator[Diagnostic]:
    """The pool of CPU 0 is dom0's, whatever it is called, and dom0 runs in no other."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        for name, pool in declared.hypervisor.cpupools.items():
            guests = [n for n, d in context.domains_on(board) if d.role is Role.GUEST and d.cpupool == name]
            if 0 in pool.cpus and guests:
                message = f"pool '{name}' has CPU 0, so Xen runs dom0 in it, too: it is not set apart for '{guests[0]}'"
                path: KeyPath = ("boards", board, "hypervisor", "cpupools", name, "cpus")
                labels = tuple(Label(context.span("domains", n, "cpupool"), f"'{n}' is in it") for n in guests)
                hint = "leave CPU 0 to dom0; a guest without `cpupool` runs where dom0 does"
                yield context.find("VT353", message, path, labels=labels, hints=(hint,))
        for name, domain in context.domains_on(board):
            asked = declared.hypervisor.cpupools.get(domain.cpupool or "")
            if domain.role is Role.CONTROL and asked is not None and 0 not in asked.cpus:
                message = f"'{name}' runs in the pool that has CPU 0, which '{domain.cpupool}' does not have"
                yield context.find("VT353", message, ("domains", name, "cpupool"))


@rule(
    "VT371",
    what="the board's Xen is built without an option that is needed",
    why=(
        "Debian's Xen has no STATIC_MEMORY, STATIC_SHM and BOOT_TIME_CPUPOOLS; it stops without a word on the "
        "console, or boots without the region."
    ),
    example="a region shared between dom0less guests, with vtool:xen-debian",
    fix="Write image: vtool:xen at the hypervisor, or name a Xen of your own that has the option.",
)
def schedulers_are_built(context: Context) -> Iterator[Diagnostic]:
    """The board's Xen has the scheduler; at a pool without it stops, of its command line's it takes another."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        for pool in pools_of(context, board):
            if pool.scheduler_path is not None and _is_not_built(context, board, pool.scheduler):
                message = f"scheduler '{pool.scheduler}' needs a Xen built with CONFIG_{_option(pool.scheduler)}"
                label = Label(context.span("boards", board, "hypervisor"), f"this Xen: {context.xens[board].source}")
                yield pool.find(context, "VT371", message, label)


def _option(scheduler: str) -> str:
    return f"SCHED_{scheduler.upper()}"


def _is_not_built(context: Context, board: str, scheduler: str) -> bool:
    xen = context.xens.get(board)
    if xen is None or xen.options is None or "SCHED_DEFAULT" not in xen.options:
        return False  # not all of a configuration
    return scheduler in (one.value for one in Scheduler) and xen.options.get(_option(scheduler)) != "y"


@rule("VT354")
def null_pools_have_the_cpus(context: Context) -> Iterator[Diagnostic]:
    """The null scheduler gives a CPU to one vCPU for good; one that gets none never runs."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        loaded = context.facts.get(board)
        for pool in pools_of(context, board):
            guests = [d for d in pool.domains.values() if d.role is Role.GUEST and d.cpupool is not None]
            shared = pool.cpus is not None and 0 in pool.cpus and guests  # VT353
            if pool.scheduler != Scheduler.NULL.value or pool.cpus is None or pool.scheduler_path is None or shared:
                continue
            asked = {
                name: _planned_cpus(domain, loaded.facts if loaded else None) for name, domain in pool.domains.items()
            }
            # Of a scheduler on its command line that it has not, Xen takes its default.
            falls_back = pool.word is not None and _is_not_built(context, board, pool.scheduler)
            if sum(asked.values()) > len(pool.cpus) and not falls_back:
                whose = ", ".join(f"'{name}' {count}" for name, count in asked.items())
                message = (
                    f"{pool.shown} has {len(pool.cpus)} CPU{'s' * (len(pool.cpus) != 1)} for {sum(asked.values())} "
                    f"vCPUs ({whose}): the null scheduler never runs the rest"
                )
                labels = (Label(context.span("domains", n, key=True), f"'{n}' has {c}") for n, c in asked.items())
                hint = f"give the pool {sum(asked.values())} CPUs, or use another scheduler"
                yield pool.find(context, "VT354", message, *labels, hints=(hint,))


def _planned_cpus(domain: Domain, facts: BoardFacts | None) -> int:
    return dom0_vcpus(domain, facts) if domain.role is Role.CONTROL and facts is not None else domain.cpus


@rule("VT357")
def cores_are_of_one_kind(context: Context) -> Iterator[Diagnostic]:
    """A pool, and the CPUs that a guest is kept on, are of one kind of core, and of one that Xen starts."""
    for board, declared in context.topology.boards.items():
        loaded = context.facts.get(board)
        if not isinstance(declared.hypervisor, Xen) or loaded is None or len(set(kinds(loaded.facts))) < 2:
            continue
        kind_of = kinds(loaded.facts)
        every_kind = starts_every_kind(xen_words(declared.hypervisor.bootargs)) is not None
        at: KeyPath = ("boards", board, "hypervisor", "cpupools")
        requests = [(f"pool '{n}'", p.cpus, (*at, n, "cpus")) for n, p in declared.hypervisor.cpupools.items()]
        requests += [
            (f"`{key[-1] if key[-1] == 'host_cpus' else key[1]}` of '{name}'", cpus, ("domains", name, *key))
            for name, domain in context.domains_on(board)
            if domain.role is Role.GUEST
            for key, cpus in domain.pins.items()
        ]
        for what, cpus, path in requests:
            by_kind: dict[str, list[int]] = {}
            for cpu in cpus:
                if cpu < len(kind_of):
                    by_kind.setdefault(kind_of[cpu], []).append(cpu)
            mixed = ", ".join(f"{format_cpu_list(numbers)} {kind}" for kind, numbers in by_kind.items())
            why = _why_not(by_kind, kind_of[0], every_kind=every_kind)
            if why is not None:
                label = Label(loaded.document.span(("cpu_nodes",), key=True), "the board's cores are here")
                first = format_cpu_list(number for number, kind in enumerate(kind_of) if kind == kind_of[0])
                hint = f"of one kind with CPU 0 are {first}"
                if not every_kind:
                    hint += "; `hmp-unsafe=1` in the hypervisor's `bootargs` starts all"
                yield context.find("VT357", f"{what} has CPUs {mixed}: {why}", path, labels=(label,), hints=(hint,))


def _why_not(by_kind: dict[str, list[int]], first: str, *, every_kind: bool) -> str | None:
    """Return what is wrong with CPUs of these kinds, None when nothing is (Xen docs/misc/arm/big.LITTLE.txt)."""
    if every_kind:
        return "a vCPU that moves from one kind to another can corrupt its data" if len(by_kind) > 1 else None
    if len(by_kind) > 1:
        return "without hmp-unsafe Xen starts those of the kind that it boots on only"
    if by_kind and first not in by_kind:
        return f"without hmp-unsafe Xen starts those of the kind that it boots on only, and CPU 0 is a {first}"
    return None


@rule("VT347")
def pins_are_in_the_pool(context: Context) -> Iterator[Diagnostic]:
    """CPUs that a guest is kept on are of the pool that it runs in."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen) or not declared.hypervisor.cpupools:
            continue
        for pool in pools_of(context, board):
            others = {c for p in declared.hypervisor.cpupools.values() for c in p.cpus}
            for name, domain in pool.domains.items():
                for key, cpu in ((key, cpu) for key, cpus in domain.pins.items() for cpu in cpus):
                    if cpu not in (pool.cpus or ()) if pool.declared else cpu in others:
                        message = f"CPU {cpu} is not in {pool.shown}, where '{name}' runs"
                        yield context.find("VT347", message, ("domains", name, *key))


@rule("VT347")
def vcpus_have_their_cpus(context: Context) -> Iterator[Diagnostic]:
    """Of a guest either all vCPUs are kept on the same CPUs, or each on its own."""
    for name, domain in context.topology.domains.items():
        affinity = domain.under_xen.vcpu_affinity
        if not affinity:
            continue
        path = ("domains", name, "xen", "vcpu_affinity")
        if domain.host_cpus:
            label = Label(context.span("domains", name, "host_cpus"), "for all of them here")
            message = f"`vcpu_affinity` of '{name}' says it of each vCPU, and `host_cpus` of all"
            yield context.find("VT347", message, path, key=True, labels=(label,))
        if len(affinity) != domain.cpus:
            message = f"`vcpu_affinity` has {len(affinity)} entries, '{name}' {domain.cpus} vCPUs: one each"
            yield context.find("VT347", message, path, key=True)


@rule(
    "VT438",
    what="a guest's interrupt controller is one that the board cannot emulate",
    why="Xen emulates a GICv2 with the virtual CPU interface of one, a GICv3 on a GICv3; xl makes no domain else.",
    example="xen: {gic_version: v3} on a Raspberry Pi 4",
    fix="Leave it out: then the guest has the board's version.",
)
def interrupt_controllers_can_be_had(context: Context) -> Iterator[Diagnostic]:
    """A version that is asked for is the board's, or an older one that its GIC is compatible with."""
    for board, loaded in context.facts.items():
        gic = loaded.facts.gic
        for name, domain in context.domains_on(board):
            chosen, path = domain.under_xen.gic_version, ("domains", name, "xen", "gic_version")
            if chosen is None or chosen.number == gic.version or domain.start is not Start.XL:
                continue
            label = Label(loaded.document.span(("gic", "version")), "the board's is here")
            if gic.version == 2:
                message = f"'{name}' cannot have a GICv3: board '{board}' has a GICv2"
                yield context.find("VT438", message, path, labels=(label,))
            elif gic.virtual_cpu_interface is None:
                message = f"the facts of board '{board}' name no virtual CPU interface (GICV), without which its "
                message += f"GICv3 makes no GICv2 for '{name}': xl does not start it"
                yield context.find("VT438", message, path, labels=(label,), severity=Severity.WARNING)


@rule("VT348")
def interrupt_controllers_serve(context: Context) -> Iterator[Diagnostic]:
    """A guest's interrupt controller is of the board's version, and a GICv2 has eight CPU interfaces."""
    for board, loaded in context.facts.items():
        if not isinstance(context.topology.boards[board].hypervisor, Xen):
            continue
        for name, domain in context.domains_on(board):
            chosen = domain.under_xen.gic_version
            version = chosen.number if chosen else loaded.facts.gic.version
            most = layouts.XEN_MOST_CPUS[version]
            count = _planned_cpus(domain, loaded.facts)
            if count > most:
                message = f"domain '{name}' has {count} CPUs, the GICv{version} that Xen gives it serves {most}"
                yield context.find("VT348", message, ("domains", name, "cpus"))


@rule(
    "VT358",
    what="vectors longer than the board's cores support",
    why="Xen makes no domain with longer vectors than every core has; for a dom0less guest it stops.",
    example="xen: {sve: 256} on a board with Cortex-A72 cores",
    fix="Leave it out, write max, or use another board.",
)
def vectors_can_be_had(context: Context) -> Iterator[Diagnostic]:
    """The board's cores have SVE, and vectors as long as is asked for."""
    for board, loaded in context.facts.items():
        has = vector_bits(loaded.facts)
        for name, domain in context.domains_on(board):
            asked = domain.xen.sve if domain.xen else None
            if asked is None or has is None:
                continue
            longest, core = has
            path = ("domains", name, "xen", "sve")
            label = Label(loaded.document.span(("cpu_nodes",), key=True), "the board's cores are here")
            if longest == 0:
                message = f"'{name}' cannot have SVE: {core} has none, and Xen does not make the domain"
                yield context.find("VT358", message, path, labels=(label,))
            elif asked != LONGEST_VECTOR and asked > longest:
                message = f"'{name}' wants vectors of {asked} bits, {core} has {longest}: Xen does not make the domain"
                yield context.find("VT358", message, path, labels=(label,), hints=("sve: max",))


@rule("VT357")
def vcpus_stay_on_one_kind(context: Context) -> Iterator[Diagnostic]:
    """With hmp-unsafe, what is kept on no CPUs moves between kinds of cores, which can corrupt its data."""
    for board, declared in context.topology.boards.items():
        loaded = context.facts.get(board)
        if not isinstance(declared.hypervisor, Xen) or loaded is None:
            continue
        words, kind_of = xen_words(declared.hypervisor.bootargs), kinds(loaded.facts)
        word = starts_every_kind(words)
        if word is None:
            continue
        for pool in pools_of(context, board):
            if len({kind_of[cpu] for cpu in pool.cpus or () if cpu < len(kind_of)}) < 2 or pool.declared:
                continue
            for name, domain in pool.domains.items():
                control = domain.role is Role.CONTROL
                if domain.pins or (control and last(words, "dom0_vcpus_pin") is not None):
                    continue
                message = f"`{word.text}`: Xen may move '{name}' between kinds of cores, which can corrupt its data"
                hint = "dom0_vcpus_pin in the hypervisor's `bootargs`" if control else "`host_cpus` of one kind"
                path: KeyPath = ("domains", name)
                yield context.find("VT357", message, path, key=True, hints=(hint,), severity=Severity.WARNING)
