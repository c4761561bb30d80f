"""QEMU itself reads what is rendered for it: devices, places, memory and the merged device tree are the plan's.

The QEMU of this machine is older than a board's, so what it does not have yet is left out; and it has no
KVM for arm64, so the accelerator and CPU are replaced. Nothing else of the command line is, but paths.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import vhost_user

from tests.device_settings import settings_for, socket_for
from vtool.base.units import MIB
from vtool.board.qmp import Execute, monitor
from vtool.check import check
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Severity
from vtool.model.combinations import Combination, combinations
from vtool.model.devices import Program
from vtool.model.devices.queues import NOT_CHOSEN, QEMU_ENTRIES
from vtool.model.validate import load_facts, validate
from vtool.plan.planner import make_plan
from vtool.plan.types import BoardPlan, KvmGuest, MmioPlace
from vtool.platform.devicetree import Tree, read_blob
from vtool.platform.layouts import QEMU_VIRT_MMIO
from vtool.platform.qemu_releases import offers_sizes
from vtool.reading.source import load
from vtool.render import render

QEMU = "qemu-system-aarch64"
NET = {
    Program.PASST: "network: {}",
    Program.QEMU: "network: {bridge: br0, frontend_address: 192.0.2.2/24, backend_address: 192.0.2.1/24}",
    Program.VHOST_USER: "network: {}",
    Program.VTOOL_RING: "network: {frontend_address: 192.0.2.2/24, backend_address: 192.0.2.1/24}",
}
HEAD = """version: 1
name: one-of-each
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm, suite: bookworm}}
domains:
  host: {role: control}
  fe0: {memory: 128MiB, cpus: 2, bootargs: 'a="b c" 100% $HOME'}
  fe1: {memory: 64MiB}
regions:
  pool0: {size: 64MiB, owner: fe0, borrowers: [host], use: restricted-dma-pool}
  window0: {size: 2MiB, owner: fe0, borrowers: [fe1], use: shared-memory}
devices:
"""
OF_QUEUES = ("num-queues", "num_queues", "queue-size", "virtqueue_size", "rx_queue_size", "tx_queue_size")
OF_TWO = "{size: 2MiB, owner: fe0, borrowers: [fe1], use: shared-memory}"


def version() -> tuple[int, ...]:
    shown = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in re.findall(r"version (\d+)\.(\d+)", shown)[0])


def is_here(row: Combination) -> bool:
    """Whether this machine's QEMU has the device, and needs nothing of the machine for it.

    An input device and the vsock of the machine's own are opened, vhost-user-gpu and -input refuse to be without KVM.
    """
    needs_more = row.type == "input" or row.program in (Program.VHOST_DEVICE_GPU, Program.VHOST_VSOCK)
    return row.hypervisor == "kvm" and row.since <= version() and not needs_more


ROWS = [row for row in combinations() if is_here(row)]
GROUPS = sorted({(row.data_path, row.transport) for row in ROWS}, key=lambda pair: (pair[0].value, pair[1].value))


def device(name: str, row: Combination, number: int = 0) -> str:
    pool = row.data_path in (DataPath.POOL, DataPath.POOL_IN_RAM)
    ring = row.data_path is DataPath.RING
    region = "region: pool0" if pool else "region: window0" if row.type == "ivshmem" else ""
    region = f"region: {name}" if ring else region
    backend = "fe1" if ring or row.type == "ivshmem" else "host"
    choices = f"program: {row.program.value}, transport: {row.transport.value}, data_path: {row.data_path.value}"
    settings = {} if row.type == "console" else settings_for(row.type, row.program.value, number)
    setting = NET[row.program] if row.type == "net" else json.dumps(settings)[1:-1]
    if row.type == "net" and (own := socket_for(row.program.value, number)):
        setting += f", {json.dumps(own)[1:-1]}"
    setting = "backend_device: /dev/sda" if ring and row.type == "blk" else setting
    limits = row.service.queues if row.service else NOT_CHOSEN
    queues = f"queues: {min(2, limits.most)}" if limits.most else ""
    queues += f"{', ' if queues else ''}queue_size: 1024" if limits.entries else ""
    words = [f"type: {row.type}", "frontend: fe0", f"backend: {backend}", choices, region, queues, setting]
    return f"  {name}: {{{', '.join(word for word in words if word)}}}\n"


def planned(rows: list[Combination], folder: Path) -> BoardPlan:
    text = HEAD + "".join(device(f"{row.type}{index}", row, index) for index, row in enumerate(rows))
    if any(row.data_path is DataPath.VIOMMU for row in rows):
        asked = Combination("kvm", "iommu", DataPath.SHARED_RAM, Transport.PCI, Program.QEMU)
        text += device("iommu", asked)
    used = {row.data_path for row in rows}
    if not used & {DataPath.POOL, DataPath.POOL_IN_RAM}:
        text = re.sub(r"  pool0.*\n", "", text)
    if DataPath.BAR not in used:
        text = re.sub(r"  window0: \{size.*\n", "", text)
    if DataPath.RING in used:
        rings = "".join(f"  {row.type}{index}: {OF_TWO}\n" for index, row in enumerate(rows))
        text = text.replace("devices:\n", f"{rings}devices:\n")
    text = re.sub(r"regions:\n(?=devices)", "", text)
    path = folder / "topology.yaml"
    path.write_text(text)
    document = load(path)
    topology = validate(document)
    facts = load_facts("qemu-virt")
    # VT522: a daemon that this suite lacks, VT405: one pool for a console and disks; only QEMU is asked here.
    errors = [d for d in check(document, topology, {"board0": facts}, {}) if d.severity is Severity.ERROR]
    assert {error.code for error in errors} <= {"VT405", "VT522"}, errors
    return make_plan(document, topology, {"board0": facts.facts}).boards[0]


def command(text: str, key: str, folder: Path) -> list[str]:
    """Return the words of the QEMU command of a unit, as systemd would, with this machine's paths and no KVM."""
    (line,) = (m for m in re.findall(rf"^{key}=((?:.*\\\n)*.*)$", text, re.MULTILINE) if QEMU in m)
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line.replace("\\\n", " "))]
    words[0] = QEMU
    (folder / "kernel").write_bytes(bytes(4096))
    words[words.index("-kernel") + 1] = str(folder / "kernel")
    if "-dtb" in words:
        del words[words.index("-dtb") : words.index("-dtb") + 2]
    words[words.index("kvm")], words[words.index("host")] = "tcg", "max"
    words = [re.sub(r"/(run|var/lib|var/log|dev/shm)/vtool", lambda m: f"{folder}/{m[1]}-vtool", w) for w in words]
    return [re.sub(r"^tap,(id=[^,]*).*", r"user,\1", word) for word in words]


@contextmanager
def connected(qmp: Path, process: subprocess.Popen[bytes]) -> Iterator[Execute]:
    """Connect to QEMU as soon as it listens, which is later than the socket is there."""
    until = time.monotonic() + 60
    with ExitStack() as stack:
        while True:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                execute = stack.enter_context(monitor(qmp))
                break
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        yield execute


def ask(words: list[str], guest: KvmGuest, folder: Path) -> dict[str, Any]:
    """Start QEMU without running the guest; return what its monitor says of devices and memory."""
    qmp = f"{folder}{guest.qmp_socket.replace('/run/', '/run-')}"
    Path(qmp).parent.mkdir(parents=True, exist_ok=True)
    log = Path(f"{folder}{guest.console_log.replace('/var/log/', '/var/log-')}")
    log.parent.mkdir(parents=True, exist_ok=True)
    said = folder / "stderr"
    with said.open("w") as errors:
        process = subprocess.Popen([*words, "-S"], stderr=errors, stdin=subprocess.DEVNULL)

    try:
        with connected(Path(qmp), process) as execute:
            found: dict[str, Any] = {"memory": execute("query-memdev"), "devices": {}}
            for item in execute("qom-list", path="/machine/peripheral"):
                if item["type"].startswith("child<"):
                    path = f"/machine/peripheral/{item['name']}"
                    names = [p["name"] for p in execute("qom-list", path=path)]
                    wanted = [n for n in ("type", "parent_bus", "addr", "iommu_platform", *OF_QUEUES) if n in names]
                    found["devices"][item["name"]] = {n: execute("qom-get", path=path, property=n) for n in wanted}
    except Exception as error:
        raise AssertionError(said.read_text()) from error
    else:
        return found
    finally:
        process.kill()
        process.wait()


def unit_of(board: BoardPlan, guest: KvmGuest) -> str:
    return render(board).get(f"units/{guest.unit}").content


def expected_devices(guest: KvmGuest) -> Iterator[tuple[str, str, str, int | None, dict[str, int]]]:
    for device in guest.devices:
        made = next(
            (option for option in device.options if dict(option.pairs).get("id") == f"device-{device.name}"), None
        )
        if made is None:
            continue
        place = device.place
        mmio = isinstance(place, MmioPlace)
        bus = f"virtio-mmio-bus.{place.slot}" if mmio else "pcie.0"
        queues = {key: int(value) for key, value in made.pairs if key in OF_QUEUES}
        yield f"device-{device.name}", made.word, bus, None if mmio else place.slot << 3, queues


@pytest.mark.parametrize(("path", "transport"), GROUPS, ids=lambda value: value.value)
def test_every_row_of_the_table_is_what_qemu_makes(path: DataPath, transport: Transport, tmp_path: Path) -> None:
    rows = [row for row in ROWS if (row.data_path, row.transport) == (path, transport)]
    board = planned(rows, tmp_path)
    for guest in board.kvm_guests:
        for device in guest.devices:
            for disk in device.disks:
                file = Path(f"{tmp_path}{disk.disk_path.replace('/var/lib/', '/var/lib-')}")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(bytes(1 << 20))
            socket = device.backend.socket if device.backend else ""
            if device.program is Program.VHOST_USER:
                socket = device.setting("path")
            if socket:
                vhost_user.listen(Path(f"{tmp_path}{socket.replace('/run/', '/run-')}"))
        (tmp_path / "dev").mkdir(exist_ok=True)
        words = command(unit_of(board, guest), "ExecStart", tmp_path)
        assert words[words.index("-append") + 1] == guest.bootargs
        found = ask(words, guest, tmp_path)
        for name, kind, bus, address, queues in expected_devices(guest):
            got = found["devices"][name]
            assert got["type"] == kind
            assert got["parent_bus"].rpartition("/")[2] == bus
            assert address is None or got["addr"] == address
            assert {key: got[key] for key in queues} == queues, name
            row = next((r for r in rows if name.removeprefix("device-").startswith(r.type)), None)
            if row is not None and path in (DataPath.POOL, DataPath.POOL_IN_RAM, DataPath.VIOMMU):
                assert got["iommu_platform"] is True, name
        memory = {item["id"]: (item["size"], item["share"]) for item in found["memory"]}
        wanted = {m.identity: (m.size_bytes, m.shared) for m in guest.memory}
        windows = {f"region-{d.name}": (d.region_file.size_bytes, True) for d in guest.devices if d.region_file}
        assert memory == wanted | windows


def merged_tree(board: BoardPlan, guest: KvmGuest, folder: Path) -> Tree:
    """Let QEMU write the base tree and fdtoverlay merge the guest's, as its unit does."""
    run = folder / f"run-vtool/domain-{guest.name}"
    run.mkdir(parents=True)
    subprocess.run(command(unit_of(board, guest), "ExecStartPre", folder), check=True, capture_output=True)
    source, overlay, merged = run / "guest.dts", run / "guest.dtbo", run / "guest.dtb"
    source.write_text(render(board).get(f"domains/{guest.name}/{guest.name}.dts").content)
    subprocess.run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", overlay, source], check=True)
    subprocess.run(["fdtoverlay", "-i", run / "base.dtb", "-o", merged, overlay], check=True)
    return read_blob(merged.read_bytes())


@pytest.mark.parametrize(
    "pair", [(DataPath.POOL, Transport.MMIO), *((DataPath.POOL_IN_RAM, t) for t in (Transport.MMIO, Transport.PCI))]
)
def test_devices_find_their_pool_in_the_merged_tree(pair: tuple[DataPath, Transport], tmp_path: Path) -> None:
    board = planned([row for row in ROWS if (row.data_path, row.transport) == pair], tmp_path)
    guest = board.kvm_guests[0]
    tree = merged_tree(board, guest, tmp_path)
    nodes = tree.by_phandle()
    (pool,) = guest.pools
    node = tree.node(f"/reserved-memory/{pool.node_name}")
    assert node is not None and node.compatible == ("restricted-dma-pool",) and node.ranges() == [pool.range]
    assert not {"no-map", "reusable", "linux,dma-default", "linux,cma-default"} & set(node.properties)
    memory = [where for found in tree.root.children.values() if found.base_name == "memory" for where in found.ranges()]
    assert sum(where.size_bytes for where in memory) == guest.memory_bytes
    assert any(where.contains(pool.range) for where in memory)
    for device in guest.devices:
        parent = "/" if isinstance(device.place, MmioPlace) else "/pcie@10000000/"
        found = tree.node(parent + device.node_name)
        assert found is not None and nodes[found.number("memory-region")] is node, device.name
        if isinstance(device.place, MmioPlace):
            assert found.reg()[0][0] == device.place.base
            assert found.properties["interrupts"].cells[1] == device.place.spi_index
        else:
            # IEEE 1275 PCI binding: bits 15 to 11 of the first cell are the device number.
            assert found.properties["reg"].cells == (int(device.guest_device[8:10], 16) << 11, 0, 0, 0, 0)


@pytest.mark.parametrize("size", [64, 1024])
def test_over_mmio_a_driver_is_offered_the_most_that_there_is(size: int, tmp_path: Path) -> None:
    # Why there is one size over mmio (vtool/platform/qemu_releases.py). Slot 0: magic, QueueSel = 0, QueueNumMax.
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(MIB))
    words = [QEMU, "-machine", "virt", "-accel", "tcg", "-S", "-display", "none", "-nodefaults", "-qtest", "stdio"]
    words += ["-global", "virtio-mmio.force-legacy=false", "-blockdev", f"driver=file,node-name=f,filename={disk}"]
    words += ["-device", f"virtio-blk-device,drive=f,queue-size={size},bus=virtio-mmio-bus.0"]
    base = QEMU_VIRT_MMIO.base
    asked = (f"readl {base:#x}", f"writel {base + 0x30:#x} 0", f"readl {base + 0x34:#x}")
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("".join(f"{line}\n" for line in asked))
        process.stdin.flush()
        said = [next(line for line in process.stdout if line.startswith("OK")).split() for _ in asked]
        process.kill()
    magic, _, most = said
    assert int(magic[1], 16) == int.from_bytes(b"virt", "little")
    assert int(most[1], 16) == (size if offers_sizes((version()[0], version()[1]), mmio=True) else QEMU_ENTRIES[1])
