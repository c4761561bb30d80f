"""Rules on kernels: a kernel has what its domain's role and devices' data paths need."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.check.roots import of_root
from vtool.diagnostics import Diagnostic, Severity
from vtool.diagnostics.codes import rule
from vtool.files.kinds import PACKERS, Kind
from vtool.model.combinations import combination_of
from vtool.model.devices import NetworkDevice
from vtool.model.topology import Role

XEN_FRONTEND = ("XEN", "HVC_XEN")
KVM_HOST = ("KVM",)
VFIO = ("VFIO", "VFIO_PCI")
XEN_DOM0 = ("XEN", "XEN_DOM0", "XENFS", "XEN_COMPAT_XENFS", "XEN_GNTDEV", "XEN_DEV_EVTCHN")
XEN_VIRTIO_BACKEND = ("XEN_PRIVCMD",)
DRIVER_DOMAIN = ("XEN_BACKEND", "XEN_PRIVCMD", "XENFS")
"""What `xl devd` and the backends need in a guest (Linux drivers/xen/Kconfig); dom0 has them with XEN_DOM0."""


@rule(
    "VT425",
    what="how a kernel was built is not known (warning)",
    why="What a domain's devices need of its kernel is read from the image, and this one does not carry it.",
    example="a kernel file built without CONFIG_IKCONFIG",
    fix="Build it with CONFIG_IKCONFIG, or make sure of the options that the message names.",
)
@rule(
    "VT510",
    what="a kernel is built without an option that is needed (a warning for what is only rendered)",
    why="The guest would boot and silently bypass the data path.",
    example="a Debian kernel, which has no DMA_RESTRICTED_POOL",
    fix="Build it with the option, or use vtool:linux.",
)
@rule(
    "VT511",
    what="a kernel has an option only as a module (warning)",
    why="The device is not there until something loads the module.",
    example="CONFIG_VIRTIO_BLK=m",
    fix="Put the module into the ramdisk.",
)
def kernels_have_their_options(context: Context) -> Iterator[Diagnostic]:
    """An option that is missing is an error, one that is a module or not known a warning.

    What is only rendered cannot be deployed with a wrong kernel, so there both are warnings.
    """
    for name, domain in context.topology.domains.items():
        kernel = None if domain.boots_itself else context.kernels.get(domain.kernel)
        path = ("domains", name, "kernel") if "kernel" in domain.model_fields_set else ("domains", name)
        if kernel is None:
            yield from _unchecked(context, name, path)
            continue
        for option, (why, deployed) in needed_options(context, name).items():
            value = kernel.options.get(option)
            message = f"the kernel of '{name}' ({kernel.source}) is built without CONFIG_{option}, needed {why}"
            if value == "m" and option in of_root(context, name):
                continue  # VT530
            if value == "m":
                message = f"the kernel of '{name}' ({kernel.source}) has CONFIG_{option} as a module, needed {why}"
                control = context.topology.domains[name].role is Role.CONTROL
                hint = "its ramdisk must carry and load the module"
                if control:
                    hint = "the module must lie in /lib/modules of the board, or its ramdisk carry and load it"
                yield context.find("VT511", message, path, key=True, hints=(hint,), severity=Severity.WARNING)
            elif value != "y":
                hint = "build it with the option"
                if kernel.source.startswith("vtool:"):
                    hint = "name a kernel of your own that was built with it"
                elif deployed:
                    hint += ", or use `kernel: vtool:linux`"
                severity = Severity.ERROR if deployed else Severity.WARNING
                yield context.find("VT510", message, path, key=True, hints=(hint,), severity=severity)


def _unchecked(context: Context, name: str, path: tuple[str, ...]) -> Iterator[Diagnostic]:
    needed, file = needed_options(context, name), context.kernel_file(name)
    if not needed or file is None or file.options is not None:
        return
    if not file.is_linux and (context.topology.domains[name].role is Role.GUEST or file.kind is Kind.PROGRAM):
        return  # it has no options of Linux's
    options = ", ".join(f"CONFIG_{option}" for option in needed)
    message = f"the kernel of '{name}' does not say how it was built: whether it has {options} was not checked"
    hint = "a kernel built with CONFIG_IKCONFIG says it"
    yield context.find("VT425", message, path, key=True, hints=(hint,), severity=Severity.WARNING)


@rule(
    "VT426",
    what="a ramdisk is in no format that Linux unpacks (warning)",
    why="Linux looks for a cpio archive, compressed or not, and goes on without a ramdisk when it finds none.",
    example="a ramdisk that begins with zeros",
    fix="Name the right file; make one with cpio -o -H newc.",
)
def ramdisks_are_unpacked(context: Context) -> Iterator[Diagnostic]:
    """A ramdisk is something that Linux unpacks."""
    for name in context.topology.domains:
        ramdisk = context.ramdisk_file(name)
        if ramdisk is not None and ramdisk.kind is Kind.UNKNOWN:
            message = f"the ramdisk of '{name}' is {ramdisk.what.words}: Linux unpacks cpio archives (newc)"
            path = ("domains", name, "ramdisk")
            yield context.find("VT426", message, path, severity=Severity.WARNING)


def needed_options(context: Context, name: str) -> dict[str, tuple[str, bool]]:
    """Return the options a domain's kernel needs, each with its reason and whether that is deployed."""
    hypervisor = context.hypervisor_of(name)
    if hypervisor is None:
        return {}
    needed: dict[str, tuple[str, bool]] = {}

    def add(options: tuple[str, ...], why: str, *, deployed: bool = True) -> None:
        for option in options:
            if option not in needed or (deployed and not needed[option][1]):
                needed[option] = (why, deployed)

    add(_to_unpack(context, name), "for its ramdisk")
    control = context.topology.domains[name].role is Role.CONTROL
    if control:
        board = context.board_of[name]
        gives_pci = any(guest.pci for _, guest in context.domains_on(board))
        of_control = of_control_domain(hypervisor.kind, _watchdog_driver(context, board), gives_pci=gives_pci)
        needed |= {option: (why, True) for option, why in of_control.items() if option not in needed}
        huge = any(guest.under_kvm.hugepages for _, guest in context.domains_on(board))
        add(("HUGETLBFS",) if huge else (), "for huge pages of guests")
    elif hypervisor.kind == "xen":
        add(XEN_FRONTEND, "by a Xen guest")
    for device_name, device in context.sound_devices(name):
        why = f"by device '{device_name}'"
        row = combination_of(hypervisor.kind, device)
        ends = row.service.ends if row is not None and row.service else None
        if ends and name in (device.frontend, device.backend):
            add((ends[name == device.backend],), why)
        if hypervisor.kind == "xen" and name == device.backend and not control:
            add(DRIVER_DOMAIN, f"{why}, which '{name}' serves", deployed=False)
            add(("BRIDGE",) if device.type == "net" else (), f"{why}, which '{name}' serves", deployed=False)
        if row is not None and device.data_path.traits.carries_data and device.backend == name:
            add(tuple(option for option in row.kernel if option != "BLK_DEV_NBD"), f"{why}, which '{name}' serves")
        elif row is not None and hypervisor.kind == "xen" and device.backend == name and not ends:
            add(XEN_VIRTIO_BACKEND, why, deployed=row.deployed)
        if row is not None and device.frontend == name:
            add(row.kernel, f"{why} with the data path '{device.data_path.value}'", deployed=row.deployed)
            add(device.driver_options(), why, deployed=row.deployed)
        if control and isinstance(device, NetworkDevice) and device.network.direct:
            add(("MACVTAP",), why)
    for region_name, region in context.lookup.regions_of[name].items():
        if region.reusable and region.owner == name:
            add(("DMA_CMA",), f"by region '{region_name}'", deployed=False)
    return needed


def _to_unpack(context: Context, name: str) -> tuple[str, ...]:
    """Return what makes of a domain's ramdisk a root file system."""
    ramdisk = context.ramdisk_file(name)
    if ramdisk is None:
        return ()
    packer = PACKERS.get(ramdisk.what.packer or "")
    disk = ("BLK_DEV_RAM",) if ramdisk.kind is Kind.FILE_SYSTEM else ()
    return ("BLK_DEV_INITRD", *disk, *((packer.option,) if packer else ()))


def of_control_domain(hypervisor: str, watchdog_driver: str | None, *, gives_pci: bool) -> dict[str, str]:
    """Return the options that a control domain's kernel needs, each with its reason; of guests, that they get PCI."""
    needed = dict.fromkeys(KVM_HOST if hypervisor == "kvm" else XEN_DOM0, f"by the control domain of {hypervisor}")
    needed |= dict.fromkeys(VFIO if gives_pci else (), "for PCI devices that guests get")
    return needed | ({watchdog_driver: "to take over the board's watchdog"} if watchdog_driver else {})


def _watchdog_driver(context: Context, board: str) -> str | None:
    """Return the driver that must pet what the loader starts, or else the board is reset while it runs."""
    loaded = context.facts.get(board)
    watchdog = loaded.facts.watchdog if loaded else None
    return watchdog.kernel_option if watchdog and context.topology.boards[board].watchdog else None
