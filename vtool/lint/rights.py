"""Rules on what a domain may do and where its CPUs run: capabilities, limits, affinity."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.diagnostics.codes import rule
from vtool.lint.context import VCPU, Context
from vtool.lint.finding import Finding
from vtool.platform.devicetree import Node, cpu_nodes

HARDWARE, XENSTORE = 2, 4
CAPABILITIES = 7
"""Xen xen/include/public/bootfdt.h DOMAIN_CAPS_MASK."""
VECTOR_STEP_BITS, MOST_VECTOR_BITS = 128, 2048
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
        for name, wrong in _wrong_values(context, domain):
            yield Finding("VT418", domain, f"{wrong}: Xen panics", name)


def _wrong_values(context: Context, domain: Node) -> Iterator[tuple[str, str]]:
    found, arguments = domain.properties, context.xen_arguments or ""
    if context.version >= (4, 21):
        rights = domain.number("capabilities")
        if rights & ~CAPABILITIES:
            yield "capabilities", f"`capabilities` {rights:#x} has bits beyond {CAPABILITIES:#x}"
        elif taken := _taken(context, domain, rights):
            yield "capabilities", f"there can be one {taken}"
        if domain.number("trap-unmapped-accesses") > 1:
            yield "trap-unmapped-accesses", "`trap-unmapped-accesses` is neither 0 nor 1"
        if "xen,sci_type" in found and domain.string("xen,sci_type") not in SCI_TYPES:
            yield "xen,sci_type", f'Xen does not know xen,sci_type = "{domain.string("xen,sci_type")}"'
        elif domain.string("xen,sci_type") == "scmi_smc" and "scmi-smc-passthrough" not in arguments:
            yield "xen,sci_type", "`xen,sci_type` needs scmi-smc-passthrough among the words for Xen"
    if context.version >= (4, 20) and "llc-colors" in found and "llc-coloring" not in arguments:
        yield "llc-colors", "`llc-colors` needs llc-coloring=on among the words for Xen"
    if context.version >= (4, 18):
        bits = domain.number("sve")
        if bits % VECTOR_STEP_BITS or bits > MOST_VECTOR_BITS:
            yield "sve", f"`sve` is {bits}, not a multiple of {VECTOR_STEP_BITS} up to {MOST_VECTOR_BITS}"
        if "max_grant_version" in found and domain.number("max_grant_version") not in (1, 2):
            yield "max_grant_version", f"`max_grant_version` is {domain.number('max_grant_version')}, not 1 or 2"


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
    if context.version < (4, 21):
        return
    cpus = len(cpu_nodes(context.tree))
    for domain in context.domains:
        seen: dict[int, Node] = {}
        for node in (child for child in domain.children.values() if VCPU in child.compatible):
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
