"""What is looked at on a board, and what it must show: steps for vtool-board, rows for people.

Pure: a plan gives steps; steps' results give rows. A row that is not proven says what was expected and
what was seen. I/O steps come in an order: a guest's write before the board reads it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vtool.plan.types import (
    BoardPlan,
    EventChannelEnd,
    HostRegion,
    KvmDevice,
    KvmGuest,
    XenBootGuest,
    XenCpuPool,
    XenDisk,
    XenGuest,
    XenInterface,
)
from vtool.units import MIB, AddressRange, format_size

Step = dict[str, Any]
Results = Mapping[str, Any]
TRANSFER_BYTES = 1 * MIB
_GUEST_DEADLINE_S = 60
_TREE = "/sys/firmware/devicetree/base"


@dataclass(frozen=True)
class Row:
    """One thing that had to be shown of one subject."""

    subject: str
    what: str
    expected: str
    seen: str
    proven: bool
    detail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """A row to be: the steps it needs and how their results are read."""

    steps: tuple[Step, ...]
    read: Callable[[Results], Row]


def proofs(board: BoardPlan) -> list[Proof]:
    """Return everything that has to be shown for a board, in order."""
    found: list[Proof] = []
    for region in board.host_regions:
        found += _host_region(region)
    for guest in board.kvm_guests:
        found += _domain(guest)
        for device in guest.devices:
            if device.deployed:  # the others never get here: VT714
                found += _pool_disk(guest, device)
    pools = {pool.label: pool for pool in board.xen_boot.cpupools}
    for boot_guest in board.xen_boot.guests:
        found += _boot_domain(boot_guest, pools.get(boot_guest.cpupool or ""))
    for view in board.xen_boot.shared:
        command = f"od -An -v -tx1 {_TREE}/reserved-memory/xen-shmem@{view.inside.base:x}/reg | tr -d ' \\n'"
        what = f"stands in the tree of '{board.control.name}' where it was planned"
        found.append(_region_reg(f"region {view.region}", what, _run(f"dom0-{view.region}", command), view.inside))
    numbers = {board.control.name: 0, **{guest.name: guest.domain_id for guest in board.xen_boot.guests}}
    found += [_event_channel(end, numbers) for end in board.xen_boot.channel_ends]
    for domain in board.xen_guests:
        found += _domain(domain)
        for disk in domain.disks:
            found += _xen_disk(domain, disk)
        for interface in domain.interfaces:
            found += _xen_interface(domain, interface)
    return found


def steps_of(found: list[Proof]) -> list[Step]:
    """Return all steps in order, each id once."""
    steps = {step["id"]: step for proof in found for step in proof.steps}
    return list(steps.values())


# -- reading results


def _value(results: Results, step: Step, key: str = "output") -> tuple[str | None, tuple[str, ...]]:
    """Return a step's result as text (None when it failed) with the words of the failure."""
    result = results.get(step["id"], {"error": {"message": "not observed", "detail": []}})
    if "error" in result:
        error = result["error"]
        return None, (error["message"], *error.get("detail", ()))
    if result.get("code", 0) != 0:
        said = (str(result.get("output", "")) + str(result.get("errors", ""))).strip()
        return None, (f"exit code {result['code']}: {said[-300:]}",)
    return str(result[key]).strip(), ()


def _simple(
    subject: str,
    what: str,
    step: Step,
    expected: str,
    fits: Callable[[str], bool] | None = None,
    key: str = "output",
) -> Proof:
    """A row that compares one step's output with what was expected."""

    def read(results: Results) -> Row:
        seen, why = _value(results, step, key)
        proven = seen is not None and (fits(seen) if fits else seen == expected)
        return Row(subject, what, expected, "nothing" if seen is None else seen, proven, why)

    return Proof((step,), read)


def _same(subject: str, what: str, first: Step, second: Step) -> Proof:
    """A row that is proven when two steps, on both sides, yield the same digest."""

    def read(results: Results) -> Row:
        (one, why_one), (two, why_two) = _value(results, first), _value(results, second)
        digest = (one or "").split(" ")[0]
        proven = len(digest) == 64 and digest == (two or "").split(" ")[0]
        seen = f"{(two or 'nothing')[:16]}" if not proven else f"{digest[:16]}…"
        return Row(subject, what, f"{digest[:16] or 'a digest'}…", seen, proven, (*why_one, *why_two))

    return Proof((first, second), read)


def _run(identifier: str, command: str, timeout_s: int = 30) -> Step:
    return {"id": identifier, "op": "run", "command": command, "timeout_s": timeout_s}


def _in(domain: str, identifier: str, command: str, timeout_s: int = _GUEST_DEADLINE_S) -> Step:
    return {"id": identifier, "op": "domain", "domain": domain, "command": command, "timeout_s": timeout_s}


def _reg(where: AddressRange) -> str:
    return where.base.to_bytes(8, "big").hex() + where.size_bytes.to_bytes(8, "big").hex()


def _shown_reg(text: str | None) -> str:
    if text is None or len(text) != 32:
        return text or "no such node"
    base, size = int(text[:16], 16), int(text[16:], 16)
    return f"{AddressRange.of_size(base, size)}" if size else f"base {base:#x}, size 0"


# -- regions and domains


def _region_reg(subject: str, what: str, step: Step, where: AddressRange) -> Proof:
    def read(results: Results) -> Row:
        seen, why = _value(results, step)
        return Row(subject, what, str(where), _shown_reg(seen), seen == _reg(where), why)

    return Proof((step,), read)


def _host_region(region: HostRegion) -> Iterator[Proof]:
    subject = f"region {region.region}"
    # A region stands where it was planned, by its content and not by its name: any node of that region.
    command = f"od -An -v -tx1 {_TREE}/reserved-memory/vtool-{region.region}@*/reg | tr -d ' \\n'"
    yield _region_reg(subject, "stands where it was planned", _run(f"reg-{region.region}", command), region.range)


def _is_active(guest: KvmGuest | XenGuest | XenBootGuest) -> Proof:
    unit = _run(f"unit-{guest.name}", f"systemctl is-active {guest.unit} || true")
    return _simple(f"domain {guest.name}", "its unit is active", unit, "active")


def _boot_domain(guest: XenBootGuest, pool: XenCpuPool | None) -> Iterator[Proof]:
    subject = f"domain {guest.name}"
    yield _is_active(guest)
    built = f'xl list {guest.domain_id} | awk \'NR == 2 {{ print $(NF-3) " MiB, " $(NF-2) " CPUs" }}\''
    size = f"{guest.memory_bytes // MIB} MiB, {guest.cpus} CPUs"
    yield _simple(subject, f"Xen built it as domain {guest.domain_id}", _run(f"built-{guest.name}", built), size)
    if guest.ready:
        said = _run(f"ready-{guest.name}", f"test -e /run/vtool/ready/{guest.name} && echo said")
        yield _simple(subject, "its console said its ready text in this boot", said, "said")
    if guest.static_memory is not None:
        where = guest.static_memory.range
        bank = f"xl dmesg | sed -n 's/^(XEN) d{guest.domain_id}: STATIC BANK.0. //p' | tail -n 1"
        step = _run(f"static-{guest.name}", bank)
        yield _simple(subject, "memory that Xen gave it", step, f"{where.base:#016x}-{where.end:#016x}")
    if pool is not None:
        cpus = (
            f"P=$(xl list -c {guest.domain_id} | awk 'NR == 2 {{ print $NF }}'); "
            "xl cpupool-list -c | awk -v p=$P '$1 == p { print $2 }'"
        )
        wanted = ",".join(map(str, pool.cpus))
        yield _simple(subject, f"CPUs of its pool '{pool.name}'", _run(f"pool-{guest.name}", cpus), wanted)
    for view in guest.shared if guest.uart else ():
        # Its kernel says so at boot; there is no shell to ask.
        line = f"DOM{guest.domain_id}: .*reserved mem: 0x[0-9a-f]*[.][.]0x[0-9a-f]* .*xen-shmem@{view.inside.base:x}"
        seen = f"xl dmesg | grep -a -o '{line}' | tail -n 1 | sed 's/.*mem: //; s/ .*//'"
        reach = f"{view.inside.base:#018x}..{view.inside.end - 1:#018x}"
        step = _run(f"view-{view.region}-{guest.name}", seen)
        yield _simple(f"region {view.region}", f"where the kernel of '{guest.name}' found it", step, reach)


def _event_channel(end: EventChannelEnd, numbers: Mapping[str, int]) -> Proof:
    """What Xen itself says of a port: which port of which domain is its other end."""
    dump = (
        f'/Event channel information/ {{ mine = $NF == "{numbers[end.domain]}:" }} '
        f'mine && $2 == "{end.port}" {{ line = $0 }} '
        "END { if (match(line, /d=[0-9]+ p=[0-9]+/)) print substr(line, RSTART, RLENGTH) }"
    )
    step = _run(f"channel-{end.channel}-{end.domain}", f"xl debug-keys e; xl dmesg | awk '{dump}'")
    other = f"d={numbers[end.other_domain]} p={end.other_port}"
    return _simple(f"event channel {end.channel}", f"what Xen bound port {end.port} of '{end.domain}' to", step, other)


def _domain(guest: KvmGuest | XenGuest) -> Iterator[Proof]:
    subject = f"domain {guest.name}"
    yield _is_active(guest)
    yield _simple(subject, "its shell answers", _in(guest.name, f"shell-{guest.name}", "echo alive", 20), "alive")


# -- a disk behind vhost-user, through a pool


def _pool_disk(guest: KvmGuest, disk: KvmDevice) -> Iterator[Proof]:
    subject, name = f"device {disk.name}", guest.name
    pool, identity = disk.pool, f"{guest.name}-{disk.name}"
    assert pool is not None
    option = {
        "id": f"option-{identity}",
        "op": "kernel-option",
        "path": guest.kernel,
        "option": "DMA_RESTRICTED_POOL",
    }
    yield _simple(subject, "kernel has CONFIG_DMA_RESTRICTED_POOL", option, "y", key="value")
    node = f"$(fdtget -l {guest.device_tree} /reserved-memory | grep '^vtool-{pool.region}@')"
    cells = f"fdtget -t x {guest.device_tree} /reserved-memory/{node} reg"
    tree = _run(f"tree-{identity}", f"for cell in $({cells}); do printf %08x 0x$cell; done")
    yield _region_reg(f"region {pool.region}", "stands where it was planned (device tree)", tree, pool.range)
    yield _memory_backend(guest)
    yield _features(disk, name)
    log = (
        f"grep -a -c 'created restricted DMA pool at 0x{pool.range.base:016x}, size {pool.range.size_bytes >> 20} MiB'"
    )
    created = _run(f"created-{identity}", f"{log} {guest.console_log} || true")
    yield _simple(f"region {pool.region}", "kernel made it a restricted DMA pool", created, "1")
    line = f"{disk.guest_device}: assigned reserved memory node {pool.node_name}"
    assigned = _run(f"assigned-{identity}", f"grep -a -c '{line}' {guest.console_log} || true")
    yield _simple(subject, "kernel assigned it the pool", assigned, "1")
    counter = f"F=/sys/kernel/debug/{pool.node_name}; [ -d $F ] || F=/sys/kernel/debug/swiotlb/{pool.node_name}; "
    reset = _in(name, f"reset-{identity}", f"{counter} echo 0 > $F/io_tlb_used_hiwater; cat $F/io_tlb_used_hiwater", 20)
    block = f"/dev/$(ls /sys/devices/platform/{disk.guest_device}/virtio*/block)"
    io = list(_disk_io(subject, name, identity, block, disk.disks[0].disk_path, disk.disks[0].scratch))
    first = io[0]
    yield Proof((reset, *first.steps), first.read)
    yield from io[1:]
    used = _in(name, f"hiwater-{identity}", f"{counter} cat $F/io_tlb_used_hiwater", 20)
    yield _simple(
        f"region {pool.region}",
        "slots used by that I/O (high-water mark)",
        used,
        "above 0",
        lambda text: text.isdigit() and int(text) > 0,
    )
    yield _backend_maps(guest, disk)


def _memory_backend(guest: KvmGuest) -> Proof:
    step: Step = {
        "id": f"memdev-{guest.name}",
        "op": "qmp",
        "domain": guest.name,
        "commands": [{"execute": "query-memdev"}],
    }
    wanted = {"private": (guest.ram.size_bytes, False)}
    wanted |= {f"pool-{pool.region}": (pool.range.size_bytes, pool.shared) for pool in guest.pools}

    def shown(backends: Mapping[str, tuple[int, bool]]) -> str:
        return ", ".join(
            f"{name} {format_size(size)} {'shared' if shared else 'private'}"
            for name, (size, shared) in sorted(backends.items())
        )

    def read(results: Results) -> Row:
        answers, why = _value(results, step, "answers")
        seen: dict[str, tuple[int, bool]] = {}
        if answers is not None:
            answer = results[step["id"]]["answers"][0]
            seen = {item["id"]: (item["size"], item["share"]) for item in answer}
        return Row(
            f"domain {guest.name}", "only the pool is shared memory", shown(wanted), shown(seen) or "nothing",
            seen == wanted, why,
        )  # fmt: skip

    return Proof((step,), read)


def _features(disk: KvmDevice, domain: str) -> Proof:
    """Ask the VMM, not the guest: it answers for a guest that hangs on the device, too."""
    path = f"/machine/peripheral/device-{disk.name}"
    command = {"execute": "x-query-virtio-status", "arguments": {"path": path}}
    step: Step = {"id": f"features-{disk.name}", "op": "qmp", "domain": domain, "commands": [command]}
    wanted = ("VIRTIO_F_VERSION_1", "VIRTIO_F_IOMMU_PLATFORM")

    def read(results: Results) -> Row:
        answers, why = _value(results, step, "answers")
        named: set[str] = set()
        if answers is not None:
            features = results[step["id"]]["answers"][0].get("guest-features", {})
            named = {text.split(":")[0] for text in features.get("transports", [])}
        seen = [word for word in wanted if word in named]
        proven = len(seen) == len(wanted)
        what = "features the driver accepted (bits 32 and 33)"
        return Row(f"device {disk.name}", what, ", ".join(wanted), ", ".join(seen) or "neither", proven, why)

    return Proof((step,), read)


def _backend_maps(guest: KvmGuest, disk: KvmDevice) -> Proof:
    assert disk.backend is not None
    backend = {"id": f"maps-{disk.backend.unit}", "op": "maps", "unit": disk.backend.unit}
    vmm = {"id": f"maps-{guest.unit}", "op": "maps", "unit": guest.unit}
    wanted, objects = disk.backend.maps_bytes, sum(pool.shared for pool in guest.pools)
    expected = f"the pool's {format_size(wanted)}" if objects == 1 else f"{objects} pools, {format_size(wanted)}"

    def read(results: Results) -> Row:
        subject, what = f"backend of {disk.name}", "guest memory it maps"
        _, why = _value(results, backend, "shared")
        _, why_vmm = _value(results, vmm, "shared")
        if why or why_vmm:
            return Row(subject, what, expected, "nothing", False, (*why, *why_vmm))
        of_vmm = {m["identity"] for m in results[vmm["id"]]["shared"] if m["name"].startswith("/memfd:")}
        common = [m for m in results[backend["id"]]["shared"] if m["identity"] in of_vmm]
        total = sum(mapping["size_bytes"] for mapping in common)
        seen = f"{format_size(total)} in {len({m['identity'] for m in common})} memory object(s)" if common else "none"
        proven = total == wanted and len({m["identity"] for m in common}) == objects
        return Row(subject, what, expected, seen, proven)

    return Proof((backend, vmm), read)


# -- data through a disk, both ways


def _disk_io(
    subject: str, domain: str, identity: str, block: str, path: str, scratch: AddressRange | None
) -> Iterator[Proof]:
    """The guest reads what the file holds; with scratch space each side writes and the other reads."""
    blocks = TRANSFER_BYTES // MIB
    if scratch is not None:
        front, back = scratch.base // MIB, scratch.base // MIB + blocks
        write = _in(
            domain,
            f"write-{identity}",
            f"dd if=/dev/urandom of=/tmp/w bs=1M count={blocks} 2>/dev/null; "
            f"dd if=/tmp/w of={block} bs=1M seek={front} oflag=direct conv=fsync 2>/dev/null || exit 1; "
            "sha256sum /tmp/w; rm /tmp/w",
        )
        check = _run(f"written-{identity}", f"dd if={path} bs=1M skip={front} count={blocks} status=none | sha256sum")
        yield _same(
            subject,
            f"{format_size(TRANSFER_BYTES)} written by the frontend, read at the backend's file",
            write,
            check,
        )
        fill = _run(
            f"fill-{identity}",
            f"dd if=/dev/urandom of={path} bs=1M seek={back} count={blocks} conv=notrunc,fsync status=none && "
            f"dd if={path} bs=1M skip={back} count={blocks} status=none | sha256sum",
        )
    else:
        back = 0
        fill = _run(f"fill-{identity}", f"dd if={path} bs=1M count={blocks} status=none | sha256sum")
    fetch = _in(
        domain,
        f"read-{identity}",
        f"dd if={block} bs=1M skip={back} count={blocks} iflag=direct 2>/dev/null | sha256sum",
    )
    yield _same(subject, f"{format_size(TRANSFER_BYTES)} at the backend's file, read by the frontend", fill, fetch)


# -- Xen PV


def _xen_disk(guest: XenGuest, disk: XenDisk) -> Iterator[Proof]:
    subject, identity = f"device {disk.name}", f"{guest.name}-{disk.name}"
    block = f"/dev/{disk.virtual_device}"
    yield from _disk_io(subject, guest.name, identity, block, disk.disk_path, disk.scratch)
    state = _run(
        f"state-{identity}",
        f"D=$(xl domid {guest.name}); for B in $(xenstore-list /local/domain/0/backend/vbd/$D); do "
        f'P=/local/domain/0/backend/vbd/$D/$B; [ "$(xenstore-read $P/dev)" = {disk.virtual_device} ] || continue; '
        "F=$(xenstore-read $P/frontend); "
        'echo "state $(xenstore-read $P/state), ring by grant '
        '$(xenstore-read $F/ring-ref >/dev/null && echo yes)"; done',
    )
    yield _simple(subject, "blkback connected, ring granted", state, "state 4, ring by grant yes")
    counter = _run(
        f"written-sectors-{identity}",
        f"D=$(xl domid {guest.name}); for S in /sys/bus/xen-backend/devices/vbd-$D-*; do "
        f'P=$(cat $S/nodename); [ "$(xenstore-read /local/domain/0/$P/dev)" = {disk.virtual_device} ] && '
        "cat $S/statistics/wr_sect; done; true",
    )
    yield _simple(subject, "sectors that blkback wrote", counter, "above 0", lambda t: t.isdigit() and int(t) > 0)


def _xen_interface(guest: XenGuest, interface: XenInterface) -> Iterator[Proof]:
    subject, identity = f"device {interface.name}", f"{guest.name}-{interface.name}"
    address = interface.frontend_address.split("/")[0]
    size, blocks = format_size(TRANSFER_BYTES), TRANSFER_BYTES // MIB
    serve = _in(
        guest.name,
        f"serve-{identity}",
        f"dd if=/dev/urandom of=/tmp/n bs=1M count={blocks} 2>/dev/null; (nc -l -p 7002 </tmp/n >/dev/null 2>&1 &); "
        "sha256sum /tmp/n",
    )
    fetch = {"id": f"fetch-{identity}", "op": "receive", "address": address, "port": 7002}
    yield _same(subject, f"{size} sent by the frontend, received in the backend domain", serve, fetch)
    listen = _in(
        guest.name,
        f"listen-{identity}",
        "rm -f /tmp/r /tmp/n /tmp/s; "
        "(nc -l -p 7001 </dev/null >/tmp/r 2>/dev/null; sha256sum /tmp/r >/tmp/s) >/dev/null 2>&1 & "
        "echo ok",
    )
    send = {
        "id": f"send-{identity}",
        "op": "send",
        "address": address,
        "port": 7001,
        "size_bytes": TRANSFER_BYTES,
    }
    received = _in(
        guest.name,
        f"received-{identity}",
        "n=0; while [ ! -s /tmp/s ] && [ $n -lt 100 ]; do n=$((n+1)); usleep 100000; done; cat /tmp/s",
    )
    both = _same(subject, f"{size} sent by the backend domain, received in the frontend", send, received)
    yield Proof((listen, *both.steps), both.read)
    copy = _run(
        f"copy-{identity}",
        f"D=$(xl domid {guest.name}); F=/local/domain/$D/device/vif/{interface.index}; "
        'echo "state $(xenstore-read $F/state), rx by grant copy $(xenstore-read $F/request-rx-copy)"',
    )
    yield _simple(subject, "netback connected, grant copy asked for", copy, "state 4, rx by grant copy 1")
