"""Rules: what domains ask of their board, memory and processors."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.scope import Rule, Scope
from vtool.diagnostics import Diagnostic, Label, Severity, Span
from vtool.model.topology import Xen
from vtool.units import MIB, format_size


def domains_have_memory(scope: Scope) -> Iterator[Diagnostic]:
    """VT406: guests and a Xen dom0 say how much memory they have; a KVM host has what is left."""
    for name, domain in scope.topology.domains.items():
        is_control = scope.is_control(name)
        if domain.memory is not None or (is_control and not isinstance(scope.hypervisor_of(name), Xen)):
            continue
        what = "Xen control domain" if is_control else "guest"
        yield Diagnostic(
            "VT406",
            f"{what} '{name}' has no memory",
            scope.key("domains", name),
            hints=("add `memory:`, such as 256MiB",),
        )


def memory_fits_the_board(scope: Scope) -> Iterator[Diagnostic]:
    """VT407: a board's RAM holds the memory of all its domains and regions."""
    for board, facts in scope.facts.items():
        ram = sum(bank.size for bank in facts.facts.ram)
        wanted = list(_wanted(scope, board))
        total = sum(size for _, size, _ in wanted)
        if total > ram:
            listed = ", ".join(f"{name} {format_size(size)}" for name, size, _ in wanted)
            yield Diagnostic(
                "VT407",
                f"board '{board}' has {format_size(ram)} of RAM, but {format_size(total)} are asked of it",
                scope.key("boards", board),
                tuple(Label(span, f"{name} asks for {format_size(size)}") for name, size, span in wanted),
                hints=(f"asked for: {listed}",),
            )


def _wanted(scope: Scope, board: str) -> Iterator[tuple[str, int, Span]]:
    """Yield who wants how many bytes of a board's RAM, and where it says so."""
    domains = scope.domains_on(board)
    for name, domain in domains.items():
        if domain.memory is not None:
            yield f"'{name}'", domain.memory, scope.span("domains", name, "memory")
    for name, region in scope.topology.regions.items():
        if region.owner in domains:
            yield f"region '{name}'", region.size, scope.span("regions", name, "size")


def memory_is_whole_mebibytes(scope: Scope) -> Iterator[Diagnostic]:
    """VT408: hypervisors count a domain's memory in MiB (xl.cfg(5) `memory`, Xen `dom0_mem`)."""
    for name, domain in scope.topology.domains.items():
        if domain.memory is not None and domain.memory % MIB:
            message = f"memory of domain '{name}' is {format_size(domain.memory)}, not a multiple of 1MiB"
            yield Diagnostic("VT408", message, scope.span("domains", name, "memory"))


def cpus_are_there(scope: Scope) -> Iterator[Diagnostic]:
    """VT409: a domain with more processors than its board runs, but slowly."""
    for board, facts in scope.facts.items():
        for name, domain in scope.domains_on(board).items():
            if domain.cpus > facts.facts.cpus:
                yield Diagnostic(
                    "VT409",
                    f"domain '{name}' asks for {domain.cpus} processors, but board '{board}' has "
                    f"{facts.facts.cpus}",
                    scope.span("domains", name, "cpus"),
                    (Label(facts.document.span(("cpus",)), f"'{facts.facts.name}' is described here"),),
                    severity=Severity.WARNING,
                )


RULES: tuple[Rule, ...] = (
    domains_have_memory,
    memory_fits_the_board,
    memory_is_whole_mebibytes,
    cpus_are_there,
)
