"""Rules on who starts a guest of Xen: xl in dom0 or Xen itself, and what each of them can give it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.data_paths.facts import Shares, Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.devices import Device, Program
from vtool.model.topology import Capability, Enhanced, Role, Start, Xen
from vtool.model.xen_settings import is_requested
from vtool.platform import layouts
from vtool.platform.xen_properties import OF_XL, PROPERTIES, Where
from vtool.platform.xen_releases import SPIS_COUNTED
from vtool.reading.source import KeyPath

"""Before, libxl took the larger of what is written and what devices need (tools/libs/light/libxl_arm.c)."""


_OF_XEN = {"xen", "start", "device_tree", "passthrough", "tee"}
_NO_PLATFORM = (
    "QEMU writes a node for two platform devices alone, calxeda-xgmac and amd-xgbe (hw/core/sysbus-fdt.c), and has "
    "deprecated vfio-platform in 10.0: `pci` is what KVM has"
)


@rule("VT372")
def settings_fit_the_start(context: Context) -> Iterator[Diagnostic]:
    """What only a dom0less guest can have is not given to others, and the reverse."""
    for name, domain in context.topology.domains.items():
        hypervisor = context.hypervisor_of(name)
        if hypervisor is None:
            continue
        is_xen, dom0less = isinstance(hypervisor, Xen), domain.start is Start.DOM0LESS
        guest = domain.role is Role.GUEST
        wrong: list[tuple[KeyPath, str]] = []
        if not is_xen:
            for key in {*_OF_XEN, "cpupool"} & domain.model_fields_set:
                why = f"; {_NO_PLATFORM}" if key == "passthrough" else ""
                message = f"`{key}` is Xen's; board '{context.board_of[name]}' runs KVM{why}"
                wrong.append((("domains", name, key), message))
        elif not guest:
            for key in _OF_XEN & domain.model_fields_set:
                wrong.append((("domains", name, key), f"`{key}` is for guests, '{name}' is the control domain"))
        elif not dom0less and domain.xen is not None:
            for key in domain.xen.model_fields_set - OF_XL:
                message = f"`{key}` is for guests that Xen starts at boot, '{name}' is started by xl"
                wrong.append((("domains", name, "xen", key), message))
        elif dom0less:
            for row in PROPERTIES:
                if row.where is Where.XL and is_requested(domain, row):
                    message = (
                        f"`{row.field}` is for guests that xl starts: no release of Xen has it for those it starts"
                    )
                    wrong.append((("domains", name, *row.key.split(".")), message))
        for path, message in wrong:
            hint = "`start: dom0less` makes Xen start it" if is_xen and guest else f"leave out `{path[-1]}`"
            hint = "`start: xl` has xl start it" if dom0less else hint
            blames = (("domains", name, "start"),)
            yield context.find("VT372", message, path, key=True, hints=(hint,), blames=blames)


@rule(
    "VT361",
    what="fewer interrupts than a guest's devices need",
    why="Since 4.21 xl starts no guest with a smaller nr_spis than its virtio devices need.",
    example="xen: {spis: 2} for a guest of xl with two virtio devices",
    fix="Leave spis out, or write at least the number in the message.",
)
def interrupts_are_enough(context: Context) -> Iterator[Diagnostic]:
    """A guest of xl has an interrupt for each of its virtio devices."""
    for name, domain in context.topology.domains.items():
        spis = domain.xen.spis if domain.xen else None
        board = context.board_of.get(name)
        if spis is None or domain.start is not Start.XL or board is None or board not in context.xens:
            continue
        slots = layouts.XEN_VIRTIO_MMIO
        devices = sum(d.transport is Transport.MMIO and d.frontend == name for _, d in context.sound_devices(name))
        needed = slots.first_spi_index + devices
        if devices and spis < needed and SPIS_COUNTED.is_in(context.xens[board].version):
            message = f"'{name}' has {spis} SPIs, its {devices} virtio devices need {needed}: xl does not start it"
            hint = "leave `spis` out: xl counts them itself"
            yield context.find("VT361", message, ("domains", name, "xen", "spis"), hints=(hint,))


@rule(
    "VT399",
    what="a boot loader that does not load what Xen starts",
    why=(
        "Xen takes a dom0less guest's kernel from memory, where the boot loader put it; vtool has systemd-boot load "
        "dom0 alone."
    ),
    example="start: dom0less on a board whose facts say loader: systemd-boot",
    fix="Let dom0 start the guest, or boot the board by U-Boot.",
)
def loaders_bring_guests(context: Context) -> Iterator[Diagnostic]:
    """What Xen starts at boot is in memory by then: U-Boot loads it, systemd-boot does not."""
    for name, domain in context.topology.domains.items():
        board = context.board_of.get(name, "")
        loaded = context.facts.get(board)
        boot = loaded.facts.boot if loaded else None
        if domain.start is Start.DOM0LESS and loaded and boot and boot.loader == "systemd-boot":
            message = f"nothing loads domain '{name}' for Xen: board '{board}' boots by systemd-boot"
            label = Label(loaded.document.span(("boot", "loader")), "so its facts say")
            hints = ("`start: xl` makes dom0 start it",)
            yield context.find("VT399", message, ("domains", name, "start"), labels=(label,), hints=hints)


@rule(
    "VT372",
    what="a setting does not fit how the domain is started",
    why=(
        "Most of Xen's boot-time settings exist only for guests that Xen itself starts; backends in dom0 come too "
        "late for these."
    ),
    example="direct_map for a guest that xl starts",
    fix="Write start: dom0less, or leave the setting out.",
)
def devices_fit_the_start(context: Context) -> Iterator[Diagnostic]:
    """What xl sets up it starts both ends of, but for PV devices of dom0, which it attaches to what Xen started."""
    for name, device in context.sound_devices():
        frontend = context.topology.domains[device.frontend]
        if device.data_path.traits.shares in (Shares.POOL, Shares.REGION):
            continue  # VT389 warns of the order; both ends of a ring wait for the other
        if frontend.start is Start.DOM0LESS and isinstance(context.hypervisor_of(device.frontend), Xen):
            if _can_be_attached(context, device):
                continue
            message = f"device '{name}': '{device.frontend}' is started by Xen at boot, before any backend is there"
            hint = "start it by xl, or let it use shared regions, event channels, and PV disks and networks of dom0"
            yield context.find("VT372", message, ("devices", name, "frontend"), hints=(hint,))
        backend = context.topology.domains[device.backend]
        if backend.start is Start.DOM0LESS and isinstance(context.hypervisor_of(device.backend), Xen):
            message = f"device '{name}': its driver domain '{device.backend}' is started by Xen at boot, "
            message += "xl has no name for it"
            yield context.find("VT372", message, ("devices", name, "backend"), hints=("start it by xl",))


def _can_be_attached(context: Context, device: Device) -> bool:
    """Whether xl can give a device to a guest that runs (Xen docs/features/dom0less.pandoc, PV drivers)."""
    pv = device.program in (Program.BLKBACK, Program.NETBACK) and device.transport is Transport.XENBUS
    return pv and not context.by_a_guest(device)


@rule(
    "VT478",
    what="a guest that Xen starts has PV devices and no xenstore",
    why="xl attaches them to the running guest, whose driver finds them in xenstore.",
    example="enhanced: no-xenstore, for a guest with a PV disk",
    fix="Leave enhanced out, or write enabled.",
)
def attached_devices_are_found(context: Context) -> Iterator[Diagnostic]:
    """A dom0less guest with PV devices has xenstore, which says what is attached to it."""
    for name, domain in context.topology.domains.items():
        enhanced = domain.xen.enhanced if domain.xen else None
        if domain.start is not Start.DOM0LESS or enhanced in (None, Enhanced.ENABLED):
            continue
        for device_name, device in context.sound_devices(name):
            if device.frontend == name and _can_be_attached(context, device):
                message = f"'{name}' has no xenstore, in which '{device_name}' would be found"
                label = Label(context.span("devices", device_name, key=True), "the device is here")
                path = ("domains", name, "xen", "enhanced")
                yield context.find("VT478", message, path, labels=(label,), hints=("leave it out",))
                break


@rule(
    "VT415",
    what="only one domain can have this",
    why=(
        "Xen takes one hardware and one xenstore domain, which is dom0, and forwards SCMI of one guest; it stops at "
        "a second one."
    ),
    example="capabilities: [hardware] for a dom0less guest",
    fix="Leave it out; of the capabilities `control` is free.",
)
def rights_are_free(context: Context) -> Iterator[Diagnostic]:
    """What one domain alone can have is given to one, and dom0 has most of it."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        first = None
        for name, domain in context.domains_on(board):
            settings = domain.under_xen
            for index, capability in enumerate(settings.capabilities):
                if capability is not Capability.CONTROL:
                    message = f"'{name}' cannot be a {capability.value} domain beside dom0: Xen takes one, and stops"
                    yield context.find("VT415", message, ("domains", name, "xen", "capabilities", index))
            if settings.scmi_smc and first is not None:
                message = f"'{first}' has `scmi_smc` already: the firmware serves one domain, and Xen stops"
                yield context.find("VT415", message, ("domains", name, "xen", "scmi_smc"))
            first = name if settings.scmi_smc and first is None else first


STARTS = (settings_fit_the_start,)
