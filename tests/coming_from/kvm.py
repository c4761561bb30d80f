"""Set-ups of KVM guests as their authors write them: what stands in each format, fact by fact.

A reader takes the authors' text and the rendered one alike. Where the rendered one is of another format (QEMU's words
for a virtual machine of Proxmox), a finder writes what it says in the authors' format.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.coming_from.formats import Format, files_of
from vtool.base.units import format_cpu_list, parse_cpu_list
from vtool.plan.types import BoardPlan

_HEADER = b"\0" * 8 + (0).to_bytes(8, "little") + (0x200000).to_bytes(8, "little") + b"\0" * 32 + b"ARM\x64"
KERNELS = ("zephyr.bin",)
IMAGES = ("debian-13-generic-arm64.qcow2", "noble-server-cloudimg-arm64.img")
SEEDS = ("seed.iso", "seed.img")


def stand_in(folder: Path) -> None:
    """Lay files where the topologies name those that their users have: kernels, images."""
    for name in KERNELS:
        (folder / name).write_bytes(_HEADER.ljust(4096, b"\0"))
    for name in IMAGES:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", folder / name, "3G"], check=True)
    for name in SEEDS:
        (folder / name).write_bytes(bytes(range(256)) * 4096)
    with (folder / "rootfs.ext4").open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", folder / "rootfs.ext4"], check=True)


def mebibytes(text: str, of_nothing: int = 1) -> str:
    """Return a size of QEMU's; without a letter it is in MiB of `-m`, and in bytes of an object's."""
    number, unit = re.fullmatch(r"(\d+)([KMG]?)i?B?", text).groups()  # type: ignore[union-attr]
    return f"{int(number) * {'': of_nothing, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}[unit] >> 20} MiB"


def taps(files: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what vtool's units put each interface into: a bridge, or another interface."""
    text = "\n".join(files.values())
    bridges = {tap: ("bridge", bridge) for tap, bridge in re.findall(r"ip link set dev (\S+) master (\S+)", text)}
    direct = re.findall(r"ip link add link (\S+) name (\S+) .*type macvtap mode bridge", text)
    return bridges | {tap: ("direct", interface) for interface, tap in direct}


# -- libvirt's XML


def of_xml(text: str) -> Iterator[tuple[str, str]]:
    domain = ET.fromstring(text)
    memory = domain.find("memory")
    assert memory is not None
    yield "memory", str(int(memory.text or "") << {"KiB": 10, "MiB": 20, "GiB": 30}[memory.get("unit", "")])
    for path in ("vcpu", "name", "os/cmdline", "os/type", "devices/emulator"):
        yield path, domain.findtext(path) or ""
    vcpu = domain.find("vcpu")
    assert vcpu is not None
    yield "cpuset", format_cpu_list(parse_cpu_list(vcpu.get("cpuset", "0")))
    for pinned in domain.iterfind("cputune/*"):
        yield f"{pinned.tag} {pinned.get('vcpu', '')}", str(pinned.get("cpuset"))
    for page in domain.iterfind("memoryBacking/hugepages/page"):
        yield "hugepages", f"{page.get('size')} {page.get('unit')}"
    for path in ("os/type", "features/gic", "cpu", "memoryBacking/source", "memoryBacking/access"):
        found = domain.find(path)
        yield f"{path} …", str(sorted(found.attrib.items())) if found is not None else ""
    for path in ("os/kernel", "os/initrd", "os/nvram"):
        yield path, "a file" if domain.findtext(path) else ""
    yield "os/loader", domain.findtext("os/loader") or ""
    yield from _devices_of_xml(domain)


def _devices_of_xml(domain: ET.Element) -> Iterator[tuple[str, str]]:
    for disk in domain.iterfind("devices/disk"):
        target, driver = disk.find("target"), disk.find("driver")
        assert target is not None and driver is not None
        only = ", read-only" if disk.find("readonly") is not None else ""
        yield f"disk {target.get('dev')}", f"{target.get('bus')}, {driver.get('type')}, {disk.get('type')}{only}"
    for interface in domain.iterfind("devices/interface"):
        mac, model, source = interface.find("mac"), interface.find("model"), interface.find("source")
        assert mac is not None and model is not None
        yield f"interface {mac.get('address')}", str(model.get("type"))
        yield (
            f"interface type{' of a daemon' if interface.get('type') == 'vhostuser' else ''}",
            str(interface.get("type")),
        )
        if interface.get("type") == "vhostuser" and source is not None:
            queues = interface.find("driver")
            yield "socket", f"{source.get('path')}, {queues.get('queues') if queues is not None else 1} pairs"
            continue
        if source is not None and interface.get("type") != "network":
            yield "interface source", str(source.get("bridge") or source.get("dev"))
    for system in domain.iterfind("devices/filesystem"):
        target, driver = system.find("target"), system.find("driver")
        assert target is not None and driver is not None
        yield f"filesystem {target.get('dir')}", str(driver.get("type"))
    for rng in domain.iterfind("devices/rng"):
        yield "rng", f"{rng.get('model')} {rng.findtext('backend')}"
    for given in domain.iterfind("devices/hostdev"):
        address = given.find("source/address")
        assert address is not None
        yield f"hostdev {' '.join(f'{k}={v}' for k, v in sorted(address.attrib.items()))}", str(given.get("type"))
        yield "hostdev managed", str(given.get("managed"))
    for cid in domain.iterfind("devices/vsock/cid"):
        yield "vsock", str(cid.get("address"))
    for channel in domain.iterfind("devices/channel/target"):
        yield f"channel {channel.get('name')}", str(channel.get("type"))
    for tag, attribute in (("serial", "type"), ("memballoon", "model"), ("iommu", "model")):
        if (element := domain.find(f"devices/{tag}")) is not None:
            yield f"{tag} {attribute}", str(element.get(attribute))


def xml_of(board: BoardPlan) -> str:
    """Return the XML of the guest; its interfaces have as their source what vtool's units put them into."""
    files = files_of(board)
    domain = ET.fromstring(files["domains/guest/guest.xml"])
    for interface in domain.iterfind("devices/interface"):
        if (target := interface.find("target")) is not None:
            kind, name = taps(files)[target.get("dev", "")]
            ET.SubElement(interface, "source", {"bridge" if kind == "bridge" else "dev": name})
    return ET.tostring(domain, encoding="unicode")


# -- words for QEMU, and for the daemons beside it

_DAEMONS: Mapping[str, Mapping[str, str]] = {
    "vhost-device-i2c": {"-l": "bus and addresses", "--device-list": "bus and addresses"},
    "vhost-device-vsock": {"--guest-cid": "address"},
    "vhost-device-rng": {},
    "passt": {"-t": "ports"},
    "virtiofsd": {},
}
"""The daemons that scripts start, and what of their words is no path."""


def of_script(text: str) -> Iterator[tuple[str, str]]:
    """Yield what a script starts: QEMU with its words, and daemons."""
    for line in text.replace("\\\n", " ").splitlines():
        words = [word for word in shlex.split(line, comments=True) if word != "&"]
        program = Path(words[0]).name if words else ""
        if program.startswith("qemu-system"):
            yield from of_words(words[1:])
        elif program in _DAEMONS:
            yield program, "is started"
            told = _DAEMONS[program]
            for name, value in _options(words[1:]):
                if name in told:
                    yield f"{program}: {told[name]}", value


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while words:
        name = words.pop(0)
        if name.startswith("-"):
            yield name, words.pop(0) if words and not words[0].startswith("-") else ""


def _keys(value: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in value.split(","))


def of_words(words: list[str]) -> Iterator[tuple[str, str]]:
    devices: list[str] = []
    disks = 0
    words = list(words)
    while words:
        option = words.pop(0)
        value = words.pop(0) if words and not words[0].startswith("-") else ""
        keys = _keys(value)
        match option:
            case "-device":
                devices.append(value.split(",")[0])
                yield from ((keys[key], key) for key in ("mac", "tag") if key in keys)
                told = ("iommu_platform", "host", "queue-size", "guest-cid", "num-queues")
                yield from ((f"{devices[-1]} {key}", keys[key]) for key in told if key in keys)
            case "-drive" if keys.get("if") == "pflash":
                yield f"flash {'of code' if 'readonly' in keys else 'of variables'}", keys["format"]
            case "-drive" | "-blockdev" if (kind := keys.get("format", keys.get("driver"))) in ("raw", "qcow2"):
                disks += 1
                only = ", read-only" if "on" in (keys.get("readonly"), keys.get("read-only")) else ""
                yield f"disk {disks}", f"{kind}{only}"
                devices += ["virtio-blk-pci"] if keys.get("if") == "virtio" else []
            case "-netdev":
                yield from _network(value.split(",")[0], keys)
            case "-nic":
                yield from _network(value.split(",")[0], keys)
                yield keys["mac"], "mac"
                devices.append(keys["model"])
            case _:
                yield from _of_machine(option, value, keys)
    yield "devices", " ".join(sorted(devices))


def _of_machine(option: str, value: str, keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    match option:
        case "-enable-kvm" | "-accel":
            yield "-accel", "kvm"
        case "-machine":
            yield option, f"{value.split(',', maxsplit=1)[0]} {keys['gic-version']}"
            if keys.get("accel"):
                yield "-accel", keys["accel"]
        case "-kernel" | "-initrd" | "-bios":
            yield option, "a file"
        case "-append":
            yield option, " ".join(word for word in value.split() if word != "swiotlb=track_hiwater")
        case "-object" if keys.get("size"):
            yield f"memory of {mebibytes(keys['size'])}", "shared" if keys.get("share") == "on" else "private"
            if keys.get("hugetlb") == "on":
                yield "huge pages", mebibytes(keys["hugetlbsize"])
        case "-m":
            yield option, mebibytes(value, of_nothing=1 << 20)
        case "-cpu" | "-smp" | "-rtc" | "-nographic":
            yield option, value


def _network(kind: str, keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    # The bridge helper makes a tap, too.
    yield "a network", "tap" if kind == "bridge" else kind
    if "br" in keys:
        yield "bridge", keys["br"]
    if "hostfwd" in keys:
        outside, inside = keys["hostfwd"].split("-:")
        yield "passt: ports", f"{outside.rpartition(':')[2]}:{inside}"


def started_by(unit: str) -> str:
    """Return the command line of a unit, as a shell reads it."""
    (line,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", unit, re.MULTILINE)
    return " ".join(str(line).replace("\\\n", " ").replace("$$", "$").replace("%%", "%").split())


def script_of(board: BoardPlan) -> str:
    """Return what the units of a guest and of its daemons start; of taps the bridge that units put them into."""
    files = files_of(board)
    names = (name for name in files if re.fullmatch(r"units/vtool-(backend-.+|domain-guest)\.service", name))
    text = "\n".join(started_by(files[name]) for name in names)
    for tap, (_, bridge) in taps(files).items():
        text = text.replace(f"ifname={tap}", f"ifname={tap},br={bridge}")
    return text


def words_of(board: BoardPlan) -> dict[str, str]:
    """Return what a script of a guest says, fact by fact."""
    return dict(of_script(script_of(board)))


# -- units


def of_unit(text: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a unit, those that are lists value by value; and the words that QEMU is started with."""
    for line in text.replace("\\\n", " ").splitlines():
        name, _, value = line.partition("=")
        if line.startswith(("#", ";", "[")) or not line.strip():
            continue
        match name:
            case "ExecStart":
                yield from of_script(line.partition("=")[2])
            case "RestrictAddressFamilies" | "CapabilityBoundingSet":
                yield name, value
            case "Description" | "ExecStop" | "ExecStartPre" | "ReadWritePaths":
                yield name, "is there"
            case "After" | "Wants" | "Requires" | "SupplementaryGroups":
                yield from ((f"{name}={each}", "is there") for each in value.split())
            case _:
                yield name, value


def unit_of(board: BoardPlan) -> str:
    """Return the unit of the guest with what is added to it, as systemd reads them."""
    files = files_of(board)
    text = files["units/vtool-domain-guest.service"]
    start = next(line for line in script_of(board).splitlines() if "qemu-system" in line)
    return re.sub(r"^ExecStart=(?:.*\\\n)*.*$", lambda _: f"ExecStart={start}", text, flags=re.MULTILINE)


# -- Proxmox VE


def of_qm(text: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a virtual machine of Proxmox VE; a value of several keys one by one."""
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        first, *others = value.split(",")
        yield name, first
        yield from ((f"{name} {other.partition('=')[0]}", other.partition("=")[2]) for other in others)


def qm_of(board: BoardPlan) -> str:
    """Write what QEMU is started with as Proxmox VE has it."""
    said, script = words_of(board), script_of(board)
    (mac,) = (key for key, value in said.items() if value == "mac")
    (disk,) = re.findall(r"driver=host_device,\S+?filename=([^,\s]+)", script)
    devices = said["devices"].split()
    lines = {
        "arch": "aarch64" if "qemu-system-aarch64" in script else "",
        "bios": "ovmf" if "flash of code" in said else "",
        "efidisk0": "a disk" if "flash of variables" in said else "",
        "cores": said["-smp"],
        "cpu": said["-cpu"],
        "machine": said["-machine"].split()[0],
        "memory": said["-m"].removesuffix(" MiB"),
        "net0": f"virtio={mac.upper()},bridge={said['bridge']}" if "virtio-net-pci" in devices else "",
        "scsi0": disk.replace("/dev/pve/", "local-lvm:"),
        "scsihw": "virtio-scsi-pci" if {"virtio-scsi-pci", "scsi-hd"} <= set(devices) else "",
        "agent": "1" if "name=org.qemu.guest_agent.0" in script else "",
        "rng0": "source=/dev/urandom" if "virtio-rng-pci" in devices else "",
        "serial0": "socket" if "-serial chardev:console" in script else "",
        "onboot": "1" if "WantedBy=vtool.target" in unit_of(board) else "",
        "vga": "serial0" if "-display none" in script else "",
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items() if value)


# -- Firecracker


def of_firecracker(text: str) -> Iterator[tuple[str, str]]:
    said = json.loads(text)
    yield "kernel_image_path", "a file" if said["boot-source"].get("kernel_image_path") else ""
    yield "boot_args", " ".join(sorted(said["boot-source"]["boot_args"].split()))
    yield from ((key, str(said["machine-config"][key])) for key in ("vcpu_count", "mem_size_mib"))
    for number, drive in enumerate(said["drives"], 1):
        yield f"drives {number}", "read-only" if drive["is_read_only"] else "written"
    for interface in said["network-interfaces"]:
        yield f"network-interfaces {interface['guest_mac']}", "a tap" if interface["host_dev_name"] else ""
    yield "vsock", str(said["vsock"]["guest_cid"]) if said.get("vsock") else ""
    yield "entropy", "is there" if "entropy" in said else ""


def firecracker_of(board: BoardPlan) -> str:
    """Write what QEMU is started with as Firecracker has it."""
    said = words_of(board)
    disks = (value for key, value in said.items() if key.startswith("disk "))
    taps = [key for key, value in said.items() if value == "mac" and said["a network"] == "tap"]
    return json.dumps({
        "boot-source": {"kernel_image_path": said["-kernel"], "boot_args": said["-append"]},
        "machine-config": {"vcpu_count": int(said["-smp"]), "mem_size_mib": int(said["-m"].removesuffix(" MiB"))},
        "drives": [{"is_read_only": disk.endswith("read-only")} for disk in disks],
        "network-interfaces": [{"guest_mac": mac, "host_dev_name": "tap"} for mac in taps],
        "vsock": {"guest_cid": said["vhost-device-vsock: address"]},
        **({"entropy": {}} if "virtio-rng-device" in said["devices"].split() else {}),
    })  # fmt: skip


# -- kvmtool, crosvm


def of_lkvm(text: str) -> Iterator[tuple[str, str]]:
    words = shlex.split(text.replace("\\\n", " "))
    assert words[:2] == ["lkvm", "run"]
    for option, value in _options(words[2:]):
        match option:
            case "--kernel" | "--initrd" | "--disk":
                yield option, "a file"
            case "--network":
                keys = _keys(value)
                yield f"--network mode={keys['mode']}", "is there"
                yield "--network guest_mac", keys["guest_mac"]
            case _:
                yield option, value


def lkvm_of(board: BoardPlan) -> str:
    said = words_of(board)
    (mac,) = (key for key, value in said.items() if value == "mac")
    disk = " --disk guest.img" if said.get("disk 1") == "raw" else ""
    rng = " --rng" if "virtio-rng-pci" in said["devices"].split() else ""
    memory, words = said["-m"].removesuffix(" MiB"), shlex.quote(said["-append"])
    return (
        f"lkvm run --kernel Image --initrd initrd --cpus {said['-smp']} --mem {memory} --params {words}{disk}{rng} "
        f"--network mode={said['a network']},guest_mac={mac}"
    )


def of_crosvm(text: str) -> Iterator[tuple[str, str]]:
    words = shlex.split(text.replace("\\\n", " "))
    assert words[:2] == ["crosvm", "run"]
    yield "kernel", "a file" if not words[-1].startswith("-") else ""
    for option, value in _options(words[2:-1]):
        match option:
            case "--initrd":
                yield option, "a file"
            case "--block":
                yield option, "read-only" if "ro=true" in value or value.endswith(",ro") else "written"
            case _:
                yield option, value


def crosvm_of(board: BoardPlan) -> str:
    """Write what QEMU is started with as crosvm has it: protected is what alone is private memory."""
    said = words_of(board)
    alone = said[f"memory of {said['-m'].split()[0]} MiB"] if f"memory of {said['-m']}" in said else ""
    shared = [key.split()[2] for key, value in said.items() if key.startswith("memory of") and value == "shared"]
    own = [key.split()[2] for key, value in said.items() if key.startswith("memory of") and value == "private"]
    assert not alone and len(shared) == len(own) == 1
    return (
        f"crosvm run --protected-vm-without-firmware --swiotlb {shared[0]} --mem {own[0]} --cpus {said['-smp']} "
        f"--initrd initrd --params {shlex.quote(said['-append'])} --block path=guest.img,ro=false Image"
    )


def _by(finder: Callable[[BoardPlan], str]) -> Callable[[BoardPlan, str], str]:
    return lambda board, _: finder(board)


PAGES: Mapping[str, Mapping[str, Format]] = {
    "libvirt": {"xml": Format(of_xml, _by(xml_of))},
    "qemu-scripts": {"sh": Format(of_script, _by(script_of))},
    "qemu-units": {"ini": Format(of_unit, _by(unit_of))},
    "proxmox": {"ini": Format(of_qm, _by(qm_of))},
    "firecracker": {"json": Format(of_firecracker, _by(firecracker_of))},
    "kvmtool": {"sh": Format(of_lkvm, _by(lkvm_of))},
    "crosvm": {"sh": Format(of_crosvm, _by(crosvm_of))},
}
"""The formats of each page, by the language of its blocks."""
