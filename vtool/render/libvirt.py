"""Domains that libvirt runs: its XML, and the unit that hands the XML to it.

What its XML has no element for goes through ``qemu:commandline`` (which marks the domain as tainted);
what it cannot do at all is refused by a check (VT349). Formats: libvirt docs/formatdomain, validated
against its own schema in the tests. Text is escaped by the XML writer.
"""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from vtool.base.units import format_cpu_list
from vtool.model.devices import Program
from vtool.plan.types import PROGRAM, BoardPlan, FileDisk, HostPci, KvmDevice, KvmGuest, PciPlace, QemuOption
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.filters import kib, one_line, option_list
from vtool.render.templating import fill

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One XML file and one unit per guest that libvirt runs."""
    for guest in board.kvm_guests:
        if guest.libvirt_xml is None:
            continue
        asked_by = ("domains", guest.name)
        name = f"domains/{guest.name}/{guest.name}.xml"
        yield Artifact(Place.GENERATION, name, Kind.TEXT, domain_xml(guest), asked_by, (guest.unit,))
        text = fill("kvm/libvirt-domain.service.j2", guest=guest, program=PROGRAM)
        yield Artifact(Place.GENERATION, f"units/{guest.unit}", Kind.TEXT, text, asked_by, (guest.unit,))


def domain_xml(guest: KvmGuest) -> str:
    """Write one domain."""
    domain = ET.Element("domain", {"type": "kvm", "xmlns:qemu": QEMU_NAMESPACE})
    _text(domain, "name", guest.name)
    _text(domain, "memory", str(kib(guest.memory_bytes)), unit="KiB")
    _memory_backing(domain, guest)
    cpus = {"cpuset": ",".join(map(str, guest.host_cpus))} if guest.host_cpus else {}
    _text(domain, "vcpu", str(guest.cpus), placement="static", **cpus)
    _cputune(domain, guest)
    _os(domain, guest)
    ET.SubElement(ET.SubElement(domain, "features"), "gic", version=str(guest.gic_version))
    ET.SubElement(domain, "cpu", mode="host-passthrough")
    devices = ET.SubElement(domain, "devices")
    _text(devices, "emulator", "/usr/bin/qemu-system-aarch64")
    serial = ET.SubElement(devices, "serial", type="unix")
    ET.SubElement(serial, "source", mode="bind", path=guest.console_socket)
    ET.SubElement(serial, "log", file=guest.console_log)
    options: list[QemuOption] = []
    counts: Counter[str] = Counter()  # libvirt would add the controllers that are left out below an index
    for device in guest.devices:
        element = _ELEMENTS.get((device.type, device.program))
        if element is None:
            options += device.options
        else:
            element(devices, device, counts[device.type])
            counts[device.type] += 1
    for given in guest.pci:
        _hostdev(devices, given)
    if all(device.type != "balloon" for device in guest.devices):
        ET.SubElement(devices, "memballoon", model="none")
    words = [word for option in options for word in (option.name, option_list(option))]
    words += [word for own in guest.not_checked for word in shlex.split(own)]
    if words:
        line = ET.SubElement(domain, "qemu:commandline")
        for word in words:
            ET.SubElement(line, "qemu:arg", value=one_line(word, "libvirt's XML"))
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _memory_backing(domain: ET.Element, guest: KvmGuest) -> None:
    shared = any(memory.shared for memory in guest.memory)
    if not shared and not guest.huge_page_bytes:
        return
    backing = ET.SubElement(domain, "memoryBacking")
    if guest.huge_page_bytes:
        pages = ET.SubElement(backing, "hugepages")
        ET.SubElement(pages, "page", size=str(kib(guest.huge_page_bytes)), unit="KiB")
    if shared:
        ET.SubElement(backing, "source", type="memfd")
        ET.SubElement(backing, "access", mode="shared")


def _cputune(domain: ET.Element, guest: KvmGuest) -> None:
    if not guest.vcpu_affinity:
        return
    tuned = ET.SubElement(domain, "cputune")
    for vcpu, kept_on in enumerate(guest.vcpu_affinity):
        ET.SubElement(tuned, "vcpupin", vcpu=str(vcpu), cpuset=format_cpu_list(kept_on))
    if guest.host_cpus:
        ET.SubElement(tuned, "emulatorpin", cpuset=format_cpu_list(guest.host_cpus))


def _os(domain: ET.Element, guest: KvmGuest) -> None:
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="aarch64", machine=guest.machine.partition(",")[0])
    if guest.firmware is not None and guest.firmware.variables is None:
        _text(system, "loader", guest.firmware.code, type="rom")
    elif guest.firmware is not None and guest.firmware.variables is not None:
        _text(system, "loader", guest.firmware.code, readonly="yes", type="pflash")
        _text(system, "nvram", guest.firmware.variables.disk_path)
    if guest.kernel is not None:
        _text(system, "kernel", guest.kernel)
        if guest.ramdisk is not None:
            _text(system, "initrd", guest.ramdisk)
        _text(system, "cmdline", guest.bootargs)


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = one_line(text, "libvirt's XML")


def _address(element: ET.Element, device: KvmDevice | HostPci) -> None:
    assert isinstance(device.place, PciPlace)
    place = {"domain": "0x0000", "bus": "0x00", "slot": f"{device.place.slot:#04x}", "function": "0x0"}
    ET.SubElement(element, "address", {"type": "pci", **place})


def _hostdev(devices: ET.Element, given: HostPci) -> None:
    # vtool's own unit takes it from its driver, whoever starts QEMU.
    element = ET.SubElement(devices, "hostdev", mode="subsystem", type="pci", managed="no")
    domain, bus, rest = given.address.split(":")
    slot, function = rest.split(".")
    numbers = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    source = ET.SubElement(element, "source")
    ET.SubElement(source, "address", {name: f"0x{number}" for name, number in numbers.items()})
    _address(element, given)


def _virtio(device: KvmDevice) -> str:
    """Return the model of a virtio device: on the root bus only a modern one stands behind an IOMMU."""
    return "virtio-non-transitional" if device.setting("iommu_platform") else "virtio"


def _driver(element: ET.Element, device: KvmDevice, **attributes: str) -> None:
    if device.setting("iommu_platform"):
        attributes["iommu"] = "on"
    if attributes:
        ET.SubElement(element, "driver", attributes)


def _queues(device: KvmDevice, number: str, size: str = "queue_size") -> dict[str, str]:
    """Return the attributes of what was chosen of a device's queues; ``number`` is QEMU's key that has how many."""
    keys = {number: "queues", "queue-size": size, "rx_queue_size": "rx_queue_size", "tx_queue_size": "tx_queue_size"}
    return {name: value for key, name in keys.items() if (value := device.setting(key))}


def _disk(devices: ET.Element, behind: FileDisk, target: str, bus: str) -> ET.Element:
    disk = ET.SubElement(devices, "disk", type="block" if behind.is_device else "file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type=behind.format.value)
    ET.SubElement(disk, "source", {"dev" if behind.is_device else "file": behind.disk_path})
    ET.SubElement(disk, "target", dev=target, bus=bus)
    if behind.read_only:
        ET.SubElement(disk, "readonly")
    return disk


def _target(prefix: str, index: int) -> str:
    """Return vda to vdz, vdaa and so on: a name that libvirt wants, which the guest does not see."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return prefix + letters


def _blk(devices: ET.Element, device: KvmDevice, index: int) -> None:
    disk = _disk(devices, device.disks[0], _target("vd", index), "virtio")
    if device.setting("iommu_platform"):
        disk.set("model", _virtio(device))
        disk[0].set("iommu", "on")
    disk[0].attrib.update(_queues(device, "num-queues"))
    _address(disk, device)


def _vhost_user_blk(devices: ET.Element, device: KvmDevice, index: int) -> None:
    disk = ET.SubElement(devices, "disk", type="vhostuser", device="disk")
    ET.SubElement(disk, "driver", {"name": "qemu", "type": "raw", **_queues(device, "num-queues")})
    source = ET.SubElement(disk, "source", type="unix", path=device.setting("path"))
    ET.SubElement(source, "reconnect", enabled="yes", timeout="1")
    ET.SubElement(disk, "target", dev=_target("vd", index), bus="virtio")
    _address(disk, device)


def _scsi(devices: ET.Element, device: KvmDevice, index: int) -> None:
    model = "virtio-scsi" if _virtio(device) == "virtio" else _virtio(device)
    controller = ET.SubElement(devices, "controller", type="scsi", model=model, index=str(index))
    _driver(controller, device, **_queues(device, "num_queues"))
    _address(controller, device)
    for lun, disk in enumerate(device.disks):
        element = _disk(devices, disk, _target("sd", 256 * index + lun), "scsi")
        where = {"controller": str(index), "bus": "0", "target": "0", "unit": str(lun)}
        ET.SubElement(element, "address", {"type": "drive", **where})


def _net(devices: ET.Element, device: KvmDevice, _: int) -> None:
    assert device.tap is not None
    interface = ET.SubElement(devices, "interface", type="ethernet")
    ET.SubElement(interface, "mac", address=device.setting("mac"))
    ET.SubElement(interface, "target", dev=device.tap.name, managed="no")
    ET.SubElement(interface, "model", type=_virtio(device))
    _driver(interface, device, **_queues(device, "queues"))
    _address(interface, device)


def _vhost_user_net(devices: ET.Element, device: KvmDevice, _: int) -> None:
    interface = ET.SubElement(devices, "interface", type="vhostuser")
    ET.SubElement(interface, "mac", address=device.setting("mac"))
    ET.SubElement(interface, "source", type="unix", path=device.setting("path"), mode="client")
    ET.SubElement(interface, "model", type="virtio")
    _driver(interface, device, **_queues(device, "queues"))
    _address(interface, device)


def _fs(devices: ET.Element, device: KvmDevice, _: int) -> None:
    system = ET.SubElement(devices, "filesystem", type="mount")
    ET.SubElement(system, "driver", {"type": "virtiofs", **_queues(device, "", size="queue")})
    ET.SubElement(system, "source", socket=device.setting("path"))
    ET.SubElement(system, "target", dir=device.setting("tag"))
    _address(system, device)


def _rng(devices: ET.Element, device: KvmDevice, _: int) -> None:
    rng = ET.SubElement(devices, "rng", model=_virtio(device))
    _driver(rng, device)
    _text(rng, "backend", device.setting("filename"), model="random")
    _address(rng, device)


def _console(devices: ET.Element, device: KvmDevice, index: int) -> None:
    controller = ET.SubElement(devices, "controller", type="virtio-serial", model=_virtio(device), index=str(index))
    _driver(controller, device)
    _address(controller, device)
    name = device.setting("name")
    port = ET.SubElement(devices, "channel" if name else "console", type="unix")
    ET.SubElement(port, "source", mode="bind", path=device.setting("path"))
    ET.SubElement(port, "target", {"type": "virtio", **({"name": name} if name else {"port": "0"})})
    # QEMU keeps the first port for a console (hw/char/virtio-serial-bus.c).
    number = "1" if name else "0"
    ET.SubElement(port, "address", type="virtio-serial", controller=str(index), bus="0", port=number)


def _gpu(devices: ET.Element, device: KvmDevice, _: int) -> None:
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="virtio")
    _address(video, device)


def _input(devices: ET.Element, device: KvmDevice, _: int) -> None:
    element = ET.SubElement(devices, "input", type="passthrough", bus="virtio")
    ET.SubElement(element, "source", evdev=device.setting("evdev"))
    _address(element, device)


def _balloon(devices: ET.Element, device: KvmDevice, _: int) -> None:
    _address(ET.SubElement(devices, "memballoon", model="virtio"), device)


def _vsock(devices: ET.Element, device: KvmDevice, _: int) -> None:
    vsock = ET.SubElement(devices, "vsock", model="virtio")
    ET.SubElement(vsock, "cid", auto="no", address=device.setting("guest-cid"))
    _address(vsock, device)


def _iommu(devices: ET.Element, _device: KvmDevice, _: int) -> None:
    ET.SubElement(devices, "iommu", model="smmuv3")


def _ivshmem(devices: ET.Element, device: KvmDevice, _: int) -> None:
    assert device.region_file is not None
    memory = ET.SubElement(devices, "shmem", name=device.region_file.path.rpartition("/")[2])
    ET.SubElement(memory, "model", type="ivshmem-plain")
    _text(memory, "size", str(kib(device.region_file.size_bytes)), unit="KiB")
    _address(memory, device)


_ELEMENTS: Mapping[tuple[str, Program], Callable[[ET.Element, KvmDevice, int], None]] = {
    ("blk", Program.QEMU): _blk,
    ("blk", Program.QEMU_STORAGE_DAEMON): _vhost_user_blk,
    ("scsi", Program.QEMU): _scsi,
    ("net", Program.QEMU): _net,
    ("net", Program.PASST): _vhost_user_net,
    ("blk", Program.VHOST_USER): _vhost_user_blk,
    ("net", Program.VHOST_USER): _vhost_user_net,
    ("vsock", Program.VHOST_VSOCK): _vsock,
    ("fs", Program.VIRTIOFSD): _fs,
    ("rng", Program.QEMU): _rng,
    ("console", Program.QEMU): _console,
    ("gpu", Program.QEMU): _gpu,
    ("input", Program.QEMU): _input,
    ("balloon", Program.QEMU): _balloon,
    ("iommu", Program.QEMU): _iommu,
    ("ivshmem", Program.QEMU): _ivshmem,
    ("blk", Program.VTOOL_RING): _ivshmem,
    ("net", Program.VTOOL_RING): _ivshmem,
}
