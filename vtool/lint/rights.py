"""Rules on what a domain may do and where its CPUs run: capabilities, limits, affinity."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from vtool.diagnostics.codes import rule
from vtool.lint.context import Context
from vtool.lint.finding import Finding
from vtool.platform.devicetree import Node, cpu_nodes
from vtool.platform.xen_properties import AFFINITY, PROPERTIES, XenProperty

HARDWARE, XENSTORE = 2, 4
"""Xen xen/include/public/bootfdt.h DOMAIN_CAPS_HARDWARE, DOMAIN_CAPS_XENSTORE."""
VECTOR_STEP_BITS = 128
SCI_TYPES = ("none", "scmi_smc")
_CPUS = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*\Z")


@rule(
    "VT418",
    what="a property of a domain has a value that Xen does not take",
    why="Xen reads it before any domain runs, and panics.",
    example="capabilities = <8>, or a second hardware domain",
    fix="Follow the message; docs/reference/topology-language.md has what each property may be.",
)
def domains_ask_for_what_there_is(context: Context) -> Iterator[Finding]:
    """Capabilities, SVE, SCMI and the like have values that Xen takes."""
    for domain in context.domains:
        for row in PROPERTIES:
            judge = _JUDGES.get(row.name)
            if judge and row.name in domain.values and context.has(row):
                wrong = judge(context, domain, row) or _word_is_missing(context, domain, row)
                if wrong:
                    yield Finding("VT418", domain, f"{wrong}: Xen panics", row.name)


def _word_is_missing(context: Context, domain: Node, row: XenProperty) -> str | None:
    """Say which of Xen's words switches a property on, where it is not there."""
    off = domain.string(row.name) == "none"
    if off or not row.words or row.words.partition("=")[0] in (context.xen_arguments or ""):
        return None
    return f"`{row.name}` needs {row.words} among the words for Xen"


def _is_a_number(_: Context, domain: Node, row: XenProperty) -> str | None:
    number, (least, most) = domain.number(row.name), row.limits or (0, 0)
    if least <= number <= most:
        return None
    return f"`{row.name}` is {number}, not {least} or {most}"


def _capabilities(context: Context, domain: Node, row: XenProperty) -> str | None:
    rights, (_least, every) = domain.number(row.name), row.limits or (0, 0)
    if rights & ~every:
        return f"`{row.name}` {rights:#x} has bits beyond {every:#x}"
    taken = _taken(context, domain, rights)
    return f"there can be one {taken}" if taken else None


def _vector(_: Context, domain: Node, row: XenProperty) -> str | None:
    """Judge a length in bits; without a number, or with 0, it is the longest that the host has."""
    bits, (_least, most) = domain.number(row.name), row.limits or (0, 0)
    if not bits % VECTOR_STEP_BITS and bits <= most:
        return None
    return f"`{row.name}` is {bits}, not a multiple of {VECTOR_STEP_BITS} up to {most}"


def _sci_type(_: Context, domain: Node, row: XenProperty) -> str | None:
    kind = domain.string(row.name)
    return None if kind in SCI_TYPES else f'Xen does not know {row.name} = "{kind}"'


def _anything(_: Context, __: Node, ___: XenProperty) -> str | None:
    return None


_JUDGES: Mapping[str, Callable[[Context, Node, XenProperty], str | None]] = {
    "capabilities": _capabilities,
    "trap-unmapped-accesses": _is_a_number,
    "sve": _vector,
    "llc-colors": _anything,
    "xen,sci_type": _sci_type,
    "max_grant_version": _is_a_number,
}
"""Of the properties whose values Xen looks at before any domain runs, what is wrong with one; None for nothing."""


def _taken(context: Context, domain: Node, rights: int) -> str | None:
    """Say which right another domain has already: dom0 both that are given once, else one before in the tree."""
    before = context.domains[: context.domains.index(domain)]
    for bit, what in ((HARDWARE, "hardware"), (XENSTORE, "xenstore")):
        first = next((other.path for other in before if other.number("capabilities") & bit), None)
        holder = "dom0" if context.has_dom0 else first
        if rights & bit and holder:
            return f"{what} domain, and that is {holder}"
    return None


@rule(
    "VT419",
    what="a vCPU is not kept on CPUs as its node says",
    why="Xen panics at CPUs that do not exist, and skips a node without hard-affinity.",
    example="id = <2> in a domain with two CPUs",
    fix="Give each vCPU one node, with CPUs of the host.",
)
def vcpus_run_somewhere(context: Context) -> Iterator[Finding]:
    """A node of a vCPU names one that the domain has, once, and CPUs of the host."""
    if not context.has(AFFINITY):
        return
    cpus = len(cpu_nodes(context.tree))
    for domain in context.domains:
        seen: dict[int, Node] = {}
        for node in (child for child in domain.children.values() if AFFINITY.name in child.compatible):
            number, text = node.number("id"), node.string("hard-affinity")
            if "id" not in node.values or number >= domain.number("cpus"):
                message = f"`id` {number} is not one of the domain's {domain.number('cpus')} CPUs: Xen panics"
                yield Finding("VT419", node, message if "id" in node.values else "`id` is missing: Xen panics", "id")
            elif seen.setdefault(number, node) is not node:
                message = f"`id` {number} is that of '{seen[number].path}' already: Xen takes the last"
                yield Finding("VT419", node, message, "id", (seen[number],))
            if not text:
                yield Finding("VT419", node, "`hard-affinity` is missing: the node does nothing", "hard-affinity")
            elif not _CPUS.match(text):
                message = f'`hard-affinity` "{text}" is not a list such as 0-3,5: Xen stops reading, or panics'
                yield Finding("VT419", node, message, "hard-affinity")
            elif cpus and (most := max(map(int, re.findall("[0-9]+", text)))) >= cpus:
                message = f"`hard-affinity` names CPU {most}, the host has 0 to {cpus - 1}: Xen panics"
                yield Finding("VT419", node, message, "hard-affinity")
