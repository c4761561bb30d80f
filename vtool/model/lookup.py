"""A topology by name: what belongs to which board, domain or region, each found once.

So that rules and plans of many boards take time in proportion. Every mapping keeps the order of the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from vtool.model.devices import Device
from vtool.model.topology import Domain, EventChannel, Region, RegionUse, Role, Topology, Xen


class Lookup:
    """Mappings by name of a board, domain or region; empty for a name that nothing belongs to.

    What is between boards belongs to each of them. What names a domain that does not exist belongs to no board,
    nor does a domain whose board does not exist.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        only_board = next(iter(topology.boards)) if len(topology.boards) == 1 else None
        self.domains_on: Mapping[str, dict[str, Domain]] = defaultdict(dict)
        self.regions_on: Mapping[str, dict[str, Region]] = defaultdict(dict)
        self.devices_on: Mapping[str, dict[str, Device]] = defaultdict(dict)
        self.channels_on: Mapping[str, dict[str, EventChannel]] = defaultdict(dict)
        self.regions_of: Mapping[str, dict[str, Region]] = defaultdict(dict)
        self.devices_of: Mapping[str, dict[str, Device]] = defaultdict(dict)
        self.users_of: Mapping[str, dict[str, Device]] = defaultdict(dict)
        self.board_of: dict[str, str] = {}
        for name, domain in topology.domains.items():
            where = domain.board or only_board
            if where is not None and where in topology.boards:
                self.board_of[name] = where
                self.domains_on[where][name] = domain
        for name, region in topology.regions.items():
            for member in (*((region.owner,) if region.owner else ()), *region.borrowers):
                self.regions_of[member][name] = region
                if member in self.board_of:
                    self.regions_on[self.board_of[member]][name] = region
        for name, device in topology.devices.items():
            for end in (device.frontend, device.backend):
                self.devices_of[end][name] = device
            if device.frontend in self.board_of:
                self.devices_on[self.board_of[device.frontend]][name] = device
            if device.region is not None:
                self.users_of[device.region][name] = device
        for name, channel in topology.event_channels.items():
            for board in {self.board_of[end] for end in channel.between if end in self.board_of}:
                self.channels_on[board][name] = channel

    def members_of(self, region: Region) -> tuple[str, ...]:
        """Return the domains that exist among a region's owner and borrowers, owner first."""
        named = (*((region.owner,) if region.owner else ()), *region.borrowers)
        return tuple(name for name in named if name in self._topology.domains)

    def is_static_shared(self, region: Region) -> bool:
        """Tell whether Xen shares the region between domains at boot (xen.md 1.4), rather than dom0 keeping it."""
        if region.use is RegionUse.SHARED_DMA_POOL:
            return False
        members = self.members_of(region)
        boards = [self._topology.boards[where] if (where := self.board_of.get(name)) else None for name in members]
        guests = any(self._topology.domains[name].role is Role.GUEST for name in members)
        return guests and all(board is not None and isinstance(board.hypervisor, Xen) for board in boards)

    def host_address_of(self, region: Region) -> tuple[int, tuple[str, ...]] | None:
        """Return where in host memory the user fixed a region, and the key that says it; None when vtool chooses.

        What a domain with host addresses sees is as good as ``host_address``.
        """
        if region.host_address is not None:
            return region.host_address, ("host_address",)
        for member in self.members_of(region):
            address, key = region.address_in(member)
            if address is not None and self._topology.domains[member].is_direct:
                return address, key
        return None
