"""virtio devices of Xen guests: their places, who serves them in dom0, and the QEMU that has them.

Their order is that of `vtool.model.places.xen_mmio`, libxl's and QEMU's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from vtool.model.combinations import combination_of, installed
from vtool.model.devices import (
    BlockDevice,
    Device,
    NetworkDevice,
    Program,
    daemon_of,
    xen_vhost_frontend,
)
from vtool.model.devices.arguments import Wiring
from vtool.model.devices.base import Daemon
from vtool.model.places import xen_mmio, xl_disk_names
from vtool.model.topology import Xen
from vtool.plan import types as plan
from vtool.plan.kvm import plan_daemon, socket_of
from vtool.plan.networks import derived_mac, plan_tap
from vtool.plan.placement import given_place, mmio_place
from vtool.plan.qemu import device_options, queues_of
from vtool.plan.scope import BoardScope, backend_unit, share_of
from vtool.platform import layouts


def plan_devices(scope: BoardScope, guest: str, regions: Sequence[str] = ()) -> tuple[plan.XenVirtio, ...]:
    """Decide a guest's virtio devices, in the order of their places.

    ``regions`` are those that it owns and Xen shares, in the order in which Xen writes their nodes.
    """
    names = xl_disk_names(guest, scope.devices)
    return tuple(
        _plan_device(scope, name, slot, names.get(name), regions)
        for slot, name in enumerate(xen_mmio(guest, scope.devices))
    )


def _plan_device(
    scope: BoardScope, name: str, slot: int, xl_name: str | None, regions: Sequence[str]
) -> plan.XenVirtio:
    device = scope.devices[name]
    row = combination_of("xen", device)
    assert row is not None
    memory = scope.domains[device.frontend].memory or 0
    reason = f"{slot + 1}. in libxl's order: disks, then the others"
    place = mmio_place(layouts.XEN_VIRTIO_MMIO, slot, reason, given_place(scope, name, device))
    in_qemu = device.program is Program.QEMU_XENPVH
    disk = None
    if xl_name and isinstance(device, BlockDevice) and device.disk:
        disk = plan_disk(scope, name, xl_name)
    tap = plan_tap(name, device, "root") if isinstance(device, NetworkDevice) else None
    network = device.network if isinstance(device, NetworkDevice) else None
    mac = (network.mac or derived_mac(scope.name, device.frontend, name)) if network else ""
    files = scope.disks_of(name) if in_qemu else ()
    daemon = daemon_of(device.program)
    wiring = Wiring(
        name,
        row.qemu_device,
        **socket_of(name, device),
        share=share_of(device),
        mac=mac,
        tap=tap.name if tap else "",
        port=f"{_run_folder(device.frontend)}/port-{name}.sock",
        disks=tuple(file.node for file in files),
        xen_disk=disk.virtual_device if disk else "",
    )
    beside = _beside_guest(daemon, device, wiring) if daemon and not daemon.vhost_user else None
    maps_bytes = 0 if device.data_path.traits.grants else memory
    backend = plan_daemon(daemon, device, row, wiring, maps_bytes) if daemon and daemon.vhost_user else None
    server = beside or backend
    return plan.XenVirtio(
        name=name,
        type=device.type,
        program=device.program,
        data_path=device.data_path,
        place=place,
        intid=place.intid,
        node_name=f"virtio@{place.base:x}",
        grants=device.data_path.traits.grants,
        xl_type=row.xl_type,
        disk=disk,
        disks=files,
        tap=tap,
        mac=mac,
        frontend_address=network.frontend_address if network else "",
        options=device_options(device, row, wiring, None) if in_qemu else (),
        daemon=beside,
        backend=backend,
        pool=device.region,
        pool_phandle=layouts.XEN_POOL_PHANDLE + regions.index(device.region) if device.region in regions else None,
        deployed=row.deployed,
        served_by=server.unit if server else _qemu_unit(device.frontend),
        queues=queues_of(device, row),
    )


def plan_disk(scope: BoardScope, name: str, xl_name: str) -> plan.XenDisk:
    """Decide a disk of xl: a loop device on a file, or a device, behind a link, with the name that xl knows it by."""
    (behind,) = scope.disks_of(name)
    return plan.XenDisk(
        name=name,
        virtual_device=xl_name,
        link=f"{plan.RUN}/backend-{name}/disk",
        behind=behind,
        backend_unit=backend_unit(name),
    )


def _beside_guest(daemon: Daemon[Any], device: Device, wiring: Wiring) -> plan.XenDaemon:
    unit = f"vtool-{daemon.program.value}-{wiring.name}.service"
    return plan.XenDaemon(daemon.program, unit, daemon.executable, daemon.arguments(device, wiring))


def plan_qemu(
    scope: BoardScope,
    guest: str,
    devices: tuple[plan.XenVirtio, ...],
    memory_bytes: int,
    cpus: int,
    domain_id: int | None,
) -> plan.XenQemu | None:
    """Decide the QEMU of a guest, None when none of its devices is in one."""
    mine = [device for device in devices if device.program is Program.QEMU_XENPVH]
    if not mine:
        return None
    folder = _run_folder(guest)
    nodes = [
        node
        for device in mine
        for node in (*scope.devices[device.name].board_nodes(), *plan.board_devices(device.disks))
    ]
    taps = [device.tap for device in mine if device.tap]
    hypervisor, qemu = scope.board.hypervisor, installed(Program.QEMU_XENPVH)
    assert qemu is not None
    own = qemu.executable
    image = hypervisor.qemu_image if isinstance(hypervisor, Xen) else None
    return plan.XenQemu(
        unit=_qemu_unit(guest),
        executable=f"{plan.CURRENT}/domains/{guest}/{PurePosixPath(own).name}" if image else own,
        image=image,
        run_folder=folder,
        qmp_socket=f"{folder}/qmp.sock",
        memory_bytes=memory_bytes,
        cpus=cpus,
        domain_id=domain_id,
        requires=tuple(tap.unit for tap in taps),
        files=tuple(disk.disk_path for device in mine for disk in device.disks if not disk.is_device),
        device_nodes=(*nodes, *(["/dev/net/tun"] if taps else [])),
        own_network=not taps,
        given=tuple(path for device in mine for path in plan.board_devices(device.disks)),
    )


def plan_vhost_frontend(guest: str, devices: tuple[plan.XenVirtio, ...]) -> plan.XenVhostFrontend | None:
    """Decide what joins a guest to its vhost-user daemons, None when it has none."""
    mine = [(device, device.backend) for device in devices if device.backend is not None]
    if not mine:
        return None
    folder, links = f"{plan.RUN}/vhost-frontend-{guest}", list[tuple[str, str]]()
    for device, backend in mine:
        number = sum(link.startswith(f"{folder}/{device.type}.sock") for link, _ in links)
        links.append((f"{folder}/{device.type}.sock{number}", backend.socket))
    return plan.XenVhostFrontend(
        unit=f"vtool-vhost-frontend-{guest}.service",
        executable=xen_vhost_frontend.EXECUTABLE,
        folder=folder,
        links=tuple(links),
        foreign=not all(device.grants for device, _ in mine),
        requires=tuple(backend.socket_unit or backend.unit for _, backend in mine),
    )


def _qemu_unit(guest: str) -> str:
    return f"vtool-qemu-{guest}.service"


def _run_folder(guest: str) -> str:
    return f"{plan.RUN}/domain-{guest}"
