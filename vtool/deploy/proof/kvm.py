"""KVM guests: what their VMM and their kernel say of a device's path, data through it, what its daemon maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from vtool.base.units import MIB, format_size
from vtool.deploy.proof.judges import Judge, Results, Verdict, failure, value_of
from vtool.deploy.proof.reach import between
from vtool.deploy.proof.steps import (
    SHARE,
    TRANSFER_BYTES,
    Proof,
    Step,
    block_device,
    counts,
    disk_io,
    domain_answers,
    exchanged,
    features,
    has_option,
    in_domain,
    mount_share,
    network_io,
    on_board,
    region_reg,
    same_digest,
    shows,
    slots_used,
)
from vtool.plan.types import TRACK_HIWATER, KvmDevice, KvmGuest, Pool

_SHARED_OBJECTS = ("/memfd:", "/dev/shm/vtool-")  # noqa: S108 - names that are compared
WINDOW_WORDS = 32
"""Words of 8 bytes that go each way through a BAR: a guest's devmem writes one at a time."""


def kvm_guest(guest: KvmGuest) -> Iterator[Proof]:
    """Return what has to be shown of a guest and of its devices."""
    yield from domain_answers(guest)
    used = [pool for pool in guest.pools if any(device.pool == pool for device in guest.devices)]
    if used:
        yield has_option(f"domain {guest.name}", guest.name, guest.kernel, "DMA_RESTRICTED_POOL")
    yield _memory_backends(guest)
    for pool in used:
        yield from _pool(guest, pool)
    for device in guest.devices:
        if device.virtio:
            yield from _virtio(guest, device)


def _pool(guest: KvmGuest, pool: Pool) -> Iterator[Proof]:
    subject, identity = f"region {pool.region}", f"{guest.name}-{pool.region}"
    node = f"$(fdtget -l {guest.device_tree} /reserved-memory | grep '^vtool-{pool.region}@')"
    cells = f"fdtget -t x {guest.device_tree} /reserved-memory/{node} reg"
    tree = on_board(f"tree-{identity}", f"for cell in $({cells}); do printf %08x 0x$cell; done")
    yield region_reg(subject, "stands where it was planned (device tree)", tree, pool.range)
    line = f"created restricted DMA pool at 0x{pool.range.base:016x}, size {pool.range.size_bytes >> 20} MiB"
    created = on_board(f"created-{identity}", f"grep -a -c '{line}' {guest.console_log} || true")
    # A guest that rebooted by itself says it again.
    yield counts(subject, "kernel made it a restricted DMA pool", created, "once a boot")


def _virtio(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    subject, identity = f"device {device.name}", f"{guest.name}-{device.name}"
    accepted = in_domain(guest.name, f"features-{identity}", f"cat {device.guest_sysfs}/virtio*/features", 20)
    traits = device.data_path.traits
    yield features(subject, accepted, guest.name, device.name, platform=traits.platform)
    if traits.translated:
        kind = in_domain(guest.name, f"translated-{identity}", f"cat {device.guest_sysfs}/iommu_group/type", 20)
        yield shows(subject, "its IOMMU group translates", kind, "DMA", "DMA-FQ")
    io = list(_io(guest, device, subject, identity))
    pool = device.pool if traits.pooled else None
    if pool is None:
        yield from io
    else:
        line = f"{device.guest_device}: assigned reserved memory node {pool.node_name}"
        assigned = on_board(f"assigned-{identity}", f"grep -a -c '{line}' {guest.console_log} || true")
        yield counts(subject, "kernel assigned it the pool", assigned, "once a boot")
        counter = f"F=/sys/kernel/debug/{pool.node_name}; [ -d $F ] || F=/sys/kernel/debug/swiotlb/{pool.node_name}; "
        high = "$F/io_tlb_used_hiwater"
        reset = in_domain(guest.name, f"reset-{identity}", f"{counter} echo 0 > {high}; cat {high}", 20)
        yield io[0].after(reset)
        yield from io[1:]
        told = f"{counter} cat {high} && uname -r && grep -o '{TRACK_HIWATER}' /proc/cmdline; true"
        used = in_domain(guest.name, f"hiwater-{identity}", told, 20)
        yield slots_used(subject, f"slots of '{pool.region}' used by that I/O (high-water mark)", used)
    if device.backend is not None:
        yield _backend_maps(guest, device)


def _io(guest: KvmGuest, device: KvmDevice, subject: str, identity: str) -> Iterator[Proof]:
    """Return the rows of data through a device: at least one."""
    match device.type:
        case "blk":
            block, disk = block_device(device.guest_sysfs), device.disks[0]
            yield from disk_io(subject, guest.name, identity, block, disk.disk_path, disk.scratch)
        case "net" if device.tap is not None:
            yield from network_io(subject, guest.name, identity, device.frontend_address)
        case "net":
            yield from _through_loopback(subject, guest.name, identity, device.backend_address.split("/")[0])
        case "fs":
            yield from _share_io(subject, guest.name, identity, device)
        case _:
            raise AssertionError(f"nothing proves a device of type {device.type}")


def _through_loopback(subject: str, domain: str, identity: str, board: str) -> Iterator[Proof]:
    """Passt lets the frontend reach the board's loopback: it connects, and sends or reads."""
    size, blocks = format_size(TRANSFER_BYTES), TRANSFER_BYTES // MIB
    random = f"dd if=/dev/urandom of=/tmp/n bs=1M count={blocks} 2>/dev/null"
    send = f"{random}; nc {board} PORT </tmp/n >/dev/null; sha256sum /tmp/n; rm /tmp/n"
    step: Step = {"id": f"sent-{identity}", "op": "exchange", "domain": domain, "command": send}
    yield exchanged(subject, f"{size} sent by the frontend, received on the board", step)
    # An input that never ends: with one that does, nc ends its half, and passt lets go of the other half, too.
    fetch = f"rm -f /tmp/f; mknod /tmp/f p; exec 3<>/tmp/f; nc {board} PORT <&3 | sha256sum; rm /tmp/f"
    step = {
        "id": f"fetched-{identity}",
        "op": "exchange",
        "domain": domain,
        "command": fetch,
        "size_bytes": TRANSFER_BYTES,
    }
    yield exchanged(subject, f"{size} sent by the board, received in the frontend", step)


def _share_io(subject: str, domain: str, identity: str, device: KvmDevice) -> Iterator[Proof]:
    """Files written on one side are read on the other; a share that is read-only goes one way."""
    assert device.backend is not None
    folder, size = f"/var/lib/{device.backend.state_folder}", format_size(TRANSFER_BYTES)
    copy = f"bs=1M count={TRANSFER_BYTES // MIB}"
    mount = mount_share(device.name)
    here, there = ".vtool-from-board", ".vtool-from-frontend"
    put = on_board(
        f"put-{identity}",
        f"cd {folder} && dd if=/dev/urandom of={here} {copy} status=none && chmod a+r {here} && sha256sum {here}",
    )
    get = in_domain(domain, f"get-{identity}", f"{mount} && sha256sum {SHARE}/{here}; umount {SHARE}")
    yield same_digest(subject, f"{size} in a file of the backend's, read by the frontend", put, get)
    if device.backend.read_only:
        return
    write = in_domain(
        domain,
        f"write-{identity}",
        f"{mount} && dd if=/dev/urandom of={SHARE}/{there} {copy} 2>/dev/null && sha256sum {SHARE}/{there}; "
        f"umount {SHARE}",
    )
    check = on_board(f"written-{identity}", f"cd {folder} && sha256sum {there}; rm -f {there} {here}")
    yield same_digest(subject, f"{size} in a file of the frontend's, read on the board", write, check)


def windows(guests: Sequence[KvmGuest]) -> Iterator[tuple[KvmDevice, tuple[KvmGuest, KvmGuest]]]:
    """Yield each device that two guests have, with both."""
    for guest, other in combinations(guests, 2):
        shared = {device.name for device in guest.devices if device.type == "ivshmem"}
        yield from ((device, (guest, other)) for device in other.devices if device.name in shared)


def window(device: KvmDevice, guests: tuple[KvmGuest, KvmGuest]) -> Iterator[Proof]:
    """Return the rows that two guests see the same bytes behind a BAR, whoever writes them, and nothing besides."""
    subject, size = f"device {device.name}", WINDOW_WORDS * 8
    both = (guests, guests[::-1])
    ends = {guest.name: next(d.guest_sysfs for d in guest.devices if d.name == device.name) for guest in guests}
    for number, (writer, reader) in enumerate(both):
        # What was there before is not what is proven now.
        value = "0x$(dd if=/dev/urandom bs=8 count=1 2>/dev/null | hexdump -v -e '8/1 \"%02X\"')"
        command = _each_word(ends[writer.name], f"devmem $A 64 {value}")
        write = in_domain(writer.name, f"write-{device.name}-{number}", command)
        read = in_domain(reader.name, f"read-{device.name}-{number}", _each_word(ends[reader.name], ":"))
        what = f"{size} bytes written by '{writer.name}', read by '{reader.name}'"
        yield same_digest(subject, what, write, read, size)
    for guest, other in both:
        words = f"$(dd if=$C bs={size} count=1 2>/dev/null | hexdump -v -e '1/4 \"0x%08X \"')"
        control = f"{_base(ends[guest.name])}; for W in {words}; do devmem $((B)) 32 $W; B=$((B + 4)); done"
        yield between(guest, other, device.name, control, f"what '{other.name}' can reach of '{guest.name}'")


def _base(device: str) -> str:
    """Return a shell line that makes B the address of an ivshmem device's memory, by its folder in sysfs."""
    return f"echo 1 > {device}/enable; B=$(sed -n 3p {device}/resource | cut -d' ' -f1)"


def _each_word(device: str, command: str) -> str:
    """Return a shell line that runs a command for each word's address A, then prints the digest of all words."""
    words = f"for N in $(seq 0 {WINDOW_WORDS - 1}); do A=$((B + N * 8))"
    return f"{_base(device)}; {words}; {command}; done; {words}; devmem $A 64; done | sha256sum"


def _memory_backends(guest: KvmGuest) -> Proof:
    step: Step = {
        "id": f"memdev-{guest.name}",
        "op": "qmp",
        "domain": guest.name,
        "commands": [{"execute": "query-memdev"}],
    }
    wanted = {memory.identity: (memory.size_bytes, memory.shared) for memory in guest.memory}
    wanted |= {f"region-{d.name}": (d.region_file.size_bytes, True) for d in guest.devices if d.region_file}
    alone = any(pool.numa_node for pool in guest.pools)
    what = "only the pool is shared memory" if alone else "its memory, private and shared"

    return Proof(f"domain {guest.name}", what, (step,), MemoryBackends(step=step["id"], backends=wanted))


class MemoryBackends(Judge):
    """QEMU's memory backends have these sizes, each is shared or not as said, and no other one is shared."""

    name = "memory-backends"
    step: str
    backends: dict[str, tuple[int, bool]]

    def judge(self, results: Results) -> Verdict:
        """Compare with what QEMU answered to `query-memdev`."""
        answers, why = value_of(results, self.step, "answers")
        seen: dict[str, tuple[int, bool]] = {}
        if answers is not None:
            answer = results[self.step]["answers"][0]
            known = [item for item in answer if item["id"] in self.backends or item["share"]]
            seen = {item["id"]: (item["size"], item["share"]) for item in known}
        return Verdict(_shown(self.backends), _shown(seen) or "nothing", seen == self.backends, why)


def _shown(backends: Mapping[str, tuple[int, bool]]) -> str:
    return ", ".join(
        f"{name} {format_size(size)} {'shared' if shared else 'private'}"
        for name, (size, shared) in sorted(backends.items())
    )


def _backend_maps(guest: KvmGuest, device: KvmDevice) -> Proof:
    assert device.backend is not None
    backend = {"id": f"maps-{device.backend.unit}", "op": "maps", "unit": device.backend.unit}
    vmm = {"id": f"maps-{guest.unit}", "op": "maps", "unit": guest.unit}
    regions = sum(other.region_file is not None for other in guest.devices)
    wanted, objects = device.backend.maps_bytes, sum(memory.shared for memory in guest.memory) + regions
    whose = (
        "all RAM" + (" and regions" if regions else "")
        if guest.memory[0].shared
        else "the pool"
        if objects == 1
        else f"{objects} pools"
    )
    expected = f"{whose}, {format_size(wanted)}"
    judge = BackendMaps(backend=backend["id"], vmm=vmm["id"], expected=expected, size_bytes=wanted, objects=objects)
    return Proof(f"backend of {device.name}", "guest memory it maps", (backend, vmm), judge)


class BackendMaps(Judge):
    """Of the memory objects that a guest's QEMU shares, its daemon maps so many, ``size_bytes`` in all."""

    name = "backend-maps"
    backend: str
    vmm: str
    expected: str
    size_bytes: int
    objects: int

    def judge(self, results: Results) -> Verdict:
        """Look for objects that both have mapped."""
        why = (*failure(results, self.backend), *failure(results, self.vmm))
        if why:
            return Verdict(self.expected, "nothing", False, why)
        of_vmm = {m["identity"] for m in results[self.vmm]["shared"] if m["name"].startswith(_SHARED_OBJECTS)}
        common = [m for m in results[self.backend]["shared"] if m["identity"] in of_vmm]
        total, found = sum(mapping["size_bytes"] for mapping in common), len({m["identity"] for m in common})
        seen = f"{format_size(total)} in {found} memory object(s)" if common else "none"
        return Verdict(self.expected, seen, total == self.size_bytes and found == self.objects)
