"""Rules on ``/chosen`` of a Xen boot tree: modules, dom0 and command lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import DOMAIN, MODULE_COMPATIBLES, Context
from vtool.lint.finding import Finding
from vtool.platform.command_lines import last, xen_words
from vtool.platform.devicetree import Node

MOST_MODULES = 32
"""Xen xen/include/xen/bootfdt.h MAX_MODULES; Xen itself and the device tree are two of them."""
_OF_XEN = re.compile(r"\b(dom0_mem|dtuart|dom0_max_vcpus|sched|vwfi|bootscrub|xsm|console=dtuart)\b")
WARNING = Severity.WARNING


@rule(
    "VT860",
    what="cell counts are missing (warning)",
    why="Xen inherits them from above, other readers take 2 and 1.",
    example="/chosen with modules and without #size-cells",
    fix="State #address-cells and #size-cells in /chosen and in every domain.",
)
def cells_are_said(context: Context) -> Iterator[Finding]:
    """``/chosen`` and domains say the cells of what is in them."""
    for node in (context.chosen, *context.domains):
        needed = ("#address-cells", "#size-cells")
        if node is None or not any({"reg", "xen,shared-mem"} & set(child.values) for child in node.children.values()):
            continue
        missing = [name for name in needed if name not in node.values]
        if missing:
            address, size = context.cells(node)
            message = f"{' and '.join(missing)} missing: Xen takes {address} and {size} from above, others 2 and 1"
            yield Finding("VT860", node, message, hints=("say #address-cells and #size-cells",), severity=WARNING)


@rule(
    "VT861",
    what="a boot module has no usable address",
    why="Xen panics before its console is up when reg is missing or short.",
    example="a multiboot,module without reg",
    fix="Give reg in the cells of the parent, with the file's exact size.",
)
def modules_say_where_they_are(context: Context) -> Iterator[Finding]:
    """A module has an address and a size, or a file's name for EFI."""
    for module in context.modules:
        node = module.node
        address, size = context.cells(module.owner)
        found = node.properties.get("reg")
        if found is None:
            if "xen,uefi-binary" not in node.values:
                message = f"the module has no `reg`: {context.xen} panics before its console is up"
                hint = "under EFI `xen,uefi-binary` may name a file instead"
                yield Finding("VT861", node, message, hints=(hint,))
        elif len(found.value) < 4 * (address + size):
            message = f"`reg` has {len(found.value)} bytes, {4 * (address + size)} are needed"
            yield Finding("VT861", node, f"{message}: {context.xen} panics before its console is up", "reg")
        elif module.range is None and len(found.value) % (4 * max(1, address + size)) == 0:
            yield Finding("VT861", node, "the module has size 0: Xen finds nothing in it", "reg")


@rule(
    "VT862",
    what="there are too many boot modules",
    why="Xen keeps 32, itself and the device tree among them, and ignores the rest.",
    example="31 modules",
    fix="Share kernels between domains, or leave out ramdisks.",
)
def there_are_not_too_many_modules(context: Context) -> Iterator[Finding]:
    """Xen keeps 32 modules, itself and the device tree among them."""
    room = MOST_MODULES - 2
    for number, module in enumerate(context.modules[room:], room + 1):
        message = f"this is module {number} of the tree, {context.xen} keeps {room}"
        yield Finding("VT862", module.node, f"{message} (and itself and the tree): it is ignored")


@rule(
    "VT864",
    what="a boot module is outside RAM (warning)",
    why="Xen copies it from there.",
    example="module@8000000 where RAM begins at 0x40000000",
    fix="Load it into RAM.",
)
def modules_are_in_memory(context: Context) -> Iterator[Finding]:
    """Modules lie in RAM, where a boot loader put them."""
    for module in context.modules:
        if module.range and context.outside_memory(module.range):
            banks = ", ".join(map(str, context.memory))
            message = f"the module {module.range} is not in RAM ({banks}): only memory-mapped flash could hold it"
            yield Finding("VT864", module.node, message, "reg", severity=WARNING)


@rule(
    "VT865",
    what="there is nothing to boot",
    why="Without a kernel for dom0 and without a domain Xen panics; a domain needs its own kernel.",
    example="xen,domain without a multiboot,kernel",
    fix="Add a module compatible with multiboot,kernel and multiboot,module.",
)
def there_is_something_to_boot(context: Context) -> Iterator[Finding]:
    """There is a kernel for dom0 or a domain, and every domain has one."""
    if context.chosen and not context.domains and not context.has_dom0:
        message = "there is neither a kernel for dom0 nor a domain"
        if context.modules:
            yield Finding("VT865", context.chosen, f"{message}: Xen panics, 'Could not set up DOM0 guest OS'")
        else:
            message += ": unless the boot loader adds one, Xen panics"
            yield Finding("VT865", context.chosen, message, severity=WARNING)
    for domain in context.domains:
        if not context.kernels(domain):
            message = "the domain has no module `multiboot,kernel`"
            message += f": {context.xen} says 'Missing kernel boot module' and stops"
            yield Finding("VT865", domain, message)


@rule(
    "VT866",
    what="dom0_mem is missing (warning)",
    why="Xen then gives dom0 512 MiB.",
    example='xen,xen-bootargs = "console=dtuart"',
    fix="Add dom0_mem= to Xen's command line.",
)
def dom0_has_memory(context: Context) -> Iterator[Finding]:
    """Xen is told how much memory dom0 gets."""
    if context.chosen is None or not context.kernels(context.chosen) or context.xen_arguments is None:
        return
    if last(xen_words(context.xen_arguments), "dom0_mem") is None:
        name = context.name_of_arguments
        message = "Xen's command line has no dom0_mem: dom0 gets 512 MiB and a warning"
        yield Finding("VT866", context.chosen, message, name, hints=("add dom0_mem=1G",), severity=WARNING)


@rule(
    "VT867",
    what="a command line does not reach whom it is for",
    why="bootargs is dom0's unless xen,xen-bootargs, xen,dom0-bootargs or a module's bootargs says otherwise.",
    example='bootargs = "dom0_mem=1G" as the only command line',
    fix="Use xen,xen-bootargs for Xen and the module's bootargs for dom0.",
)
def command_lines_reach_whom_they_are_for(context: Context) -> Iterator[Finding]:
    """Xen and dom0 each read the command line that was meant for them."""
    chosen = context.chosen
    if chosen is None:
        return
    has = set(chosen.values)
    of_module = any(module.node.string("bootargs") for module in context.kernels(chosen))
    if context.xen_arguments is None and (context.modules or context.domains) and not context.completed_later:
        if "bootargs" in has:
            reader = "dom0's, as nothing else is" if context.has_dom0 else "nobody's without a dom0"
            meant = bool(_OF_XEN.search(chosen.string("bootargs")))
            message = f"`bootargs` is {reader}: Xen boots without a command line"
            hint = "give Xen's in `xen,xen-bootargs`"
            severity = Severity.ERROR if meant else WARNING
            yield Finding("VT867", chosen, message, "bootargs", hints=(hint,), severity=severity)
        elif "xen,uefi-cfg-load" not in has:
            message = "Xen has no command line, so no dom0_mem and no dtuart"
            yield Finding("VT867", chosen, message, hints=("add `xen,xen-bootargs`",), severity=WARNING)
    if of_module and "xen,dom0-bootargs" in has:
        message = "dom0 reads its module's `bootargs`, not `xen,dom0-bootargs`"
        yield Finding("VT867", chosen, message, "xen,dom0-bootargs", severity=WARNING)
    elif (of_module or "xen,dom0-bootargs" in has) and {"bootargs", "xen,xen-bootargs"} <= has:
        yield Finding("VT867", chosen, "neither Xen nor dom0 reads `bootargs`", "bootargs", severity=WARNING)


@rule(
    "VT868",
    what="boot modules are not what they look like (warning)",
    why="Xen takes the first kernel and ramdisk, guesses what has no kind, and looks under /chosen only.",
    example="two multiboot,kernel under /chosen",
    fix="State each module's kind, once per domain.",
)
def dom0_has_one_kernel(context: Context) -> Iterator[Finding]:
    """Dom0 has one kernel and one ramdisk, a domain too."""
    for owner in (context.chosen, *context.domains):
        for kind in ("kernel", "ramdisk"):
            found = [module for module in context.modules if module.owner is owner and module.kind == kind]
            for module in found[1:]:
                message = f"a second {kind} for '{module.owner.path}' (or one that Xen guesses to be it)"
                hint = "say what it is: multiboot,kernel, multiboot,ramdisk or multiboot,device-tree"
                yield Finding("VT868", module.node, message, "compatible", (found[0].node,), (hint,), WARNING)
    known = {module.node for module in context.modules}
    for node in context.nodes:
        if set(MODULE_COMPATIBLES) & set(node.compatible) and node not in known:
            message = "a boot module that is not under '/chosen' or a domain is never looked at"
            yield Finding("VT868", node, message, severity=WARNING)


@rule(
    "VT869",
    what="the console of Xen is not found",
    why="dtuart= must lead to a node by path or alias; else nothing is ever printed.",
    example="dtuart=serial9",
    fix="Correct the path or add the alias.",
)
def the_console_is_found(context: Context) -> Iterator[Finding]:
    """``dtuart=`` leads to a node that Xen may drive (4.20 xen/common/device.c device_init)."""
    path, name = console_of(context)
    if context.chosen is None or path is None:
        return
    node = context.tree.node(path) if path else None
    if not path:
        yield Finding("VT869", context.chosen, "neither dtuart= nor stdout-path: Xen has no console", name)
    elif node is None:
        yield Finding("VT869", context.chosen, f"dtuart '{path}' leads to no node: Xen has no console", name)
    elif not node.available:
        message = f"dtuart '{path}' is '{node.path}', which is switched off"
        message += ": Xen has no console, 'Unable to initialize dtuart'"
        yield Finding("VT869", context.chosen, message, name, (node,))


def console_of(context: Context) -> tuple[str | None, str]:
    """Return path or alias of Xen's console, and the property of /chosen that says it.

    The path is empty where none is said, and None where Xen is told of no console, or is still to be.
    """
    name = context.name_of_arguments
    if context.chosen is None or "dtuart" not in (context.xen_arguments or ""):
        return None, name
    said = re.search(r"(?:^|\s)dtuart=(\S+)", context.xen_arguments or "")
    path = said[1] if said else context.chosen.string("stdout-path")
    return path.partition(":")[0], name if said or not path else "stdout-path"


@rule(
    "VT871",
    what="a domain is not where Xen looks",
    why="Only direct children of /chosen are built; others are passed over silently.",
    example="xen,domain under /",
    fix="Move it under /chosen.",
)
def domains_stand_under_chosen(context: Context) -> Iterator[Finding]:
    """Xen builds the domains that stand directly under ``/chosen``."""
    for node in context.nodes:
        if DOMAIN in node.compatible and node not in context.domains:
            yield Finding("VT871", node, "a domain that is not directly under '/chosen' is never built")


def owner_name(node: Node) -> str:
    """Return how messages name a domain."""
    return f"domain '{node.name}'" if DOMAIN in node.compatible else "dom0"
