"""What every part of the planner uses: one board's share of a topology, and small derivations."""

from __future__ import annotations

from collections.abc import Mapping

from vtool.model.board_facts import BoardFacts
from vtool.model.devices import BlockDevice, Device, Disk, VerifyAccess
from vtool.model.topology import Board, Region, Role, Topology
from vtool.plan import types as plan
from vtool.source import Document
from vtool.units import AddressRange


class BoardScope:
    """The part of a topology that concerns one board; lookups only."""

    def __init__(
        self,
        document: Document,
        topology: Topology,
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
        only_board = next(iter(topology.boards))
        self.domains = {
            domain_name: domain
            for domain_name, domain in topology.domains.items()
            if (domain.board or only_board) == name
        }
        self.regions = {
            n: r for n, r in topology.regions.items() if any(d in self.domains for d in (r.owner, *r.borrowers))
        }
        self.event_channels = {n: c for n, c in topology.event_channels.items() if c.between[0] in self.domains}
        self.devices = {n: d for n, d in topology.devices.items() if d.frontend in self.domains}
        self.control_name, self.control = next((n, d) for n, d in self.domains.items() if d.role is Role.CONTROL)
        self.guests = {n: d for n, d in self.domains.items() if d.role is Role.GUEST}

    def kept(self, what: str) -> int | None:
        """Return a number that the lock file keeps for this board, None when it has none."""
        return self._lock.get(f"{self.name}/{what}")

    def devices_of(self, frontend: str) -> dict[str, Device]:
        """Return the devices of one frontend, in the order of the file."""
        return {n: d for n, d in self.devices.items() if d.frontend == frontend}

    def regions_of(self, owner: str) -> dict[str, Region]:
        """Return the regions one domain owns, in the order of the file."""
        return {n: r for n, r in self.regions.items() if r.owner == owner}


def scratch(device: BlockDevice) -> AddressRange | None:
    """Return the end of a device's disk that ``vtool verify`` may write to, None when it may not."""
    return scratch_of(device.disk)


def scratch_of(disk: Disk) -> AddressRange | None:
    """Return the end of a disk that ``vtool verify`` may write to, None when it may not."""
    if disk.verify is VerifyAccess.READ:
        return None
    return AddressRange(disk.size - plan.VERIFY_SCRATCH_BYTES, disk.size)


def join(*words: str) -> str:
    """Join the words that are not empty."""
    return " ".join(word for word in words if word)
