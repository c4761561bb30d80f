"""Rules on virtio devices of Xen guests: what their programs in dom0 can do, and whom they get in the way of.

The programs' limits were read in their sources: QEMU hw/xen/xen-pvh-common.c, xen-troops/virtio-disk xs_dev.c,
vireshk/xen-vhost-frontend src/device.rs and src/xs.rs.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.devices import Device, Program, daemon_of, xen_vhost_frontend
from vtool.model.topology import Xen


def _server(device: Device) -> tuple[str, str]:
    """Return the program in dom0 that meets the guest, and why it serves one guest of a board only, if so."""
    if xen_vhost_frontend.stands_before(device.program):
        return xen_vhost_frontend.NAME, xen_vhost_frontend.ONE_GUEST
    daemon = daemon_of(device.program)
    return device.program.value, daemon.one_guest if daemon else ""


def xen_virtio(context: Context, domain: str | None = None) -> Iterator[tuple[str, Device, Xen]]:
    """Yield the virtio devices under Xen whose combination exists; those of one frontend if it is given."""
    for name, device in context.sound_devices(domain):
        hypervisor = context.hypervisor_of(device.frontend)
        if not isinstance(hypervisor, Xen) or device.transport is not Transport.MMIO:
            continue
        if combination_of("xen", device) is not None and domain in (None, device.frontend):
            yield name, device, hypervisor


@rule(
    "VT382",
    what="no QEMU built with Xen is named for the board",
    why="Debian's QEMU for arm64 is built without Xen, so it has no machine xenpvh.",
    example="program: qemu-xenpvh, and neither qemu_image nor qemu_version at the hypervisor",
    fix=(
        "Write qemu_image: vtool:qemu-xenpvh; or put one of your own on the board and write its version in "
        "qemu_version."
    ),
)
@rule(
    "VT521",
    what="the board's QEMU does not have a device",
    why="QEMU would refuse to start; each device came with a version of it.",
    example="type: snd on bookworm, whose QEMU is 7.2",
    fix="Say what the board has in suite or qemu_version, or choose another device.",
)
def qemu_is_built_with_xen(context: Context) -> Iterator[Diagnostic]:
    """Dom0 has a QEMU with Xen, new enough for xenpvh's devices to be where the guest looks."""
    said: dict[str, str] = {}
    for name, device, hypervisor in xen_virtio(context):
        if device.program is not Program.QEMU_XENPVH:
            continue
        board = context.board_of[device.frontend]
        context.xens.get(board)  # not known where its images could not be read (VT505)
        if said.setdefault(board, name) != name:
            continue  # one QEMU serves all of them
        row = combination_of("xen", device)
        assert row is not None
        if hypervisor.qemu is None:
            image = hypervisor.qemu_image
            names = f"names '{image}' without its `qemu_version`" if image else "names none"
            message = f"device '{name}' needs a QEMU built with Xen in dom0, board '{board}' {names}"
            hint = (
                "Debian's QEMU for arm64 has no Xen: write `qemu_image: vtool:qemu-xenpvh` at the hypervisor, or "
                "`qemu_version` of your own"
            )
            yield context.find("VT382", message, ("devices", name, "program"), hints=(hint,))
        elif hypervisor.qemu < row.since:
            since, has = (".".join(map(str, version)) for version in (row.since, hypervisor.qemu))
            message = f"device '{name}' needs QEMU {since}, board '{board}' has {has}"
            label = Label(context.span("boards", board, "hypervisor", "qemu_version"), "it is here")
            hint = "xenpvh has grants since then, and its first device in the first window, as xl's guests expect it"
            yield context.find("VT521", message, ("devices", name, "program"), labels=(label,), hints=(hint,))


@rule(
    "VT383",
    what="QEMU and another program serve virtio devices of one Xen guest",
    why="QEMU's xenpvh registers for all virtio-mmio windows of the guest, also for those it has no device in.",
    example="a disk by virtio-disk beside one by qemu-xenpvh",
    fix="Serve all virtio devices of the guest by qemu-xenpvh, or none.",
)
def qemu_stands_alone(context: Context) -> Iterator[Diagnostic]:
    """A guest whose virtio devices are in a QEMU has no others beside it."""
    for domain in context.topology.domains:
        mine = {name: device for name, device, _ in xen_virtio(context, domain)}
        first = next((name for name, device in mine.items() if device.program is Program.QEMU_XENPVH), None)
        if first is None:
            continue
        for name, device in mine.items():
            if device.program is Program.QEMU_XENPVH:
                continue
            message = (
                f"device '{name}' of '{domain}' is served by {_server(device)[0]}, "
                f"'{first}' by a QEMU that takes all of the guest's virtio-mmio windows for itself"
            )
            label = Label(context.span("devices", first, "program"), "QEMU's first device is here")
            hint = "serve all virtio devices of a guest by qemu-xenpvh, or none"
            yield context.find("VT383", message, ("devices", name, "program"), labels=(label,), hints=(hint,))


@rule(
    "VT384",
    what="a program cannot serve two guests of a board",
    why="It looks for its devices in xenstore by itself and would take, or break, those of another guest.",
    example="two guests with disks by virtio-disk",
    fix="Use it for one guest, and qemu-xenpvh for the others.",
)
def programs_know_their_guest(context: Context) -> Iterator[Diagnostic]:
    """A program that cannot be told its guest serves one guest of a board."""
    found: dict[tuple[str, str], tuple[str, str, tuple[str, str]]] = {}
    for name, device, _ in xen_virtio(context):
        # What stands in xl's `virtio` list concerns all that look there, disks only their own.
        row, board = combination_of("xen", device), context.board_of[device.frontend]
        place = "virtio" if row is not None and row.xl_type else "disk"
        other, guest, server = found.setdefault((board, place), (name, device.frontend, _server(device)))
        which, why = _server(device) if _server(device)[1] else server
        if guest != device.frontend and why:
            message = f"{which} cannot serve '{guest}' or '{device.frontend}' beside the other: {why}"
            label = Label(context.span("devices", other, "program"), f"device '{other}' of '{guest}' is here")
            hint = "one guest of a board can have it; qemu-xenpvh alone serves any number"
            yield context.find("VT384", message, ("devices", name, "program"), labels=(label,), hints=(hint,))


@rule(
    "VT386",
    what="daemons behind one xen-vhost-frontend have different data paths",
    why="It is told once, for all of its devices, whether it maps what is granted or all of the guest.",
    example="an i2c device with data_path: grant beside a gpio device with shared-ram",
    fix="Use one data path for all of them.",
)
def frontend_maps_one_way(context: Context) -> Iterator[Diagnostic]:
    """Xen-vhost-frontend maps grants or all of the guest, for all of its devices."""
    for domain in context.topology.domains:
        mine = {n: d for n, d, _ in xen_virtio(context, domain) if xen_vhost_frontend.stands_before(d.program)}
        for name, device in mine.items():
            first = next(iter(mine))
            if device.data_path is not mine[first].data_path:
                message = (
                    f"device '{name}' has the data path '{device.data_path.value}', '{first}' of the same guest "
                    f"'{mine[first].data_path.value}': xen-vhost-frontend has one for all"
                )
                label = Label(context.span("devices", first, "data_path"), "the first is here")
                yield context.find("VT386", message, ("devices", name, "data_path"), labels=(label,))


@rule(
    "VT385",
    what="a virtio device of a Xen guest is not served by dom0",
    why="Xen lets only a control domain register for a guest's accesses and map its memory (xen/include/xsm/dummy.h).",
    example="backend: be0, a guest, with data_path: grant",
    fix="Let dom0 serve it, or use a PV device.",
)
def backends_may_map(context: Context) -> Iterator[Diagnostic]:
    """A virtio device is served in dom0, which alone may be a guest's device model."""
    for name, device, _ in xen_virtio(context):
        if not context.by_a_guest(device):
            continue
        message = (
            f"device '{name}' is served by '{device.backend}'; Xen lets only dom0 register for a guest's virtio-mmio "
            "accesses and map its memory"
        )
        hint = "dm_op and foreign mappings take a control domain; a PV device (data_path: pv) needs neither"
        yield context.find("VT385", message, ("devices", name, "backend"), hints=(hint,))


@rule(
    "VT391",
    what="a directly mapped guest has virtio devices",
    why="Its memory and interrupts are where the board's are, and QEMU's xenpvh has Xen's own layout.",
    example="direct_map: true, for a guest with a disk by data_path: pool",
    fix="Leave direct_map out.",
)
def windows_are_there(context: Context) -> Iterator[Diagnostic]:
    """A guest with virtio devices has Xen's layout, not the board's."""
    for domain, declared in context.topology.domains.items():
        first = next((name for name, _, _ in xen_virtio(context, domain)), None)
        if first is not None and declared.xen is not None and declared.xen.direct_map:
            message = f"'{domain}' is mapped directly, but QEMU has '{first}' and the RAM as Xen's own layout has"
            label = Label(context.span("devices", first, key=True), "the device is here")
            yield context.find("VT391", message, ("domains", domain, "xen", "direct_map"), labels=(label,))
