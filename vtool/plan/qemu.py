"""QEMU's options for the devices of a guest, and the daemons' command lines.

Names come from the table of combinations; what is written here is how the pieces refer to each other.
Nothing is quoted: a renderer does that. Sources: QEMU docs/system, the daemons' own help.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import assert_never

from vtool.base.records import record
from vtool.data_paths.facts import Transport
from vtool.model.combinations import Combination, Version
from vtool.model.devices import Device, IommuModel, Program, VhostUserDevice, is_ring
from vtool.model.devices.base import LOCAL_FD, DaemonPlace
from vtool.model.grants import GRANTED_REQUESTS
from vtool.plan import types as plan
from vtool.platform.qemu_releases import RECONNECT

Pairs = tuple[tuple[str, str], ...]
Lines = tuple[tuple[str, ...] | plan.QemuOption, ...]
Options = tuple[plan.QemuOption, ...]
_OF_QEMU = (Program.QEMU, Program.QEMU_XENPVH)
# Of all requests that are granted at once, these keep a disk below a domain's default of grants (vtool.model.grants).
_GRANTED: Mapping[str, Pairs] = {
    "blk": (("queue-size", str(GRANTED_REQUESTS)),),
    "scsi": (("virtqueue_size", str(GRANTED_REQUESTS)),),
}


@record
class Wiring:
    """One device and what was decided around it; texts are empty where the device has no such thing.

    ``listen`` is the socket's path as the daemon wants it, ``connect`` where it then is.
    """

    name: str
    device: Device
    row: Combination
    qemu: Version
    folder: str = ""
    listen: str = ""
    connect: str = ""
    share: str = ""
    mac: str = ""
    tap: str = ""
    port: str = ""
    disks: tuple[plan.FileDisk, ...] = ()
    region_file: plan.RegionFile | None = None


@record
class _Parts:
    """Options before a device's own, key-value pairs of its own, and options after it."""

    before: Options = ()
    own: Pairs = ()
    after: Options = ()


def device_options(wiring: Wiring, place: plan.MmioPlace | plan.PciPlace | None) -> Options:
    """Return what makes one device, in QEMU's order; without ``place`` it takes the next free one."""
    device, name = wiring.device, wiring.name
    if device.type == "iommu" and device.iommu.model is IommuModel.SMMUV3:
        return ()  # a property of the machine
    where: Pairs = ()
    if place is not None:
        where = (("bus", "pcie.0"), ("addr", f"{place.slot:#x}"))
        if isinstance(place, plan.MmioPlace):
            where = (("bus", f"virtio-mmio-bus.{place.slot}"),)
    platform: Pairs = (("iommu_platform", "on"),) if device.data_path.traits.platform else ()
    if device.data_path.traits.grants:
        platform += _GRANTED.get(device.type, ())
    if platform and device.transport is Transport.PCI:
        platform += (("disable-legacy", "on"),)
    in_vmm = device.program in _OF_QEMU or is_ring(device)
    parts = _in_vmm(wiring) if in_vmm else _behind_daemon(wiring)
    pairs = (("id", f"device-{name}"), *parts.own, *platform, *where)
    return (*parts.before, plan.QemuOption("-device", wiring.row.qemu_device, pairs), *parts.after)


def _behind_daemon(wiring: Wiring) -> _Parts:
    name, device = wiring.name, wiring.device
    again = RECONNECT.for_release(wiring.qemu) if wiring.row.reconnects else ()
    identity = f"backend-{name}"
    connection = plan.QemuOption("-chardev", "socket", (("id", identity), ("path", wiring.connect), *again))
    chardev = ("chardev", identity)
    if isinstance(device, VhostUserDevice):
        return _Parts((connection,), (chardev, *device.config))
    match device.type:
        case "net":
            net = plan.QemuOption("-netdev", "vhost-user", (("id", f"net-{name}"), chardev))
            return _Parts((connection, net), _interface(wiring))
        case "blk":
            return _Parts((connection,), (chardev, ("num-queues", "1")))
        case "fs":
            return _Parts((connection,), (chardev, ("tag", name)))
        case "iommu" | "balloon" | "ivshmem":
            raise AssertionError(f"no daemon serves a device of type {device.type}")
        case _ as never:
            assert_never(never)


def _in_vmm(wiring: Wiring) -> _Parts:
    # Of a ring QEMU has the region alone.
    return (_ivshmem if is_ring(wiring.device) else _IN_VMM[wiring.device.type])(wiring)


def _block(wiring: Wiring) -> _Parts:
    node = f"disk-{wiring.name}"
    return _Parts(_block_nodes(node, wiring.disks[0]), (("drive", node),))


def _scsi(wiring: Wiring) -> _Parts:
    before: list[plan.QemuOption] = []
    after: list[plan.QemuOption] = []
    for lun, disk in enumerate(wiring.disks):
        node = f"disk-{wiring.name}.{lun}"
        before += _block_nodes(node, disk)
        pairs = (("bus", f"device-{wiring.name}.0"), ("lun", str(lun)), ("drive", node))
        after.append(plan.QemuOption("-device", "scsi-hd", pairs))
    return _Parts(tuple(before), (), tuple(after))


def _block_nodes(node: str, disk: plan.FileDisk) -> Options:
    file = (("driver", "file"), ("node-name", f"file-{node}"), ("filename", disk.disk_path))
    raw = (("driver", "raw"), ("node-name", node), ("file", f"file-{node}"))
    return plan.QemuOption("-blockdev", "", file), plan.QemuOption("-blockdev", "", raw)


def _net(wiring: Wiring) -> _Parts:
    script = (("script", "no"), ("downscript", "no"), ("vhost", "off"))
    net = plan.QemuOption("-netdev", "tap", (("id", f"net-{wiring.name}"), ("ifname", wiring.tap), *script))
    return _Parts((net,), _interface(wiring))


def _interface(wiring: Wiring) -> Pairs:
    pairs: Pairs = (("netdev", f"net-{wiring.name}"), ("mac", wiring.mac))
    # Without an empty romfile, a machine that lacks the option ROMs does not start.
    return (*pairs, ("romfile", "")) if wiring.device.transport is Transport.PCI else pairs


def _rng(wiring: Wiring) -> _Parts:
    identity = f"random-{wiring.name}"
    source = plan.QemuOption("-object", "rng-random", (("id", identity), ("filename", "/dev/urandom")))
    return _Parts((source,), (("rng", identity),))


def _console(wiring: Wiring) -> _Parts:
    identity = f"port-{wiring.name}"
    socket = (("id", identity), ("path", wiring.port), ("server", "on"), ("wait", "off"))
    port = (("bus", f"device-{wiring.name}.0"), ("chardev", identity))
    return _Parts(
        (plan.QemuOption("-chardev", "socket", socket),), (), (plan.QemuOption("-device", "virtconsole", port),)
    )


def _input(wiring: Wiring) -> _Parts:
    return _Parts((), (("evdev", wiring.device.board_nodes()[0]),))


def _nothing_besides(_: Wiring) -> _Parts:
    return _Parts()


def _ivshmem(wiring: Wiring) -> _Parts:
    file, identity = wiring.region_file, f"region-{wiring.name}"
    assert file is not None
    pairs = (("id", identity), ("size", str(file.size_bytes)), ("share", "on"), ("mem-path", file.path))
    return _Parts((plan.QemuOption("-object", "memory-backend-file", pairs),), (("memdev", identity),))


_IN_VMM: Mapping[str, Callable[[Wiring], _Parts]] = {
    "blk": _block,
    "scsi": _scsi,
    "net": _net,
    "rng": _rng,
    "console": _console,
    "input": _input,
    "ivshmem": _ivshmem,
    "gpu": _nothing_besides,
    "balloon": _nothing_besides,
    "iommu": _nothing_besides,
}


# -- the daemons


def daemon_arguments(wiring: Wiring) -> Lines:
    """Return a daemon's arguments, grouped into lines."""
    device = wiring.device
    if isinstance(device, VhostUserDevice):
        return device.daemon_arguments(DaemonPlace(wiring.listen, wiring.folder, _paths(wiring)))
    return _DAEMONS[device.program](wiring)


def _paths(wiring: Wiring) -> tuple[str, ...]:
    return tuple(disk.disk_path for disk in wiring.disks)


def _storage_daemon(wiring: Wiring) -> Lines:
    export = (
        ("type", "vhost-user-blk"),
        ("id", wiring.name),
        ("node-name", "disk"),
        ("addr.type", "unix"),
        ("addr.path", wiring.listen),
        ("writable", "on"),
        ("num-queues", "1"),
    )
    file = (("driver", "file"), ("node-name", "file"), ("filename", wiring.disks[0].disk_path))
    return (
        ("--daemonize",),
        ("--pidfile", f"{wiring.folder}/qsd.pid"),
        plan.QemuOption("--blockdev", "", file),
        plan.QemuOption("--blockdev", "", (("driver", "raw"), ("node-name", "disk"), ("file", "file"))),
        plan.QemuOption("--export", "", export),
    )


def _virtiofsd(wiring: Wiring) -> Lines:
    assert wiring.device.type == "fs"
    # The unit shuts it in, so it needs no namespaces of its own, and sets the limit on open files.
    own: Lines = (("--sandbox", "none"), ("--seccomp", "kill"), ("--rlimit-nofile", "0"), ("--cache", "auto"))
    # 1.14 tries them at its start, and the unit's filter of system calls kills it then; no other release needs them.
    own = (*own, ("--inode-file-handles=never",))
    read_only: Lines = (("--readonly",),) if wiring.device.share.read_only else ()
    # Under KVM, QEMU has the tag; elsewhere the daemon answers for it.
    tag: Lines = () if wiring.row.qemu_device else (("--tag", wiring.name),)
    return (("--shared-dir", wiring.share), ("--fd", LOCAL_FD), *own, *read_only, *tag)


def _passt(wiring: Wiring) -> Lines:
    assert wiring.device.type == "net"
    network = wiring.device.network
    ports: Lines = (("-t", ",".join(network.forward_tcp)),) if network.forward_tcp else ()
    addresses: Lines = ()
    if network.frontend_address:
        frontend, backend = (ipaddress.IPv4Interface(a) for a in (network.frontend_address, network.backend_address))
        addresses = (
            ("--ipv4-only", "--address", str(frontend.ip), "--netmask", str(frontend.netmask)),
            ("--gateway", str(backend.ip), "--map-host-loopback", str(backend.ip)),
        )
    return (("--foreground",), ("--vhost-user",), ("--socket", wiring.listen), *addresses, *ports)


_DAEMONS: Mapping[Program, Callable[[Wiring], Lines]] = {
    Program.QEMU_STORAGE_DAEMON: _storage_daemon,
    Program.VIRTIOFSD: _virtiofsd,
    Program.PASST: _passt,
}
