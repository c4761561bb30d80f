"""Rules of meaning: one generator function per rule, all of them run, all they find reported."""

from __future__ import annotations

from collections.abc import Mapping

from vtool.check import devices, kernels, kvm, references, regions
from vtool.check.context import Context, KernelOptions
from vtool.diagnostics import Diagnostic
from vtool.model.topology import Topology
from vtool.model.validate import LoadedFacts
from vtool.source import Document

RULES = (*references.RULES, *devices.RULES, *kvm.RULES, *regions.RULES, *kernels.RULES)

__all__ = ["RULES", "KernelOptions", "check", "not_deployed_yet"]


def check(
    document: Document,
    topology: Topology,
    facts: Mapping[str, LoadedFacts],
    kernels: Mapping[str, KernelOptions],
) -> list[Diagnostic]:
    """Return everything the rules find, in the order of the file. Raises nothing."""
    context = Context(document, topology, facts, kernels)
    found = {finding: None for rule in RULES for finding in rule(context)}
    return sorted(found, key=lambda d: (d.span.line, d.span.column, d.code) if d.span else (0, 0, d.code))


def not_deployed_yet(document: Document, topology: Topology) -> list[Diagnostic]:
    """Return what of a sound topology this version renders but does not deploy, in the order of the file."""
    found = kvm.only_rendered(Context(document, topology, {}, {}))
    return sorted(found, key=lambda d: (d.span.line, d.span.column) if d.span else (0, 0))
