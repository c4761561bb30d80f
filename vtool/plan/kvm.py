"""KVM guests: guest-physical memory, pools behind it, devices on pinned slots, the daemons behind them.

A device keeps its place when others are added after it: virtio-mmio slots count up from 0 (QEMU itself
would fill them from the top), PCI device numbers from 2; number 1 is the IOMMU's, which QEMU wants
before what it translates for. QEMU hands all shared memory of a guest to each of its daemons, so a
daemon behind a pool is planned with a guest that shares nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, assert_never

from vtool.base.units import AddressRange
from vtool.data_paths.facts import Shares, Transport
from vtool.model import command_lines
from vtool.model.combinations import Combination, Readiness, combination_of
from vtool.model.devices import Device, NetworkDevice, Program, daemon_of
from vtool.model.devices.arguments import Wiring
from vtool.model.devices.base import Daemon
from vtool.model.places import has_device, kvm_mmio, kvm_pci
from vtool.model.topology import Domain, Firmware, Kvm, RegionUse, Vmm
from vtool.plan import types as plan
from vtool.plan.access import plan_access, plan_required
from vtool.plan.networks import FIRST_DESCRIPTOR, address_words, derived_mac, plan_tap
from vtool.plan.paths import kernel_words, planning_of
from vtool.plan.placement import flag_of, given_place, mmio_place
from vtool.plan.qemu import device_options, queues_of, reconnect
from vtool.plan.scope import BoardScope, backend_unit, domain_unit, fixed_by_user, join, share_of
from vtool.platform import layouts


def plan_guest(scope: BoardScope, name: str, domain: Domain) -> plan.KvmGuest:
    """Decide one KVM guest: memory, kernel, devices, unit, sockets."""
    assert domain.memory is not None
    hypervisor = scope.board.hypervisor
    assert isinstance(hypervisor, Kvm)
    ram = layouts.qemu_guest_memory(domain.memory)
    requested = {n: d for n, d in scope.devices.items() if has_device(name, d)}
    pools = _plan_pools(
        scope, name, ram, in_ram=any(d.data_path.traits.shares is Shares.RAM_WITH_POOL for d in requested.values())
    )
    memory = _plan_memory(domain, ram, pools, requested)
    run_folder = f"{plan.RUN}/domain-{name}"
    maps_bytes = sum(backend.size_bytes for backend in memory if backend.shared)
    maps_bytes += sum(
        scope.regions[d.region].size for d in requested.values() if d.data_path.traits.at_both_ends and d.region
    )
    planner = _DevicePlanner(scope, hypervisor, name, run_folder, {pool.region: pool for pool in pools}, maps_bytes)
    devices = tuple(planner.device(device_name, device) for device_name, device in requested.items())
    networks = [
        d.network
        for d in requested.values()
        if isinstance(d, NetworkDevice) and d.network.frontend_address and not d.data_path.traits.carries_data
    ]
    firmware = _plan_firmware(name, domain.firmware) if domain.firmware else None
    inside = [device for device in devices if device.backend is None]
    pci_units = (f"vtool-pci-{name}.service",) if domain.pci else ()
    return plan.KvmGuest(
        name=name,
        cpus=domain.cpus,
        ram=ram,
        pools=pools,
        memory_bytes=layouts.qemu_guest_memory(domain.memory, (pool.range.size_bytes for pool in pools)).size_bytes,
        memory=memory,
        kernel=None if domain.boots_itself else f"{plan.CURRENT}/domains/{name}/Image",
        ramdisk=f"{plan.CURRENT}/domains/{name}/ramdisk" if domain.ramdisk else None,
        bootargs=join(
            *command_lines.of_guest(domain, is_xen=False),
            *address_words(domain, networks),
            *kernel_words(devices),
            *((plan.TRACK_HIWATER,) if any(pool.shared for pool in pools) else ()),
            domain.bootargs,
        ),
        ready=domain.says_when_ready,
        ready_timeout_s=domain.ready_timeout_s,
        access=plan_access(scope, name, domain),
        require=plan_required(domain),
        devices=devices,
        unit=domain_unit(name),
        run_folder=run_folder,
        console_socket=f"{run_folder}/console.sock",
        console_log=f"/var/log/vtool/{name}/console.log",
        qmp_socket=f"{run_folder}/qmp.sock",
        overlay=f"{plan.CURRENT}/domains/{name}/{name}.dtbo" if pools else None,
        device_tree=f"{run_folder}/{name}.dtb",
        gic_version=scope.facts.gic.version,
        machine=",".join((hypervisor.machine, *filter(None, (d.of_machine() for d in requested.values())))),
        machine_options=tuple(option for device in devices if device.translates for option in device.options),
        requires=tuple(dict.fromkeys((*pci_units, *(unit for device in devices for unit in _units_before(device))))),
        libvirt_xml=f"{plan.CURRENT}/domains/{name}/{name}.xml" if hypervisor.vmm is Vmm.LIBVIRT else None,
        files=(
            *(disk.disk_path for device in inside for disk in device.disks if not disk.is_device),
            *([firmware.variables.disk_path] if firmware and firmware.variables else []),
        ),
        device_nodes=tuple(
            node
            for device in inside
            for node in (
                *requested[device.name].board_nodes(),
                *requested[device.name].common_nodes(),
                *plan.board_devices(device.disks),
                *(["/dev/net/tun"] if device.tap and not device.tap.direct else []),
            )
        ),
        given=tuple(path for device in inside for path in plan.board_devices(device.disks)),
        common_nodes=(
            "/dev/net/tun",
            *(node for device in inside for node in requested[device.name].common_nodes()),
        ),
        own_network=not any(device.tap for device in devices),
        host_cpus=domain.host_cpus,
        kernel_image=None if domain.boots_itself else domain.kernel,
        ramdisk_image=domain.ramdisk,
        not_checked=domain.extra,
        firmware=firmware,
        vcpu_affinity=domain.under_kvm.vcpu_affinity,
        huge_page_bytes=domain.under_kvm.hugepages or 0,
        pci=tuple(_host_pci(scope, name, index) for index in range(len(domain.pci))),
        pci_unit=next(iter(pci_units), None),
    )


def _plan_firmware(name: str, which: Firmware) -> plan.KvmFirmware:
    if which is Firmware.U_BOOT:
        return plan.KvmFirmware(layouts.U_BOOT, "u-boot-qemu", None)
    # No disk of a user's has a name that begins so. Empty flash is formatted by EDK2 when it starts.
    variables = plan.FileDisk(f"{plan.DISKS}/_{name}.efivars", layouts.QEMU_FLASH_BYTES, None)
    return plan.KvmFirmware(layouts.AAVMF_CODE, "qemu-efi-aarch64", variables)


def _host_pci(scope: BoardScope, name: str, index: int) -> plan.HostPci:
    """Give a PCI device of the board its place: from the last number down, so that other devices keep theirs."""
    slot = layouts.QEMU_VIRT_PCI_FIRST + layouts.QEMU_VIRT_PCI_COUNT - 1 - index
    place = plan.PciPlace(slot, slot << 11)
    wished_at = scope.document.span(("domains", name, "pci", index))
    return plan.HostPci(scope.domains[name].pci[index], wished_at, place, _pci_device(place))


def _plan_pools(scope: BoardScope, name: str, ram: AddressRange, *, in_ram: bool) -> tuple[plan.Pool, ...]:
    pools: list[plan.Pool] = []
    mine = scope.pools_of(name)
    places = layouts.qemu_pools(ram.size_bytes, (region.size for region in mine.values()))
    for (region_name, region), where in zip(mine.items(), places, strict=True):
        index = len(pools) + 1
        if region.address is None:
            place = "part of the memory backend" if in_ram else f"right after memory backend {index}"
            origin = plan.Origin(plan.OriginKind.ALLOCATED, f"{place} of '{name}'")
        else:
            origin = fixed_by_user(scope.document, ("regions", region_name, "address"))
        node = f"vtool-{region_name}@{where.base:x}"
        pools.append(
            plan.Pool(
                *(region_name, where, origin, node, f"pool{index}", 0 if in_ram else index),
                use=region.use,
                flag=flag_of(region),
                device_nodes=region.device_nodes,
                shared=region.use is RegionUse.RESTRICTED_DMA_POOL,
            )
        )
    return tuple(pools)


def _plan_memory(
    domain: Domain, ram: AddressRange, pools: tuple[plan.Pool, ...], devices: Mapping[str, Device]
) -> tuple[plan.KvmMemory, ...]:
    shared = any(
        (daemon_of(d.program) or d.program is Program.VHOST_USER) and d.data_path.traits.shares_ram
        for d in devices.values()
    )
    size = ram.size_bytes + sum(pool.range.size_bytes for pool in pools if pool.numa_node == 0)
    first = plan.KvmMemory("shared" if shared else "private", size, shared, 0, f"0-{domain.cpus - 1}")
    alone = (pool for pool in pools if pool.numa_node)
    return (
        first,
        *(plan.KvmMemory(f"pool-{p.region}", p.range.size_bytes, p.shared, p.numa_node, "") for p in alone),
    )


def _units_before(device: plan.KvmDevice) -> tuple[str, ...]:
    # Of one that its socket starts the unit, too: when it crashes, the guest has to start again with it.
    backend = tuple(filter(None, (device.backend.socket_unit, device.backend.unit))) if device.backend else ()
    tap = (device.tap.unit,) if device.tap else ()
    return (*backend, *tap, *((device.region_file.unit,) if device.region_file else ()))


class _DevicePlanner:
    """Gives the devices of one guest their places, one after the other."""

    def __init__(
        self,
        scope: BoardScope,
        hypervisor: Kvm,
        guest: str,
        run_folder: str,
        pools: Mapping[str, plan.Pool],
        maps_bytes: int,
    ) -> None:
        self.scope, self.hypervisor, self.guest, self.run_folder = scope, hypervisor, guest, run_folder
        self.pools, self.maps_bytes = pools, maps_bytes
        self.mmio, self.pci = kvm_mmio(guest, scope.devices), kvm_pci(guest, scope.devices)
        mine = ((n, d) for n, d in scope.devices.items() if d.frontend == guest and isinstance(d, NetworkDevice))
        self.direct = [name for name, device in mine if device.network.direct]

    def device(self, name: str, device: Device) -> plan.KvmDevice:
        """Decide one device."""
        row = combination_of("kvm", device)
        assert row is not None
        place = self._place(name, device)
        network = device.network if isinstance(device, NetworkDevice) else None
        tap = None
        if isinstance(device, NetworkDevice) and device.program is Program.QEMU:
            handed = self.direct.index(name) + FIRST_DESCRIPTOR if name in self.direct else 0
            tap = plan_tap(name, device, "vtool-domain", self._mac(name, device), handed)
        region_file = self._region_file(device)
        disks = self.scope.disks_of(name)
        wiring = self._wiring(name, device, row, disks, tap, region_file)
        daemon = daemon_of(device.program)
        return plan.KvmDevice(
            name=name,
            type=device.type,
            program=device.program,
            transport=device.transport,
            data_path=device.data_path,
            virtio=device.data_path.traits.virtio and not device.translates,
            translates=device.translates,
            deployed=row.deployed and self.hypervisor.vmm is Vmm.QEMU,
            place=place,
            node_name=f"virtio_mmio@{place.base:x}"
            if isinstance(place, plan.MmioPlace)
            else f"virtio@{place.slot:x},0",
            guest_device=f"{place.base:x}.virtio_mmio" if isinstance(place, plan.MmioPlace) else _pci_device(place),
            pool=self.pools.get(device.region or ""),
            disks=disks,
            backend=plan_daemon(daemon, device, row, wiring, self.maps_bytes, disks) if daemon else None,
            tap=tap,
            region_file=region_file,
            options=device_options(device, row, wiring, place),
            frontend_address=network.frontend_address if network else "",
            backend_address=network.backend_address if network else "",
            ring=self._ring(name, device, place),
            queues=queues_of(device, row),
        )

    def _ring(self, name: str, device: Device, place: plan.MmioPlace | plan.PciPlace) -> plan.KvmRing | None:
        if isinstance(place, plan.MmioPlace):
            return None
        bar = f"/sys/bus/pci/devices/{_pci_device(place)}/resource2"
        return planning_of(device.data_path).kvm_ring(self.scope, name, device, self.guest, bar)

    def _wiring(
        self,
        name: str,
        device: Device,
        row: Combination,
        disks: tuple[plan.FileDisk, ...],
        tap: plan.Tap | None,
        region: plan.RegionFile | None,
    ) -> Wiring:
        return Wiring(
            name,
            row.qemu_device,
            reconnect(row, self.hypervisor.qemu),
            **socket_of(name, device),
            share=share_of(device),
            mac=self._mac(name, device),
            tap=tap.name if tap else "",
            descriptor=tap.descriptor if tap else 0,
            port=f"{self.run_folder}/port-{name}.sock",
            disks=tuple(disk.node for disk in disks),
            region=(region.path, region.size_bytes) if region else None,
        )

    def _place(self, name: str, device: Device) -> plan.MmioPlace | plan.PciPlace:
        match device.transport:
            case Transport.MMIO:
                slot = self.mmio[name]
                origin = given_place(self.scope, name, device)
                return mmio_place(layouts.QEMU_VIRT_MMIO, slot, f"slot {slot}, in the order of the file", origin)
            case Transport.PCI | Transport.SHARED_MEMORY:
                slot = self.pci.get(name, layouts.QEMU_VIRT_PCI_IOMMU)
                return plan.PciPlace(slot, slot << 11)
            case Transport.XENBUS:
                raise AssertionError("a guest under KVM has no xenbus")
            case _ as never:
                assert_never(never)

    def _region_file(self, device: Device) -> plan.RegionFile | None:
        if not device.data_path.traits.at_both_ends:
            return None
        assert device.region is not None
        region = device.region
        # The name is also what libvirt makes of it: <shmem name=...> is a file in /dev/shm.
        path, unit = f"/dev/shm/vtool-{region}", f"vtool-region-{region}.service"  # noqa: S108
        return plan.RegionFile(region, path, self.scope.regions[region].size, unit)

    def _mac(self, name: str, device: Device) -> str:
        if not isinstance(device, NetworkDevice):
            return ""
        # QEMU's own prefix, and a tail that depends on the three names only.
        return device.network.mac or "52:54:00" + derived_mac(self.scope.name, self.guest, name)[8:]


def _pci_device(place: plan.PciPlace) -> str:
    return f"0000:00:{place.slot:02x}.0"


class Socket(TypedDict):
    """Where a daemon works, of the names of ``Wiring``."""

    folder: str
    listen: str
    connect: str


def socket_of(name: str, device: Device) -> Socket:
    """Decide where a device's daemon listens, and where its socket then is."""
    folder, daemon = f"{plan.RUN}/backend-{name}", daemon_of(device.program)
    if device.socket is not None:
        return Socket(folder="", listen="", connect=device.socket)
    socket = f"{folder}/vhost-user.sock"
    numbered = daemon is not None and daemon.numbered_socket
    return Socket(folder=folder, listen=socket, connect=socket + ("0" if numbered else ""))


def plan_daemon(
    daemon: Daemon[Any],
    device: Device,
    row: Combination,
    wiring: Wiring,
    maps_bytes: int,
    disks: tuple[plan.FileDisk, ...] = (),
) -> plan.VhostUserBackend:
    """Decide the daemon behind one device; ``maps_bytes`` is the guest memory that is handed to it."""
    name, folder = wiring.name, device.folder()
    return plan.VhostUserBackend(
        program=daemon.program,
        unit=backend_unit(name),
        socket_unit=backend_unit(name, "socket") if daemon.readiness is Readiness.ACTIVATED else None,
        folder=wiring.folder,
        socket=wiring.connect,
        executable=daemon.executable,
        arguments=daemon.arguments(device, wiring),
        readiness=daemon.readiness,
        maps_bytes=maps_bytes,
        files=plan.written_files(disks),
        state_folder=wiring.share.removeprefix("/var/lib/"),
        device_nodes=(*device.board_nodes(), *plan.board_devices(disks)),
        given=plan.board_devices(disks),
        device_class=daemon.device_class(device),
        address_families=daemon.address_families,
        own_network=daemon.address_families == ("AF_UNIX",),
        self_sandboxed=daemon.self_sandboxed,
        changes_owners=daemon.changes_owners,
        found_again=row.reconnects,
        read_only=folder is not None and folder.read_only,
        # Some end when the guest goes away; the next one is to find them again.
        restarts_always=daemon.readiness is Readiness.LISTENS,
        host_cpus=device.backend_cpus,
    )
