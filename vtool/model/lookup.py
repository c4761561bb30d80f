"""A topology by name: what belongs to which board, domain or region, each found once.

So that rules and plans of many boards take time in proportion. Every mapping keeps the order of the file. Of a topology
with faults they are known in part (``vtool.model.partial``): what may belong anywhere makes all of them open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.data_paths.facts import Transport
from vtool.model.devices import Device, NetworkDevice
from vtool.model.partial import Groups, Unsound, derived, is_whole, known, opening
from vtool.model.topology import POOL_USES, Domain, EventChannel, Region, RegionUse, Role, Topology, Xen


class Lookup:
    """Mappings by name of a board, domain or region; empty for a name that nothing belongs to.

    What is between boards belongs to each of them. What names a domain that does not exist belongs to no board,
    nor does a domain whose board does not exist.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.board_of: dict[str, str] = {}
        self.domains_on: Groups[Domain] = Groups()
        self.regions_on: Groups[Region] = Groups()
        self.devices_on: Groups[Device] = Groups()
        self.channels_on: Groups[EventChannel] = Groups()
        self.regions_of: Groups[Region] = Groups()
        self.devices_of: Groups[Device] = Groups()
        self.users_of: Groups[Device] = Groups()
        self._find_domains()
        self._find_regions()
        self._find_devices()
        self._find_channels()

    def _find_domains(self) -> None:
        boards, domains = self._topology.boards, self._topology.domains
        lost: list[str] = []
        for name, domain in known(domains).items():
            try:
                where = domain.board or (next(iter(boards)) if len(boards) == 1 else None)
                if where is not None and where in boards:
                    self.board_of[name] = where
                    self.domains_on[where][name] = domain
            except Unsound:
                lost.append(name)
        self.board_of = derived(domains, self.board_of, lost)
        if not is_whole(self.board_of):
            self.domains_on.opened()

    def _find_regions(self) -> None:
        for name, region in known(self._topology.regions).items():
            with opening(self.regions_of, self.regions_on):
                for member in (*((region.owner,) if region.owner else ()), *region.borrowers):
                    self.regions_of[member][name] = region
                    with opening(self.regions_on):
                        if member in self.board_of:
                            self.regions_on[self.board_of[member]][name] = region
        if not is_whole(self._topology.regions):
            self.regions_of.opened()
            self.regions_on.opened()

    def _find_devices(self) -> None:
        for name, device in known(self._topology.devices).items():
            for end in ("frontend", "backend"):
                with opening(self.devices_of):
                    self.devices_of[getattr(device, end)][name] = device
            with opening(self.devices_on):
                if device.frontend in self.board_of:
                    self.devices_on[self.board_of[device.frontend]][name] = device
            with opening(self.users_of):
                if device.region is not None:
                    self.users_of[device.region][name] = device
        if not is_whole(self._topology.devices):
            self.devices_of.opened()
            self.devices_on.opened()
            self.users_of.opened()

    def _find_channels(self) -> None:
        for name, channel in known(self._topology.event_channels).items():
            with opening(self.channels_on):
                for board in {self.board_of[end] for end in channel.between if end in self.board_of}:
                    self.channels_on[board][name] = channel
        if not is_whole(self._topology.event_channels):
            self.channels_on.opened()

    def members_of(self, region: Region) -> tuple[str, ...]:
        """Return the domains that exist among a region's owner and borrowers, owner first."""
        named = (*((region.owner,) if region.owner else ()), *region.borrowers)
        return tuple(name for name in named if name in self._topology.domains)

    def is_static_shared(self, region: Region) -> bool:
        """Whether Xen shares the region between domains at boot (static shared memory), rather than dom0 keeping it."""
        if region.use is RegionUse.SHARED_DMA_POOL:
            return False
        members = self.members_of(region)
        boards = [self._topology.boards[where] if (where := self.board_of.get(name)) else None for name in members]
        guests = any(self._topology.domains[name].role is Role.GUEST for name in members)
        return guests and all(board is not None and isinstance(board.hypervisor, Xen) for board in boards)

    def pools_of(self, owner: str) -> Iterator[tuple[str, Region]]:
        """Yield the pools of one domain, in the order of the file, which is that of their places."""
        for name, region in self.regions_of[owner].items():
            if region.owner == owner and region.use in POOL_USES:
                yield name, region

    def boot_modules_of(self, guest: str) -> tuple[str, ...]:
        """Return the keys of what is loaded for a guest that Xen builds: each takes a window and one of Xen's modules.

        Its device tree is one that the user names, or that vtool writes for virtio devices and devices of the board.
        """
        domain = self._topology.domains[guest]
        mine = self.devices_of[guest].values()
        virtio = any(device.transport is Transport.MMIO and device.frontend == guest for device in mine)
        tree = domain.device_tree or domain.passthrough or virtio
        return ("kernel", *(["ramdisk"] if domain.ramdisk else []), *(["device_tree"] if tree else []))

    def own_modules_of(self, board: str) -> tuple[str, ...]:
        """Return the keys of what is loaded for Xen itself, beside dom0: each takes a window and one of its modules."""
        hypervisor = self._topology.boards[board].hypervisor
        return ("xsm_policy",) if isinstance(hypervisor, Xen) and hypervisor.xsm_policy is not None else ()

    def has_ramdisk(self, board: str) -> bool:
        """Whether a board's control domain is started with a ramdisk."""
        return any(d.role is Role.CONTROL and d.ramdisk_named is not None for d in self.domains_on[board].values())

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


def address_of(devices: Mapping[str, Device]) -> str | None:
    """Return the address of a guest, without its prefix, on the first of its networks that says one."""
    networks = (device.network for device in devices.values() if isinstance(device, NetworkDevice))
    addresses = (network.frontend_address for network in networks)
    return next((address.partition("/")[0] for address in addresses if address[:1].isdigit()), None)
