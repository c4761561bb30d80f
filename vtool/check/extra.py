"""Rules on what the user adds in the words of xl, Xen, QEMU and systemd: it can be read, and contradicts no decision.

More is not known of it; a plan shows it as not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vtool.check.command_lines import at_word, written_for_xen
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.places import kvm_mmio, kvm_pci
from vtool.model.topology import Domain, Kvm, Role, Start, Vmm, Xen
from vtool.platform.command_lines import xen_words
from vtool.platform.extra import Format
from vtool.platform.extra.qemu_lines import OF_QEMU
from vtool.platform.extra.tree_lines import OF_NODE
from vtool.platform.extra.unit_lines import OF_RUN_UNITS, OF_UNITS
from vtool.platform.extra.xl_lines import OF_XL
from vtool.platform.layouts import QEMU_VIRT_PCI_IOMMU
from vtool.reading.source import KeyPath

READ_BY_RULES = (
    "maxcpus", "noreboot", "iommu", "no-iommu", "hmp-unsafe", "no-hmp-unsafe", "sched", "dom0_vcpus_pin", "llc-size",
    "llc-nr-ways", "llc-coloring", "scmi-smc-passthrough", "xsm", "conring_size",
)  # fmt: skip
"""Words of Xen that rules and plans read in `bootargs`: in `extra`, which nobody reads, they would go by unseen."""
_OF_PASSTHROUGH = dict.fromkeys(("iomem", "irqs"), "`passthrough` says it")
"""What vtool writes for a guest of xl that gets devices of the board: of two lists xl takes the last."""


@rule(
    "VT435",
    what="a line of `extra` or `unit_extra` that its reader would not take",
    why="xl makes no domain of a file that it cannot read, dtc no tree, and systemd passes over what it cannot read.",
    example="extra: [cpu_weight 512] for a guest that xl starts",
    fix="Write it as the message says, one thing a line.",
)
@rule(
    "VT436",
    what="what vtool decides is said again in `extra` or `unit_extra`",
    why="Of two words the last one counts, or both are refused: what the plan shows would not be what is there.",
    example='extra: ["memory = 512"] for a guest that xl starts',
    fix="Use the topology's own key.",
)
def extras_can_be_read(context: Context) -> Iterator[Diagnostic]:
    """What is added to a domain can be read by who starts it, and is not said already."""
    for name, domain in context.topology.domains.items():
        hypervisor = context.hypervisor_of(name)
        if hypervisor is not None and domain.role is Role.GUEST:
            format_ = _format_of(domain, is_xen=isinstance(hypervisor, Xen))
            also = _OF_PASSTHROUGH if format_ is OF_XL and domain.passthrough else {}
            yield from _lines(context, ("domains", name, "extra"), domain.extra, format_, also)
            if format_ is OF_QEMU:
                yield from _places(context, name, domain)
        runs = isinstance(hypervisor, Kvm) and hypervisor.vmm is Vmm.QEMU
        yield from _units(
            context, ("domains", name, "unit_extra"), domain.unit_extra, OF_RUN_UNITS if runs else OF_UNITS
        )
    for name, device in context.topology.devices.items():
        yield from _units(context, ("devices", name, "unit_extra"), device.unit_extra)


def _format_of(domain: Domain, *, is_xen: bool) -> Format:
    if not is_xen:
        return OF_QEMU
    return OF_XL if domain.start is Start.XL else OF_NODE


def _units(
    context: Context, path: KeyPath, extra: Mapping[Any, tuple[str, ...]], format_: Format = OF_UNITS
) -> Iterator[Diagnostic]:
    for section, lines in extra.items():
        yield from _lines(context, (*path, section), lines, format_)


def _lines(
    context: Context, path: KeyPath, lines: tuple[str, ...], format_: Format, also: Mapping[str, str] = {}
) -> Iterator[Diagnostic]:
    """Find what cannot be read or is decided: by the format's table, or here ``also``."""
    earlier: dict[str, KeyPath] = {}
    for index, line in enumerate(lines):
        at = (*path, index)
        try:
            named = format_.read(line)
        except ValueError as error:
            hint = f"{format_.what} is such as `{format_.example}`"
            yield context.find("VT435", f"`{line}`: {error}", at, hints=(hint,))
            continue
        for word in named:
            if (why := also.get(word) or format_.decided(word)) is not None:
                yield context.find("VT436", f"`{word}` is vtool's to write: {why}", at)
                break
            if format_.once and word in earlier:
                labels = (Label(context.span(*earlier[word]), "here first"),)
                yield context.find("VT436", f"`{word}` is said twice", at, labels=labels)
                break
            earlier[word] = at


def _places(context: Context, name: str, domain: Domain) -> Iterator[Diagnostic]:
    """Find devices of QEMU's that are put where one of the topology is."""
    devices = context.lookup.devices_of[name]
    pci = {number: device for device, number in kvm_pci(name, devices).items()}
    if (iommu := next((device for device, each in devices.items() if each.translates), None)) is not None:
        pci[QEMU_VIRT_PCI_IOMMU] = iommu
    mmio = {slot: device for device, slot in kvm_mmio(name, devices).items()}
    for index, line in enumerate(domain.extra):
        try:
            named = OF_QEMU.read(line)
        except ValueError:
            continue  # VT435
        said = dict(word.partition(" ")[2].partition("=")[::2] for word in named if word.startswith("device "))
        bus, number = said.get("bus", "pcie.0"), said.get("addr", "").partition(".")[0]
        other = None
        if bus == "pcie.0" and number:
            other = pci.get(_number(number))
        elif bus.startswith("virtio-mmio-bus."):
            other = mmio.get(_number(bus.rpartition(".")[2]))
        if other is not None:
            label = Label(context.span("devices", other, key=True), "here")
            message = f"device '{other}' is at that place of bus {bus} already"
            yield context.find("VT436", message, ("domains", name, "extra", index), labels=(label,))


def _number(text: str) -> int:
    """Return a number as QEMU reads it, -1 where it is none."""
    try:
        return int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        return -1


@rule("VT436")
def words_for_xen_are_new(context: Context) -> Iterator[Diagnostic]:
    """What is added to Xen's command line is neither vtool's to write nor a word that rules read."""
    for board, declared in context.topology.boards.items():
        hypervisor = declared.hypervisor
        if not isinstance(hypervisor, Xen) or not hypervisor.extra:
            continue
        own = {word.name for text in written_for_xen(context, board, hypervisor) for word in xen_words(text)}
        user = {word.name for word in xen_words(hypervisor.bootargs)}
        path: KeyPath = ("boards", board, "hypervisor", "extra")
        for word in xen_words(hypervisor.extra):
            if word.name in own:
                yield at_word(context, "VT436", f"`{word.text}`: vtool writes `{word.name}` itself", path, word)
            elif word.name in READ_BY_RULES or word.name in user:
                why = "vtool checks it there" if word.name in READ_BY_RULES else "it is there already"
                yield at_word(context, "VT436", f"`{word.text}` is for `bootargs`: {why}", path, word)


@rule(
    "VT437",
    what="nothing takes the `extra` or `unit_extra` here",
    why="The control domain is started by a boot loader, and what serves some devices has no unit of its own.",
    example="extra: [-snapshot] of the host",
    fix="Leave it out; words for a kernel are `bootargs`.",
)
def extras_are_for_guests(context: Context) -> Iterator[Diagnostic]:
    """The control domain, which no unit of vtool's starts, has nothing to add to."""
    for name, domain in context.topology.domains.items():
        if domain.role is not Role.CONTROL:
            continue
        for key in ("extra", "unit_extra"):
            if getattr(domain, key):
                hint = "words for its kernel are `bootargs`" if key == "extra" else "leave it out"
                if key == "extra" and not isinstance(context.hypervisor_of(name), Kvm):
                    hint += ", words for Xen `extra` of the hypervisor"
                message = f"'{name}' is started by the boot loader, which takes no `{key}`"
                yield context.find("VT437", message, ("domains", name, key), key=True, hints=(hint,))
