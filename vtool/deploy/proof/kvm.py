"""A disk behind vhost-user, through a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.deploy.proof.steps import (
    Proof,
    Results,
    Row,
    Step,
    disk_io,
    in_domain,
    on_board,
    region_reg,
    shows,
    value_of,
)
from vtool.plan.types import KvmDevice, KvmGuest
from vtool.units import format_size


def pool_disk(guest: KvmGuest, disk: KvmDevice) -> Iterator[Proof]:
    """Return what has to be shown of a disk that is served through a pool."""
    subject, name = f"device {disk.name}", guest.name
    pool, identity = disk.pool, f"{guest.name}-{disk.name}"
    assert pool is not None
    option = {
        "id": f"option-{identity}",
        "op": "kernel-option",
        "path": guest.kernel,
        "option": "DMA_RESTRICTED_POOL",
    }
    yield shows(subject, "kernel has CONFIG_DMA_RESTRICTED_POOL", option, "y", key="value")
    node = f"$(fdtget -l {guest.device_tree} /reserved-memory | grep '^vtool-{pool.region}@')"
    cells = f"fdtget -t x {guest.device_tree} /reserved-memory/{node} reg"
    tree = on_board(f"tree-{identity}", f"for cell in $({cells}); do printf %08x 0x$cell; done")
    yield region_reg(f"region {pool.region}", "stands where it was planned (device tree)", tree, pool.range)
    yield _memory_backend(guest)
    yield _features(disk, name)
    log = (
        f"grep -a -c 'created restricted DMA pool at 0x{pool.range.base:016x}, size {pool.range.size_bytes >> 20} MiB'"
    )
    created = on_board(f"created-{identity}", f"{log} {guest.console_log} || true")
    yield shows(f"region {pool.region}", "kernel made it a restricted DMA pool", created, "1")
    line = f"{disk.guest_device}: assigned reserved memory node {pool.node_name}"
    assigned = on_board(f"assigned-{identity}", f"grep -a -c '{line}' {guest.console_log} || true")
    yield shows(subject, "kernel assigned it the pool", assigned, "1")
    counter = f"F=/sys/kernel/debug/{pool.node_name}; [ -d $F ] || F=/sys/kernel/debug/swiotlb/{pool.node_name}; "
    reset = in_domain(
        name, f"reset-{identity}", f"{counter} echo 0 > $F/io_tlb_used_hiwater; cat $F/io_tlb_used_hiwater", 20
    )
    block = f"/dev/$(ls /sys/devices/platform/{disk.guest_device}/virtio*/block)"
    io = list(disk_io(subject, name, identity, block, disk.disks[0].disk_path, disk.disks[0].scratch))
    first = io[0]
    yield Proof((reset, *first.steps), first.read)
    yield from io[1:]
    used = in_domain(name, f"hiwater-{identity}", f"{counter} cat $F/io_tlb_used_hiwater", 20)
    yield shows(
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
        answers, why = value_of(results, step, "answers")
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
        answers, why = value_of(results, step, "answers")
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
        _, why = value_of(results, backend, "shared")
        _, why_vmm = value_of(results, vmm, "shared")
        if why or why_vmm:
            return Row(subject, what, expected, "nothing", False, (*why, *why_vmm))
        of_vmm = {m["identity"] for m in results[vmm["id"]]["shared"] if m["name"].startswith("/memfd:")}
        common = [m for m in results[backend["id"]]["shared"] if m["identity"] in of_vmm]
        total = sum(mapping["size_bytes"] for mapping in common)
        seen = f"{format_size(total)} in {len({m['identity'] for m in common})} memory object(s)" if common else "none"
        proven = total == wanted and len({m["identity"] for m in common}) == objects
        return Row(subject, what, expected, seen, proven)

    return Proof((backend, vmm), read)
