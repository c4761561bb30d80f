"""Rules on driver domains: guests of Xen that serve PV devices to other guests of their board.

What goes on inside one (``xl devd``, bridges, mounts) is its own root file system's matter
(docs/explanation/data-paths.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from vtool.check.context import Context
from vtool.check.shares import Share, largest_first, listed
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.devices import Device, Program
from vtool.model.grants import (
    EVENT_CHANNELS,
    available_mappings,
    driver_domain_load,
    held_by,
    maptrack_frames_for,
)
from vtool.model.places import disk_names
from vtool.model.topology import DRIVER_DOMAIN_RAMDISK, OWN_RAMDISKS, Domain, Xen

_PV_DISK = re.compile(r"/dev/xvd[a-z](?=[0-9]*$)")
_NOT_A_DEVICE_MODEL = "only a control domain may emulate devices (dm_op) and map another guest's memory"


def why_not_served(context: Context, device: Device) -> str:
    """Return why a guest cannot serve a device, nothing where it can."""
    if not isinstance(context.hypervisor_of(device.backend), Xen):
        return "vhost-user passes files, which cannot leave the host"
    if device.transport is not Transport.XENBUS:
        return _NOT_A_DEVICE_MODEL
    if device.type == "fs":
        starter = "xl starts xen-9pfsd in dom0" if device.program is Program.XEN_9PFSD else "xl starts its QEMU in dom0"
        return f"{starter}, and `xl devd` starts no 9p"
    return ""


def _served(context: Context) -> Iterator[tuple[str, Device]]:
    """Yield the devices that a guest can serve and does."""
    for name, device in context.sound_devices():
        if not context.by_a_guest(device) or device.backend == device.frontend or combination_of("xen", device) is None:
            continue  # VT305, VT310
        if not why_not_served(context, device):
            yield name, device


@rule(
    "VT392",
    what="driver domains wait for each other",
    why="A frontend starts after its backend's domain, so a circle of them never starts.",
    example="a serves a disk to b, and b a network to a",
    fix="Let the control domain serve one of the devices.",
)
def driver_domains_start_first(context: Context) -> Iterator[Diagnostic]:
    """No domain has to be there before itself."""
    backends: dict[str, dict[str, str]] = {}
    for name, device in _served(context):
        way = _way(backends, device.backend, device.frontend)
        if way is None:
            backends.setdefault(device.frontend, {}).setdefault(device.backend, name)
            continue
        ring = " needs ".join(f"'{domain}'" for domain in (device.frontend, *way))
        message = f"device '{name}' closes a circle, in which nobody can start first: {ring}"
        labels = tuple(
            Label(context.span("devices", backends[one][other], "backend"), f"'{one}' needs '{other}' here")
            for one, other in pairwise(way)
        )
        yield context.find("VT392", message, ("devices", name, "backend"), labels=labels)


def _way(backends: dict[str, dict[str, str]], start: str, end: str) -> tuple[str, ...] | None:
    """Return the domains from one to the other, along who needs whom; None when there is no way."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    while ways:
        way = ways.pop()
        if way[-1] == end:
            return way
        for other in backends.get(way[-1], {}):
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return None


@rule(
    "VT393",
    what="a disk has nothing behind it that its backend can serve",
    why="The control domain serves files of its own, a driver domain block devices that it has.",
    example="backend: a guest with one PV disk, backend_device: /dev/xvdb",
    fix=(
        "Use disk with the control domain, backend_device with a guest that serves; give the latter the disk it is "
        "to serve."
    ),
)
def disks_are_behind_something(context: Context) -> Iterator[Diagnostic]:
    """Behind a disk is a file of the control domain, or a block device that its driver domain has."""
    for name, device in context.sound_devices():
        if device.type != "blk":
            continue
        path = ("devices", name)
        if not context.by_a_guest(device):
            if device.backend_device is not None:
                message = f"`backend_device` of '{name}' is for driver domains; '{device.backend}' serves a file"
                yield context.find("VT393", message, (*path, "backend_device"), key=True, hints=("use `disk`",))
            if device.disk is None and device.program is not Program.VHOST_USER:
                yield context.find("VT393", f"device '{name}' needs `disk`", path, key=True)
            continue
        if why_not_served(context, device) and not device.data_path.traits.carries_data:
            continue  # VT306
        if device.disk is not None:
            message = f"`disk` of '{name}' is a file of the control domain, but '{device.backend}' serves the device"
            hint = f"give '{device.backend}' a disk with that file, and serve it from there: "
            hint += "backend_device: /dev/vda" if device.data_path.traits.carries_data else "backend_device: /dev/xvda"
            yield context.find("VT393", message, (*path, "disk"), key=True, hints=(hint,))
        if device.backend_device is None and device.disk is None:
            message = f"device '{name}' needs `backend_device`: the block device of '{device.backend}' that it serves"
            yield context.find("VT393", message, path, key=True)
        elif device.backend_device is not None and (disk := _PV_DISK.match(device.backend_device)):
            names = disk_names(device.backend, context.lookup.devices_of[device.backend].values())
            disks = sum(name.startswith("/dev/xvd") for name in names)
            if not {disk[0], device.backend_device} & names.keys():
                message = f"'{device.backend}' has no {device.backend_device}: it has {disks} PV disk(s), from xvda on"
                yield context.find("VT393", message, (*path, "backend_device"))


@rule(
    "VT394",
    what="a driver domain cannot serve anything",
    why=(
        "The backends of xl's devices are set up by `xl devd` inside the driver domain, which vtool's ramdisk for "
        "frontends lacks."
    ),
    example="ramdisk: vtool:guest-initramfs in a domain that is a backend",
    fix="Use ramdisk: vtool:driver-domain, or a root file system with Xen's tools that starts `xl devd`.",
)
def driver_domains_can_serve(context: Context) -> Iterator[Diagnostic]:
    """A driver domain has a root file system of its own, with Xen's tools."""
    first: dict[str, str] = {}
    for name, device in _served(context):
        first.setdefault(device.backend, name)
    for domain, name in first.items():
        ramdisk = context.topology.domains[domain].ramdisk
        if ramdisk in OWN_RAMDISKS:
            message = f"'{domain}' serves device '{name}', but its ramdisk {ramdisk} has no `xl devd`"
            hint = (
                f"ramdisk: {DRIVER_DOMAIN_RAMDISK}; or boot it from a disk that runs `xl devd` before it says `ready`"
            )
            yield context.find("VT394", message, ("domains", domain, "ramdisk"), hints=(hint,))


@rule(
    "VT395",
    what="the command line of Xen forbids what a driver domain does",
    why="Grants and event channels between guests need the dummy security module, which allows them to all guests.",
    example="bootargs: xsm=silo with a guest as a backend",
    fix="Leave xsm= out; vtool writes xsm=dummy where it is needed.",
)
def security_module_allows_it(context: Context) -> Iterator[Diagnostic]:
    """The user's own words for Xen do not forbid what a driver domain does."""
    first: dict[str, tuple[str, Device]] = {}
    for name, device in _served(context):
        first.setdefault(context.board_of[device.backend], (name, device))
    for board, (name, device) in first.items():
        hypervisor = context.topology.boards[board].hypervisor
        words = hypervisor.bootargs.split() if isinstance(hypervisor, Xen) else []
        for word in words:
            if word.startswith("xsm=") and word != "xsm=dummy":
                why = "SILO forbids that" if word == "xsm=silo" else "vtool loads no policy that would allow it"
                message = f"`{word}`, but '{device.backend}' serves '{device.frontend}' (device '{name}'): {why}"
                path = ("boards", board, "hypervisor", "bootargs")
                hint = "leave it out: vtool writes xsm=dummy"
                yield context.find("VT395", message, path, hints=(hint,))


@rule(
    "VT396",
    what="a driver domain has no room for its frontends",
    why=(
        "It maps what they grant and has an event channel for each queue; without room, devices fail or hang under "
        "load."
    ),
    example="max_maptrack_frames: 0 in a domain that is a backend",
    fix="Raise or leave out the limit, or divide the frontends between two driver domains.",
)
def driver_domains_have_room(context: Context) -> Iterator[Diagnostic]:
    """A driver domain can map all that its frontends grant, and hear all of them."""
    served: dict[str, dict[str, Device]] = {}
    for device_name, device in _served(context):
        served.setdefault(device.backend, {})[device_name] = device
    domains = context.topology.domains
    for name, devices in served.items():
        own = [d for _, d in context.sound_devices(name) if d.frontend == name and d.transport is Transport.XENBUS]
        needed, channels = driver_domain_load(
            ((d, domains[d.frontend].cpus) for d in devices.values()), ((d, domains[name].cpus) for d in own)
        )
        frames = _maptrack_frames(domains[name])
        if needed > available_mappings(frames):
            limited = frames is not None
            path = ("domains", name, "xen", "max_maptrack_frames") if limited else ("domains", name)
            message = (
                f"'{name}' maps up to {needed} grants of the {len(devices)} devices that it serves, "
                f"its maptrack frames are for {available_mappings(frames)}"
            )
            shares = largest_first(
                Share(f"'{n}'", held_by(d, domains[d.frontend].cpus).mappings, ("devices", n), of_key=True)
                for n, d in devices.items()
            )
            label = Label(context.span(*shares[0].path, key=True), f"{shares[0].who} takes the largest share")
            hints = (
                f"they are {listed(shares, str)}",
                f"xen: {{max_maptrack_frames: {maptrack_frames_for(needed)}}}",
            )
            yield context.find("VT396", message, path, key=not limited, labels=(label,), hints=hints)
        if channels > EVENT_CHANNELS:
            message = (
                f"'{name}' and the devices that it serves take up to {channels} event channels of {EVENT_CHANNELS}"
            )
            hint = f"{channels - EVENT_CHANNELS} too many: fewer CPUs in the frontends make fewer queues; "
            hint += "or use a second driver domain"
            yield context.find("VT396", message, ("domains", name), key=True, hints=(hint,))


def _maptrack_frames(domain: Domain) -> int | None:
    return domain.xen.max_maptrack_frames if domain.xen else None
