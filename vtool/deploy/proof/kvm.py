"""KVM guests: what their VMM and their kernel say of a device's path, data through it, what its daemon maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from vtool.base.units import MIB, format_size
from vtool.deploy.proof.disks import through_disk
from vtool.deploy.proof.judges import Judge, Results, Verdict, failure, value_of
from vtool.deploy.proof.networks import network_rows
from vtool.deploy.proof.outside import is_driven, kernel_said, of_any_guest, offered, traffic
from vtool.deploy.proof.paths import every_proof, proof_of
from vtool.deploy.proof.queues import queues
from vtool.deploy.proof.reach import kvm_reach
from vtool.deploy.proof.steps import (
    SHARE,
    TRANSFER_BYTES,
    Proof,
    Step,
    block_device,
    counts,
    domain_answers,
    exchanged,
    features,
    has_option,
    in_domain,
    mount_share,
    on_board,
    region_reg,
    same_digest,
    shows,
)
from vtool.model.access import ProofKind, Way
from vtool.plan.types import KvmDevice, KvmGuest, Pool

_SHARED_OBJECTS = ("/memfd:", "/dev/shm/vtool-")  # noqa: S108 - names that are compared


def kvm_guests(guests: Sequence[KvmGuest]) -> Iterator[Proof]:
    """Return what has to be shown of the guests of a board, of what their backends reach, and of what is between."""
    for guest in guests:
        yield from kvm_guest(guest)
        for device in guest.devices:
            yield from kvm_reach(guest, device) if device.virtio else ()
    for path in every_proof():
        yield from path.kvm_guests(guests)
    for guest in guests:
        yield from traffic(guest)


def kvm_guest(guest: KvmGuest) -> Iterator[Proof]:
    """Return what has to be shown of a guest and of its devices."""
    yield from domain_answers(guest)
    yield from of_any_guest(guest)
    used = [pool for pool in guest.pools if any(device.pool == pool for device in guest.devices)]
    if used and guest.kernel is not None:
        yield has_option(f"domain {guest.name}", guest.name, guest, guest.kernel, "DMA_RESTRICTED_POOL")
    yield _memory_backends(guest)
    if guest.firmware:
        yield _started_by_firmware(guest)
    yield from _of_its_settings(guest)
    for pool in used:
        yield from _created(guest, pool)
    for device in guest.devices:
        if device.virtio:
            yield from proof_of(device.data_path).kvm_device(guest, device)


def _created(guest: KvmGuest, pool: Pool) -> Iterator[Proof]:
    subject, identity = f"region {pool.region}", f"{guest.name}-{pool.region}"
    node = f"$(fdtget -l {guest.device_tree} /reserved-memory | grep '^vtool-{pool.region}@')"
    cells = f"fdtget -t x {guest.device_tree} /reserved-memory/{node} reg"
    tree = on_board(f"tree-{identity}", f"for cell in $({cells}); do printf %08x 0x$cell; done")
    yield region_reg(subject, "stands where it was planned (device tree)", tree, pool.range)
    line = f"created restricted DMA pool at 0x{pool.range.base:016x}, size {pool.range.size_bytes >> 20} MiB"
    created = kernel_said(guest, f"created-{identity}", line)
    # A guest that rebooted by itself says it again.
    yield counts(subject, "kernel made it a restricted DMA pool", created, "once a boot")


def _started_by_firmware(guest: KvmGuest) -> Proof:
    """Return the row that EDK2 handed over to the guest's kernel: Linux drivers/firmware/efi/efi.c says whose UEFI.

    U-Boot itself says on the console that it has started.
    """
    if guest.firmware is not None and guest.firmware.variables is None:
        begun = on_board(f"firmware-{guest.name}", f"grep -a -c 'U-Boot [0-9]' {guest.console_log} || true")
        return counts(f"domain {guest.name}", "U-Boot started in it", begun, "once a boot")
    said = kernel_said(guest, f"firmware-{guest.name}", "efi: EFI v[0-9.]* by EDK II")
    return counts(f"domain {guest.name}", "its kernel was started by EDK2", said, "once a boot")


def virtio_device(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """Return what has to be shown of a virtio device, whatever its path."""
    yield driver_accepted(guest, device)
    yield from queues(device, guest.name, guest.cpus, device.guest_sysfs)
    yield from device_io(guest, device)
    yield from backend_maps(guest, device)


def driver_accepted(guest: KvmGuest, device: KvmDevice) -> Proof:
    """Return the row of the features that a driver accepted."""
    if guest.access.way is Way.NONE:
        return offered(guest, device)
    identity, platform = f"{guest.name}-{device.name}", device.data_path.traits.platform
    accepted = in_domain(guest.name, f"features-{identity}", f"cat {device.guest_sysfs}/virtio*/features", 20)
    return features(f"device {device.name}", accepted, guest.name, device.name, platform=platform)


def device_io(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """Return the rows of data through a device: at least one."""
    subject, identity = f"device {device.name}", f"{guest.name}-{device.name}"
    match device.type:
        case "blk":
            block = block_device(device.guest_sysfs)
            yield from through_disk(subject, guest.name, identity, block, device.disks[0])
        case "net" if device.tap is not None:
            port, inside = device.tap.name, f"$(ls {device.guest_sysfs}/virtio*/net)"
            direct = bool(device.tap.direct)
            address = device.frontend_address
            yield from network_rows(subject, guest.name, identity, address, port=port, inside=inside, direct=direct)
        case "net":
            yield from _through_loopback(subject, guest.name, identity, device.backend_address.split("/")[0])
        case "fs":
            yield from _share_io(subject, guest.name, identity, device)
        case other:  # by a path that is not deployed for it
            raise AssertionError(f"nothing proves a device of type {other}")


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


def _of_its_settings(guest: KvmGuest) -> Iterator[Proof]:
    """Return the rows of what stands below `kvm`: the pages of its memory, the CPUs of its vCPUs."""
    subject = f"domain {guest.name}"
    if guest.huge_pages:
        said = (
            f"P=$(systemctl show -p MainPID --value {guest.unit}); sed -n 's/^HugetlbPages:[^0-9]*//p' /proc/$P/status"
        )
        what = f"its memory is in huge pages of {format_size(guest.huge_page_bytes)}"
        yield shows(subject, what, on_board(f"huge-{guest.name}", said), f"{guest.memory_bytes >> 10} kB")
    if guest.vcpu_affinity:
        step: Step = {"id": f"vcpus-{guest.name}", "op": "vcpus", "domain": guest.name}
        kept = "; ".join(",".join(map(str, cpus)) for cpus in guest.vcpu_affinity)
        yield shows(subject, "each vCPU is kept on its CPUs", step, kept)


class MemoryBackends(Judge):
    """QEMU's memory backends have these sizes, each is shared or not as said, and no other one is shared."""

    name = "memory-backends"
    kind: ClassVar[ProofKind | None] = ProofKind.REACH
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


def backend_maps(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """Return the row of what a device's daemon maps; nothing where QEMU itself serves it."""
    if device.backend is None:
        return
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
    kind = BackendMaps if is_driven(guest) else BackendMapsOnceUsed
    judge = kind(backend=backend["id"], vmm=vmm["id"], expected=expected, size_bytes=wanted, objects=objects)
    yield Proof(f"backend of {device.name}", "guest memory it maps", (backend, vmm), judge)


class BackendMaps(Judge):
    """Of the memory objects that a guest's QEMU shares, its daemon maps so many, ``size_bytes`` in all."""

    name = "backend-maps"
    kind: ClassVar[ProofKind | None] = ProofKind.REACH
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


class BackendMapsOnceUsed(BackendMaps):
    """The same of a guest whose driver nobody can start: a daemon that maps nothing of it is noted."""

    name = "backend-maps-once-used"

    def judge(self, results: Results) -> Verdict:
        """Note that nothing is mapped; more or less than what is expected is none of it."""
        verdict = super().judge(results)
        return replace(verdict, noted=verdict.seen == "none")
