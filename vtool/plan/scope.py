"""What every part of the planner uses: one board's share of a topology, and small derivations."""

from __future__ import annotations

from collections.abc import Mapping

from vtool.base.units import MIB, AddressRange, align_up
from vtool.model.board_facts import BoardFacts
from vtool.model.devices import Device, Disk, DiskFormat, VerifyAccess
from vtool.model.devices.disk import SCRATCH_BYTES, SECTOR_BYTES
from vtool.model.host_requests import HostRequest, host_requests, modules_on
from vtool.model.load_windows import ramdisk_window
from vtool.model.lookup import Lookup
from vtool.model.topology import Board, Region, Role
from vtool.plan import types as plan
from vtool.reading.source import Document, KeyPath


def fixed_by_user(document: Document, place: KeyPath) -> plan.Origin:
    """Make the origin of a number that the user wrote at a place."""
    return plan.Origin(plan.OriginKind.FIXED, f"by the user at {document.span(place)}")


class BoardScope:
    """The part of a topology that concerns one board; lookups only."""

    def __init__(
        self,
        document: Document,
        lookup: Lookup,
        name: str,
        board: Board,
        facts: BoardFacts,
        lock: Mapping[str, int],
        image_bytes: Mapping[str, int],
    ) -> None:
        self.document = document
        self.name = name
        self.board = board
        self.facts = facts
        self._lock = lock
        self._image_bytes = image_bytes
        self._lookup = lookup
        self.domains = lookup.domains_on[name]
        self.regions = lookup.regions_on[name]
        self.event_channels = lookup.channels_on[name]
        self.devices = lookup.devices_on[name]
        self.control_name, self.control = next((n, d) for n, d in self.domains.items() if d.role is Role.CONTROL)
        self.guests = {n: d for n, d in self.domains.items() if d.role is Role.GUEST}

    def kept(self, what: str) -> int | None:
        """Return a number that the lock file keeps for this board, None when it has none."""
        return self._lock.get(f"{self.name}/{what}")

    def is_static_shared(self, region: Region) -> bool:
        """Whether Xen shares the region between domains at boot, rather than dom0 keeping it."""
        return self._lookup.is_static_shared(region)

    def ramdisk_window(self) -> AddressRange | None:
        """Return where the control domain's ramdisk is loaded, None where it has none or the loader need not know."""
        if self.control.ramdisk_named is None:
            return None
        return ramdisk_window(self.facts, modules_on(self._lookup, self.name))

    def host_requests(self) -> list[HostRequest]:
        """Return what the topology asks for of this board's RAM."""
        return list(host_requests(self._lookup, self.name, self.board, self.facts))

    def pools_of(self, owner: str) -> dict[str, Region]:
        """Return the pools one domain owns, in the order of their places."""
        return dict(self._lookup.pools_of(owner))

    def boot_modules_of(self, guest: str) -> tuple[str, ...]:
        """Return the keys of what is loaded for a guest that Xen builds."""
        return self._lookup.boot_modules_of(guest)

    def disks_of(self, name: str) -> tuple[plan.FileDisk, ...]:
        """Decide what is behind the disks of a device."""
        return tuple(self._disk(disk, ("devices", name, *place)) for disk, place in self.devices[name].disk_files())

    def _disk(self, disk: Disk, place: KeyPath) -> plan.FileDisk:
        folder = f"{plan.CURRENT}/disks" if disk.starts_anew else plan.DISKS
        image, size = None, disk.size
        if disk.source is not None:
            image = plan.DiskImage(disk.source, disk.starts_anew, self.document.span((*place, "source")))
            size = size or align_up(self._image_bytes[disk.source], SECTOR_BYTES)
        elif disk.format is not DiskFormat.RAW:
            image = plan.DiskImage("", resets=False, span=self.document.span((*place, "format")))
        return plan.FileDisk(
            disk_path=disk.device or f"{folder}/{disk.file}",
            disk_bytes=size,
            scratch=scratch_of(disk),
            name=disk.file or "",
            format=disk.format,
            read_only=disk.read_only,
            is_device=disk.device is not None,
            sized=disk.size is not None,
            image=image,
        )

    def devices_of(self, frontend: str) -> dict[str, Device]:
        """Return the devices of one frontend, in the order of the file."""
        return {n: d for n, d in self.devices.items() if d.frontend == frontend}

    def regions_of(self, owner: str) -> dict[str, Region]:
        """Return the regions one domain owns, in the order of the file."""
        return {n: r for n, r in self.regions.items() if r.owner == owner}


def scratch_of(disk: Disk) -> AddressRange | None:
    """Return the end of a disk that ``vtool verify`` may write to, None when it may not."""
    if disk.verify is VerifyAccess.READ or disk.size is None:
        return None
    return AddressRange(align_up(disk.size - SCRATCH_BYTES, MIB), disk.size)


def domain_unit(name: str) -> str:
    """Return the unit that starts a guest."""
    return f"vtool-domain-{name}.service"


def backend_unit(name: str, kind: str = "service") -> str:
    """Return the unit of what serves a device."""
    return f"vtool-backend-{name}.{kind}"


def share_of(device: Device) -> str:
    """Return the folder that a device shares, or nothing."""
    folder = device.folder()
    return f"{plan.SHARES}/{folder.directory}" if folder else ""


def join(*words: str) -> str:
    """Join the words that are not empty."""
    return " ".join(word for word in words if word)
