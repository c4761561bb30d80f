"""What Xen or Linux would reject, crash on or silently do wrong with a device tree.

A pure room: from a tree to findings, one generator function a rule. The other rooms check topologies; this one serves
people who have none and write their trees by hand.
"""

from __future__ import annotations

from vtool.diagnostics.codes import rules_of
from vtool.lint import (
    command_lines,
    domains,
    dynamic,
    general,
    memory,
    modules,
    needs,
    overlaps,
    partial,
    passthrough,
    reach,
    references,
    regions,
    rights,
    shared,
    static,
    xen_host,
)
from vtool.lint.context import Context, Kind
from vtool.lint.finding import Finding, printable
from vtool.platform.devicetree import Tree
from vtool.platform.xen_releases import NEWEST, XenVersion

ALL_TREES = rules_of(
    general, references, memory, regions, dynamic, reach, passthrough, overlaps, xen_host, command_lines
)
XEN_TREES = rules_of(modules, domains, needs, rights, static, shared)
PARTIAL_TREES = rules_of(general, references, partial)
RULES = {
    Kind.LINUX: ALL_TREES,
    Kind.XEN: (*ALL_TREES, *XEN_TREES),
    Kind.PARTIAL: PARTIAL_TREES,
}

__all__ = ["RULES", "Context", "Finding", "Kind", "lint", "printable"]


def lint(tree: Tree, version: XenVersion | None = None) -> tuple[Kind, list[Finding]]:
    """Return what kind of tree it is and everything the rules find, in the order of the tree. Raises nothing.

    Without a ``version`` trees for Xen are judged for the newest, and Linux trees for Linux alone.
    """
    context = Context(tree, version or NEWEST, asked=version is not None)
    if overlay := list(general.is_no_overlay(context)):
        return context.kind, overlay
    found = [finding for rule in RULES[context.kind] for finding in rule(context)]
    return context.kind, sorted(found, key=lambda f: (context.position[f.node], f.code))
