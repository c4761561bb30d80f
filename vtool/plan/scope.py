"""What every part of the planner uses: one board's share of a topology, and small derivations."""

from __future__ import annotations

from collections.abc import Mapping

from vtool.base.units import AddressRange
from vtool.model.board_facts import BoardFacts
from vtool.model.devices import Device, Disk, VerifyAccess
from vtool.model.host_requests import HostRequest, host_requests
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
    ) -> None:
        self.document = document
        self.name = name
        self.board = board
        self.facts = facts
        self._lock = lock
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

    def host_requests(self) -> list[HostRequest]:
        """Return what the topology asks for of this board's RAM."""
        return list(host_requests(self._lookup, self.name, self.board, self.facts))

    def pools_of(self, owner: str) -> dict[str, Region]:
        """Return the pools one domain owns, in the order of their places."""
        return dict(self._lookup.pools_of(owner))

    def boot_modules_of(self, guest: str) -> tuple[str, ...]:
        """Return the keys of what is loaded for a guest that Xen builds."""
        return self._lookup.boot_modules_of(guest)

    def devices_of(self, frontend: str) -> dict[str, Device]:
        """Return the devices of one frontend, in the order of the file."""
        return {n: d for n, d in self.devices.items() if d.frontend == frontend}

    def regions_of(self, owner: str) -> dict[str, Region]:
        """Return the regions one domain owns, in the order of the file."""
        return {n: r for n, r in self.regions.items() if r.owner == owner}


def scratch_of(disk: Disk) -> AddressRange | None:
    """Return the end of a disk that ``vtool verify`` may write to, None when it may not."""
    if disk.verify is VerifyAccess.READ:
        return None
    return AddressRange(disk.size - plan.VERIFY_SCRATCH_BYTES, disk.size)


def file_disk(disk: Disk) -> plan.FileDisk:
    """Decide the file behind a disk that a program opens itself."""
    return plan.FileDisk(f"{plan.DISKS}/{disk.file}", disk.size, scratch_of(disk))


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
