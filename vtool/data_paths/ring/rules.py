"""Rules on rings: where their two ends can be, whose the region is, what is behind a disk.

That under KVM the region has to be a BAR is VT346's, that under Xen it is shared at boot VT373's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from vtool.base.units import KIB, format_size
from vtool.check.context import Context
from vtool.check.free import free_network
from vtool.data_paths.ring import TRAITS
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.devices import Device
from vtool.model.places import disk_names
from vtool.model.topology import Region, RegionUse, Role, Start, Xen

LEAST_REGION = 20 * KIB
"""Three pages and two rings of 4 KiB (docs/reference/ring-format.md)."""
_VIRTIO_DISK = re.compile(r"^/dev/vd[a-z]$")


def _rings(context: Context) -> Iterator[tuple[str, Device]]:
    """Yield the rings whose combination exists."""
    for name, device in context.sound_devices():
        hypervisor = context.hypervisor_of(device.frontend)
        if hypervisor is None or device.data_path.traits is not TRAITS or device.frontend == device.backend:
            continue  # VT305
        if combination_of(hypervisor.kind, device) is not None:
            yield name, device


@rule("VT351")
def ends_can_meet(context: Context) -> Iterator[Diagnostic]:
    """The two ends of a ring are where both map the region alike, and vtool can start them."""
    for name, device in _rings(context):
        if context.topology.domains[device.frontend].role is Role.CONTROL:
            continue  # VT306
        why, hint = _why_not_there(context, device)
        if why:
            path = ("devices", name, "backend")
            yield context.find("VT351", f"device '{name}': {why}", path, hints=(hint,))


def _why_not_there(context: Context, device: Device) -> tuple[str, str]:
    """Return why a ring cannot be between its two ends and what to do; nothing where it can."""
    by_a_guest = context.by_a_guest(device)
    if not isinstance(context.hypervisor_of(device.frontend), Xen):
        why = (
            f"a ring between the host '{device.backend}' and a guest cannot be relied on: the guest maps the region as "
            "a device's memory, past its cache, the host as a file, through its own; what one writes the other need "
            "not see"
        )
        hint = "let another guest serve it; or let the host serve a virtio device, by a pool"
        return ("", "") if by_a_guest else (why, hint)
    if by_a_guest:
        why = f"under Xen dom0 serves a ring; nothing starts an end that serves in the guest '{device.backend}'"
        return why, "serve it from dom0, whose program and disks come with the generation"
    if context.topology.domains[device.frontend].start is not Start.DOM0LESS:
        why = f"xl shares no region with dom0, and '{device.frontend}' is started by xl"
        return why, "`start: dom0less` makes Xen start it"
    return "", ""


@rule(
    "VT351",
    what="a ring cannot connect these ends, or not through this region",
    why="Both ends have to map the region alike, and nothing else may use it: it holds the data.",
    example="data_path: ring, with the host as backend of a KVM guest",
    fix=(
        "Put it between two guests under KVM, or between a dom0less guest and dom0 under Xen, with a region of its own."
    ),
)
def regions_are_the_rings_own(context: Context) -> Iterator[Diagnostic]:
    """A ring has a region of shared memory that its two ends have, and nobody and nothing else."""
    users: dict[str, str] = {}
    for name, device in context.topology.devices.items():
        if device.region is not None:
            users.setdefault(device.region, name)
    for name, device in _rings(context):
        path = ("devices", name, "region")
        if device.region is None:
            yield context.find("VT351", f"device '{name}' needs a `region` for its ring", ("devices", name), key=True)
            continue
        region = context.topology.regions.get(device.region)
        if region is None:
            continue  # VT301
        label = (Label(context.span("regions", device.region, key=True), f"'{device.region}' is here"),)
        wrong = _wrong_region(device, region, is_a_bar=context.is_a_bar(device.region))
        if wrong:
            yield context.find("VT351", f"region '{device.region}' of ring '{name}' {wrong}", path, labels=label)
        if users[device.region] != name:
            other = users[device.region]
            message = f"region '{device.region}' has the ring '{name}' and device '{other}': a ring needs it alone"
            yield context.find("VT351", message, path, labels=label, hints=("declare a region for each ring",))


def _wrong_region(device: Device, region: Region, *, is_a_bar: bool) -> str:
    if region.use is not RegionUse.SHARED_MEMORY:
        return f"is for {region.use.value}, a ring is in shared-memory"
    members = {*((region.owner,) if region.owner else ()), *region.borrowers}
    if members != {device.frontend, device.backend}:
        return f"is not shared between '{device.frontend}' and '{device.backend}' alone"
    if region.size < LEAST_REGION and not is_a_bar:  # else VT346
        return f"has {format_size(region.size)}, less than the {format_size(LEAST_REGION)} of the smallest rings"
    return ""


@rule("VT393")
def exported_devices_exist(context: Context) -> Iterator[Diagnostic]:
    """What a guest exports through a ring is a virtio disk that it has."""
    for name, device in _rings(context):
        if device.type != "blk" or not context.by_a_guest(device) or device.backend_device is None:
            continue
        names = disk_names(device.backend, context.lookup.devices_of[device.backend].values())
        disks = sum(name.startswith("/dev/vd") for name in names)
        if _VIRTIO_DISK.match(device.backend_device) and device.backend_device not in names:
            message = f"'{device.backend}' has no {device.backend_device}: it has {disks} virtio disk(s), from vda on"
            yield context.find("VT393", message, ("devices", name, "backend_device"))


@rule(
    "VT333",
    what="two bridges have overlapping networks",
    why="The backend would not know through which bridge a frontend is reached.",
    example="192.0.2.1/24 on xenbr0 and 192.0.2.129/25 on xenbr1",
    fix="Give each bridge a network of its own, or use one bridge for both.",
)
def links_are_apart(context: Context) -> Iterator[Diagnostic]:
    """The links of a domain have networks that do not overlap; each is an interface of its own."""
    seen: dict[str, list[tuple[str, ipaddress.IPv4Network]]] = {}
    for name, device in context.topology.devices.items():
        if device.type != "net":
            continue
        for domain, key in ((device.frontend, "frontend_address"), (device.backend, "backend_address")):
            network = _network(getattr(device.network, key))
            if network is None:
                continue
            for other, taken in seen.setdefault(domain, []):
                rings = device.data_path.traits is TRAITS or context.topology.devices[other].data_path.traits is TRAITS
                if rings and network.overlaps(taken):
                    message = f"'{domain}' has overlapping networks at '{other}' and '{name}', {taken} and {network}"
                    label = Label(context.span("devices", other, "network"), "the other is here")
                    path = ("devices", name, "network", key)
                    hint = f"a ring is a network alone; {free_network(context, device)}"
                    yield context.find("VT333", message, path, labels=(label,), hints=(hint,))
            seen[domain].append((name, network))


def _network(text: str) -> ipaddress.IPv4Network | None:
    """Return the network of an address; None where VT331 or VT340 says what is wrong with it."""
    try:
        return ipaddress.IPv4Interface(text).network if "/" in text else None
    except ValueError:
        return None
