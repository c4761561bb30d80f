"""Rules on devices: which combinations exist, which region they go through, what is behind them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from vtool.base.units import MIB, format_size
from vtool.check.context import Context
from vtool.data_paths.facts import Shares, Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import COMBINATIONS, Combination, combination_of, is_daemon, wish_of
from vtool.model.devices import NetworkDevice, Program, VerifyAccess, disks_of, is_ring
from vtool.model.topology import RegionUse
from vtool.platform.layouts import QEMU_VIRT_MMIO, QEMU_VIRT_PCI_COUNT, XEN_VIRTIO_MMIO, XENPVH_MMIO_COUNT
from vtool.reading.source import KeyPath

# Loopback, and what the kernel and systemd name real interfaces after (systemd.net-naming-scheme(7)).
_REAL_INTERFACE = re.compile(r"^(lo|(eth|wlan|wwan|usb|end|can)\d+|(en|wl|ww)([bcopsx]\S*|d\d+))$")


__all__ = ["COMBINATIONS", "Combination"]

_NEEDS_ACCESS_PLATFORM = "behind PCI, QEMU asks the daemon for VIRTIO_F_ACCESS_PLATFORM, which it does not offer"


def why_not(wish: Combination) -> str:  # noqa: PLR0911 - a return a reason reads best
    """Return the reason why a combination does not exist, or nothing where there is none to tell."""
    path, program = wish.data_path.traits, wish.program
    if path.carries_data != (program is Program.VTOOL_RING) or wish.transport is Transport.SHARED_MEMORY:
        return "a ring, vtool-ring and the transport shared-memory belong together, for disks and networks"
    if wish.hypervisor == "xen":
        pool = "of Xen's backends, only QEMU's xenpvh can serve through a region of its own"
        return pool if path.pooled else ""
    if path.grants or wish.transport is Transport.XENBUS:
        return "that needs Xen's grants"
    if path.shares is Shares.POOL and program is Program.QEMU:
        return "a backend inside QEMU reaches all of the guest, so a pool of its own would promise too much"
    daemon = is_daemon(program)
    if daemon and (path.translated or (path.pooled and wish.transport is Transport.PCI)):
        return _NEEDS_ACCESS_PLATFORM
    if daemon and path.pooled:
        return "nobody has seen this daemon work through a pool"
    return ""


MINIMUM_SCRATCH_DISK = 16 * MIB
XEN_DISKS = 26
"""One letter each, as the planner names them."""


@rule(
    "VT310",
    what="hypervisor, type, data path, transport and program do not go together",
    why="A guest would boot and its device would not work, or be less protected than the data path says.",
    example="data_path: pv under kvm",
    fix="Use one of the combinations in the hint.",
)
def combination_exists(context: Context) -> Iterator[Diagnostic]:
    """Hypervisor, device type, data path, transport and program go together."""
    for name, device in context.sound_devices():
        hypervisor = context.hypervisor_of(device.frontend)
        assert hypervisor is not None
        kind = hypervisor.kind
        if combination_of(kind, device) is not None:
            continue
        wish = wish_of(kind, device)
        possible = [str(c) for c in COMBINATIONS if (c.hypervisor, c.type) == (kind, device.type)]
        reason = why_not(wish)
        yield context.find(
            "VT310",
            f"device '{name}': a {device.type} device under {kind} cannot go {wish}"
            + (f" ({reason})" if reason else ""),
            ("devices", name, "data_path"),
            hints=(f"possible here: {'; '.join(possible) or 'nothing yet'}",),
            blames=[("devices", name, key) for key in ("data_path", "transport", "program")],
        )


@rule(
    "VT311",
    what="a device and its region do not fit",
    why="A pool belongs to the frontend, is lent to the backend, and is made for that use.",
    example="a pool that the backend does not borrow",
    fix="Correct owner, borrowers or use of the region.",
)
def pool_region_fits(context: Context) -> Iterator[Diagnostic]:
    """A pool device names a region of its frontend, lent to its backend, made for that use."""
    said: dict[tuple[str, str], str] = {}
    for name, device in context.sound_devices():
        path = ("devices", name, "region")
        hypervisor = context.hypervisor_of(device.frontend)
        if hypervisor is None or device.data_path.traits.at_both_ends:
            continue  # VT346 is on regions between guests, VT351 on those of rings
        if combination_of(hypervisor.kind, device) is None and why_not(wish_of(hypervisor.kind, device)):
            continue  # VT310 says that no region would help
        if not device.data_path.traits.pooled:
            if device.region is not None:
                message = f"device '{name}' names a region, but its data path '{device.data_path.value}' uses none"
                yield context.find("VT311", message, path)
            continue
        if device.region is None:
            message = f"device '{name}' has the data path '{device.data_path.value}' and needs a `region`"
            yield context.find("VT311", message, ("devices", name, "data_path"))
            continue
        region = context.topology.regions.get(device.region)
        if region is None:
            continue
        label = (Label(context.span("regions", device.region, key=True), f"'{device.region}' is here"),)
        first = said.setdefault((device.region, device.backend), name)
        if region.use is not RegionUse.RESTRICTED_DMA_POOL:
            message = f"region '{device.region}' is for {region.use.value}, a pool is restricted-dma-pool"
            yield context.find("VT311", message, path, labels=label)
        elif region.owner != device.frontend:
            message = (
                f"region '{device.region}' is owned by '{region.owner}', "
                f"not by the frontend '{device.frontend}' of device '{name}'"
            )
            hint = "the frontend's domain owns and pays for its pool"
            yield context.find("VT311", message, path, labels=label, hints=(hint,))
        elif first == name and device.backend not in region.borrowers:
            message = f"region '{device.region}' is not lent to '{device.backend}', the backend of '{name}'"
            hint = f"add `borrowers: [{', '.join((*region.borrowers, device.backend))}]` to the region"
            yield context.find("VT311", message, path, labels=label, hints=(hint,))


@rule(
    "VT320",
    what="a disk has an unusable size",
    why="Disks are whole sectors, and verify needs room when it may write.",
    example="size: 1000B",
    fix="Use a multiple of 512 bytes, at least 16MiB with verify: write.",
)
@rule(
    "VT321",
    what="two devices write to one file",
    why="Two writers destroy a disk.",
    example="file: disk0.img in two devices",
    fix="Give each its own file.",
)
def disks_are_sound(context: Context) -> Iterator[Diagnostic]:
    """Disks have a usable size, and no two devices write to one file."""
    first: dict[tuple[str | None, str], tuple[str, KeyPath]] = {}
    for name, device in context.topology.devices.items():
        for index, disk in enumerate(disks_of(device)):
            at = ("devices", name, *(("disk",) if device.type == "blk" else ("scsi", "disks", index)))
            if disk.size % 512:
                message = f"disk of '{name}': {disk.size} bytes is not a multiple of the 512-byte sector"
                yield context.find("VT320", message, (*at, "size"))
            elif disk.verify is VerifyAccess.WRITE and disk.size < MINIMUM_SCRATCH_DISK:
                message = (
                    f"disk of '{name}' is {format_size(disk.size)}; `verify: write` takes its last 8MiB "
                    f"and needs at least {format_size(MINIMUM_SCRATCH_DISK)}"
                )
                yield context.find("VT320", message, (*at, "size"))
            yield from _written_once(context, first, name, f"the file '{disk.file}'", (*at, "file"))
        if device.type == "blk" and device.backend_device is not None:
            what = f"{device.backend_device} of '{device.backend}'"
            yield from _written_once(context, first, name, what, ("devices", name, "backend_device"))


def _written_once(
    context: Context,
    first: dict[tuple[str | None, str], tuple[str, KeyPath]],
    name: str,
    what: str,
    at: KeyPath,
) -> Iterator[Diagnostic]:
    other, place = first.setdefault((context.board_of.get(context.topology.devices[name].backend), what), (name, at))
    if place != at:
        label = Label(context.span(*place), "the first is here")
        yield context.find("VT321", f"devices '{other}' and '{name}' both write to {what}", at, labels=(label,))


@rule(
    "VT330",
    what="a MAC address is multicast, zero or used twice",
    why="Frames would go to the wrong place.",
    example="mac: 01:16:3e:00:00:01",
    fix="Leave mac out and vtool makes one.",
)
@rule(
    "VT331",
    what="network addresses do not match",
    why="The two ends need different host addresses in one IPv4 network, and no two frontends may have the same.",
    example="192.0.2.2/24 and 198.51.100.1/24",
    fix="Use two addresses of one network, with its prefix (8 to 30).",
)
@rule(
    "VT332",
    what="a bridge gets two addresses",
    why="The backend's address is the bridge's.",
    example="two devices on xenbr0 with different backend_address",
    fix="Use the same address, or another bridge.",
)
def networks_are_sound(context: Context) -> Iterator[Diagnostic]:
    """MACs are unicast and unique, addresses too, and a bridge has one address."""
    macs: dict[str, str] = {}
    addresses: dict[tuple[str, str, str], str] = {}
    bridges: dict[tuple[str, str], tuple[str, str]] = {}
    for name, device in context.topology.devices.items():
        if device.type != "net":
            continue
        network, path = device.network, ("devices", name, "network")
        if network.mac is not None:
            if int(network.mac[:2], 16) & 1 or set(network.mac) <= set("0:"):
                kind = "multicast" if int(network.mac[:2], 16) & 1 else "zero"
                message = f"mac '{network.mac}' of '{name}' is a {kind} address"
                yield context.find("VT330", message, (*path, "mac"))
            if network.mac in macs:
                message = f"mac '{network.mac}' of '{name}' is also that of '{macs[network.mac]}'"
                label = Label(context.span("devices", macs[network.mac], "network", "mac"), "the other is here")
                yield context.find("VT330", message, (*path, "mac"), labels=(label,))
            macs.setdefault(network.mac, name)
        yield from _addresses_meet(context, name, device)
        if not network.bridge:
            continue
        key = (device.backend, network.bridge)
        taken = addresses.setdefault((*key, network.frontend_address.partition("/")[0]), name)
        if taken != name and network.frontend_address:
            message = f"'{network.frontend_address}' of '{name}' is also the address of '{taken}'"
            label = Label(context.span("devices", taken, "network", "frontend_address"), "the other is here")
            yield context.find("VT331", message, (*path, "frontend_address"), labels=(label,))
        if key in bridges and bridges[key][1] != network.backend_address:
            other = bridges[key][0]
            message = f"bridge '{network.bridge}' gets another address from '{name}' than from '{other}'"
            label = Label(context.span("devices", other, "network", "backend_address"), "the other is here")
            yield context.find("VT332", message, (*path, "backend_address"), labels=(label,))
        bridges.setdefault(key, (name, network.backend_address))


def _addresses_meet(context: Context, name: str, device: NetworkDevice) -> Iterator[Diagnostic]:
    path = ("devices", name, "network")
    ends: list[ipaddress.IPv4Interface] = []
    for end in ("frontend_address", "backend_address"):
        text = getattr(device.network, end)
        if not text:
            continue  # VT340 says that it is missing
        address = _interface(text)
        if address is None:
            message = f"{text!r} is not an IPv4 address with its network's prefix"
        elif not _is_a_hosts(address):
            message = (
                f"'{text}' cannot be a host's: a network's first or last address, special, or no prefix of 8 to 30"
            )
        else:
            ends.append(address)
            continue
        yield context.find("VT331", message, (*path, end), hints=("for example 192.0.2.1/24",))
    if len(ends) == 2 and (ends[0].network != ends[1].network or ends[0].ip == ends[1].ip):
        message = f"'{ends[0]}' of '{device.frontend}' and '{ends[1]}' of '{device.backend}' are in different networks"
        if ends[0].ip == ends[1].ip:
            message = (
                f"'{ends[0].ip}' is the address of both ends of '{name}', '{device.frontend}' and '{device.backend}'"
            )
        label = Label(context.span(*path, "backend_address"), "the other is here")
        yield context.find("VT331", message, (*path, "frontend_address"), labels=(label,))


def _interface(text: str) -> ipaddress.IPv4Interface | None:
    """Read ``192.0.2.1/24``; a mask in the prefix's place, which Python takes, is not what tools take."""
    if re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text) is None:
        return None
    try:
        return ipaddress.IPv4Interface(text)
    except ValueError:
        return None


def _is_a_hosts(address: ipaddress.IPv4Interface) -> bool:
    ip, network = address.ip, address.network
    special = ip.is_multicast or ip.is_loopback or ip.is_reserved or ip in ipaddress.IPv4Network("0.0.0.0/8")
    ends = (network.network_address, network.broadcast_address)
    return not special and 8 <= network.prefixlen <= 30 and ip not in ends


@rule("VT333")
def bridges_are_apart(context: Context) -> Iterator[Diagnostic]:
    """Two bridges of a domain have networks that do not overlap."""
    seen: dict[str, dict[str, tuple[str, ipaddress.IPv4Network]]] = {}
    for name, device in context.topology.devices.items():
        address = _interface(device.network.backend_address) if device.type == "net" else None
        if device.type != "net" or address is None:
            continue
        bridge = device.network.bridge
        if is_ring(device):
            continue  # a link of two ends
        bridges = seen.setdefault(device.backend, {})
        if bridge in bridges:
            continue
        for other_bridge, (other, network) in bridges.items():
            if network.overlaps(address.network):
                networks = f"{network} and {address.network}"
                message = f"bridges '{other_bridge}' and '{bridge}' have overlapping networks, {networks}"
                label = Label(context.span("devices", other, "network", "backend_address"), "the other is here")
                path = ("devices", name, "network", "backend_address")
                hint = "give each bridge a network of its own, or use one bridge for both"
                yield context.find("VT333", message, path, labels=(label,), hints=(hint,))
        bridges[bridge] = name, address.network


@rule(
    "VT428",
    what="a bridge has a network that the board itself is in",
    why="The board would send what is for the network behind its own interface to the bridge, and no longer answer.",
    example="backend_address: 10.0.2.2/24 on the emulated board, which is reached through 10.0.2.0/24",
    fix="Give the bridge and its guests a network of their own.",
)
def networks_are_not_the_boards(context: Context) -> Iterator[Diagnostic]:
    """A bridge or link of the board has no network that the board is in by itself, or else it is cut off."""
    said: set[tuple[str, str]] = set()
    for name, device in context.topology.devices.items():
        if not isinstance(device, NetworkDevice) or device.program is Program.PASST or context.by_a_guest(device):
            continue  # passt gives the board no address, and a driver domain makes its bridge itself
        board, bridge = context.board_of.get(device.backend, ""), device.network.bridge
        address = _interface(device.network.backend_address)
        if board not in context.facts or address is None or not _is_a_hosts(address):
            continue  # VT331 says it
        if (device.backend, bridge or name) in said:
            continue
        said.add((device.backend, bridge or name))
        loaded = context.facts[board]
        for index, network in enumerate(loaded.facts.networks):
            if address.network.overlaps(ipaddress.IPv4Network(network)):
                what = f"bridge '{bridge}'" if bridge else f"device '{name}'"
                message = f"{what} has the network {address.network}, but board '{board}' is reached by {network}"
                label = Label(loaded.document.span(("networks", index)), "so its facts say")
                hint = "give it a network of its own, such as 192.168.77.1/24 and 192.168.77.2/24"
                path = ("devices", name, "network", "backend_address")
                yield context.find("VT428", message, path, labels=(label,), hints=(hint,))


@rule(
    "VT334",
    what="a bridge has the name of an interface",
    why=(
        "vtool makes the bridge and takes it down; done to the interface that leads to the board, it would cut the "
        "board off."
    ),
    example="bridge: eth0",
    fix="Use another name, such as xenbr0.",
)
def bridges_are_new(context: Context) -> Iterator[Diagnostic]:
    """A bridge of the board is made by vtool, so its name is none that the board's own interfaces have."""
    for name, device in context.topology.devices.items():
        if context.by_a_guest(device):
            continue  # a driver domain makes its bridge itself
        if device.type == "net" and _REAL_INTERFACE.match(device.network.bridge):
            message = f"bridge '{device.network.bridge}' has the name of one of a board's own interfaces"
            hint = "vtool makes the bridge and removes it again; give it a name such as xenbr0"
            yield context.find("VT334", message, ("devices", name, "network", "bridge"), hints=(hint,))


NBD_DEVICES = 16
"""Linux drivers/block/nbd.c, nbds_max."""
_ON_PCI = (Transport.PCI, Transport.SHARED_MEMORY)


@rule(
    "VT312",
    what="more devices than the machine has slots for",
    why=(
        "QEMU's virt machine has 32 virtio-mmio slots and 30 PCI devices; a Xen guest one network interface and 26 "
        "disks."
    ),
    example="33 disks on one KVM guest",
    fix="Use fewer devices, or another domain.",
)
def devices_have_places(context: Context) -> Iterator[Diagnostic]:
    """No more devices than the machine has slots, drives or interfaces for."""
    for name in context.topology.domains:
        hypervisor = context.hypervisor_of(name)
        if hypervisor is None:
            continue
        mine = {n: d for n, d in context.lookup.devices_of[name].items() if d.frontend == name}
        virtio = [n for n, d in mine.items() if d.transport is Transport.MMIO]
        disks = [n for n, d in mine.items() if d.type == "blk" and d.program in (Program.BLKBACK, Program.VIRTIO_DISK)]
        interfaces = [n for n, d in mine.items() if d.type == "net" and not is_ring(d)]
        attached = [n for n, d in mine.items() if d.type == "blk" and is_ring(d)]
        both = list(context.lookup.devices_of[name])
        pci = [n for n in both if n in mine or context.topology.devices[n].data_path.traits.at_both_ends]
        pci = [n for n in pci if (d := context.topology.devices[n]).transport in _ON_PCI and d.type != "iommu"]
        limits = (
            [
                (virtio, QEMU_VIRT_MMIO.count, "one a virtio-mmio slot of QEMU's virt machine"),
                (pci, QEMU_VIRT_PCI_COUNT, "one a device number on the root bus of QEMU's virt machine"),
            ]
            if hypervisor.kind == "kvm"
            else [
                (disks, XEN_DISKS, "xvda to xvdz"),
                (virtio, XEN_VIRTIO_MMIO.count, "one a virtio-mmio interrupt of Xen's guests"),
                (
                    [n for n in virtio if mine[n].program is Program.QEMU_XENPVH],
                    XENPVH_MMIO_COUNT,
                    "one a virtio-mmio bus of QEMU's xenpvh machine",
                ),
                (interfaces, 1, "for now only a guest's first network interface would get its address"),
            ]
        )
        for devices, limit, why in (*limits, (attached, NBD_DEVICES, "nbd0 to nbd15 of its kernel")):
            for extra in devices[limit:]:
                kind = context.topology.devices[extra].type
                what = f"{limit} {kind} device{'s' if limit > 1 else ''}"
                message = f"device '{extra}' is too many: domain '{name}' can have {what}, {why}"
                yield context.find("VT312", message, ("devices", extra), key=True)


COMBINATIONS_EXIST = (combination_exists,)
