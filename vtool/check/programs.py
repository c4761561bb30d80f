"""Rules on the programs that serve devices: their settings, what they take of the board, where they can be had."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import dotted
from vtool.check.context import Context
from vtool.check.free import free_claim
from vtool.check.kvm import kvm_devices
from vtool.data_paths.facts import Shares, Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import Suite, combination_of, installed, is_daemon
from vtool.model.devices import Program, daemon_of
from vtool.model.topology import Role, Vmm, Xen
from vtool.reading.source import KeyPath


@rule(
    "VT340",
    what="a device's settings do not fit its program",
    why="A setting that is missing cannot be guessed, one without effect would mislead.",
    example="a bridge for passt, which takes the board's own network",
    fix="Add or remove the setting that is named.",
)
def settings_fit_program(context: Context) -> Iterator[Diagnostic]:
    """A device has the settings that its program needs, and none that it does not know."""
    for name, device in context.topology.devices.items():
        for misfit in device.misfits(daemon_of(device.program), by_a_guest=context.by_a_guest(device)):
            path = ("devices", name, *misfit.place)
            message = f"'{name}' by {device.program.value} needs {misfit.needs}"
            if misfit.no_effect:
                message = f"`{path[-1]}` of '{name}' has no effect: {misfit.no_effect}"
            yield context.find("VT340", message, path, key=True, hints=(misfit.hint,) if misfit.hint else ())
        of_another = device.program is Program.VHOST_USER
        if of_another and device.socket is None:
            message = f"'{name}' by vhost-user needs `socket`: where the daemon listens that another tool starts"
            yield context.find("VT340", message, ("devices", name), key=True)
        elif device.socket is not None and not of_another:
            message = f"`socket` of '{name}' has no effect: {device.program.value} is started by vtool"
            hint = "a daemon of another tool's is `program: vhost-user`"
            yield context.find("VT340", message, ("devices", name, "socket"), key=True, hints=(hint,))


@rule(
    "VT344",
    what="something that the board has only once is given to two devices",
    why="Two guests would drive one chip, or listen on one address.",
    example="the same vsock cid in two devices",
    fix="Name another of the board's; of vsock addresses and TCP ports the hint has one that is free.",
)
def nothing_is_given_twice(context: Context) -> Iterator[Diagnostic]:
    """What a board has once is given to one device."""
    first: dict[tuple[str | None, str, int | str], tuple[str, KeyPath]] = {}
    for name, device in context.topology.devices.items():
        for claim in device.claims():
            place, board = ("devices", name, *claim.place), context.board_of.get(device.frontend)
            other, other_place = first.setdefault((board, claim.kind, claim.which), (name, place))
            if other_place != place:
                whom = f"device '{other}'" if other != name else "the same device"
                message = f"{claim.kind} {claim.which} of '{name}' is already that of {whom}"
                label = Label(context.span(*other_place), "the first is here")
                hints = free_claim(context, board, claim)
                yield context.find("VT344", message, place, labels=(label,), hints=hints)


@rule(
    "VT347",
    what="something is pinned to CPUs that are not available",
    why="The board or the guest's CPU pool does not have them, or there is nothing that could be pinned to them.",
    example="host_cpus: [4] on a board with 2",
    fix="Name CPUs of the board, and of the pool, for guests and for daemons.",
)
def pinned_cpus_exist(context: Context) -> Iterator[Diagnostic]:
    """CPUs that something is kept on are the board's, and of something that can be kept."""
    requests: list[tuple[str, KeyPath, tuple[int, ...], str | None, str]] = []
    for name, domain in context.topology.domains.items():
        why = None if domain.role is Role.GUEST else "only guests are pinned to CPUs"
        requests += [(name, ("domains", name, *key), cpus, why, name) for key, cpus in domain.pins.items()]
    for name, device in context.topology.devices.items():
        why = None if is_daemon(device.program) else f"{device.program.value} is not a daemon of its own"
        if isinstance(context.hypervisor_of(device.backend), Xen):
            why = "dom0's CPUs are virtual, and Xen moves them"
        requests.append((name, ("devices", name, "backend_cpus"), device.backend_cpus, why, device.backend))
    for name, path, cpus, why, domain_name in requests:
        if cpus and why is not None:
            yield context.find("VT347", f"`{path[2]}` of '{name}' has no effect: {why}", path, key=True)
            continue
        board = context.board_of.get(domain_name)
        for cpu in cpus:
            most = context.facts[board].facts.cpus if board and board in context.facts else cpu + 1
            if cpu >= most:
                message = f"CPU {cpu} for '{name}' is not one of board '{board}', which has 0 to {most - 1}"
                yield context.find("VT347", message, path)


@rule("VT521")
def qemu_has_the_device(context: Context) -> Iterator[Diagnostic]:
    """The board's QEMU has the device."""
    for name, device, hypervisor in kvm_devices(context):
        row = combination_of("kvm", device)
        assert row is not None
        if hypervisor.qemu < row.since:
            message = (
                f"device '{name}' is QEMU's '{row.qemu_device}', which is in QEMU {dotted(row.since)} and not in "
                f"{dotted(hypervisor.qemu)}"
            )
            board = context.board_of[device.frontend]
            label = Label(context.span("boards", board, "hypervisor"), "the board's QEMU comes from here")
            hint = "set `suite` or `qemu_version` of the hypervisor to what the board has"
            yield context.find("VT521", message, ("devices", name, "type"), labels=(label,), hints=(hint,))


@rule(
    "VT522",
    what="the board's Debian does not have a program",
    why="The package is missing there, or older than what is needed of it.",
    example="program: passt on bookworm, which has no --vhost-user",
    fix="Use a board with a newer suite, or another program.",
)
def programs_can_be_had(context: Context) -> Iterator[Diagnostic]:
    """The board's Debian has a program that can do what is asked."""
    for name, device, hypervisor in kvm_devices(context):
        daemon, program = daemon_of(device.program), installed(device.program)
        packages = program.packages if program else {}
        if packages and hypervisor.suite not in packages:
            since = next(suite.value for suite in Suite if suite in packages)
            why = daemon.not_older if daemon else "it has no such package"
            message = f"device '{name}' needs {device.program.value} of {since}, not of {hypervisor.suite.value}: {why}"
            yield context.find("VT522", message, ("devices", name, "program"))


@rule(
    "VT349",
    what="libvirt's XML cannot express a device",
    why="libvirt shares all memory with every daemon, cannot pin virtio-mmio slots, and wants ACPI for virtio-iommu.",
    example="data_path: pool with vmm: libvirt",
    fix="Use vmm: qemu, or shared-ram over PCI.",
)
def libvirt_can_say_it(context: Context) -> Iterator[Diagnostic]:
    """What libvirt runs can be written in its XML."""
    for name, device, hypervisor in kvm_devices(context):
        if hypervisor.vmm is not Vmm.LIBVIRT:
            continue
        path: tuple[str | int, ...] = ("devices", name, "data_path")
        why = None
        if device.data_path.traits.shares is Shares.POOL:
            why = "it refuses a domain in which one device's daemon must not see all of the memory"
        elif device.data_path.traits.shares is Shares.RAM_WITH_POOL:
            why = "a pool stands in a device tree that only the QEMU it starts itself could write"
        elif device.transport is Transport.MMIO:
            why = "it cannot pin a virtio-mmio slot, cannot set force-legacy, and names a disk there wrongly"
            path = ("devices", name, "transport")
        elif device.type == "iommu" and not device.of_machine():
            why = "it wants ACPI for virtio-iommu, vtool's guests have device trees; use `model: smmuv3`"
            path = ("devices", name, "type")
        elif device.queue_size is not None and device.root_kind() == "sd":
            why = "it has no word for the size of a SCSI host's queues"
            path = ("devices", name, "queue_size")
        if why is not None:
            yield context.find("VT349", f"libvirt cannot express device '{name}': {why}", path)
