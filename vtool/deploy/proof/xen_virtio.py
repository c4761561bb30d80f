"""virtio devices of Xen guests, which one QEMU in dom0 serves by grants, foreign mappings or a pool."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, AddressRange, format_size
from vtool.deploy.proof.judges import Judge, Results, SameLines, Verdict, failure
from vtool.deploy.proof.reach import IOREQ_BYTES, pool_reach, xen_virtio_reach
from vtool.deploy.proof.steps import (
    TRANSFER_BYTES,
    Proof,
    Step,
    block_device,
    disk_io,
    exchanged,
    features,
    has_option,
    in_domain,
    network_io,
    on_board,
    shows,
    slots_used,
)
from vtool.plan.types import XenBootGuest, XenGuest, XenQemu, XenVirtio

GRANTS, FOREIGN = "/dev/xen/gntdev", "/dev/xen/privcmd"
CONTROL = (
    "import hashlib, sys; sys.stdout.buffer.write(hashlib.sha256(b'control ' + sys.argv[1].encode()).digest() * 32768)"
)
"""Write the control of a seed, as vtool/deploy/on_board/reach.py does inside a guest."""
ECHO_PORT = 7003
"""Where vtool's guest sends back what it gets (vtool/images/recipes/guest/init)."""


def xen_virtio(guest: XenGuest) -> Iterator[Proof]:
    """Return what has to be shown of the virtio devices of a guest, and of the QEMU that serves them."""
    for device in guest.virtio:
        subject, identity = f"device {device.name}", f"{guest.name}-{device.name}"
        if device.grants:
            yield has_option(subject, identity, guest.kernel, "XEN_VIRTIO")
        accepted = f"cat /sys/bus/platform/devices/{device.place.base:x}.virtio/virtio*/features"
        yield _features(device, guest.name, in_domain(guest.name, f"features-{identity}", accepted, 20))
        if device.disks:
            disk = device.disks[0]
            yield from disk_io(subject, guest.name, identity, _disk_of(device), disk.disk_path, disk.scratch)
        if device.tap is not None:
            yield from network_io(subject, guest.name, identity, device.frontend_address)
    if guest.qemu is not None:
        yield mappings(guest, guest.qemu)
        yield from xen_virtio_reach(guest, guest.qemu)


def _features(device: XenVirtio, domain: str, accepted: Step) -> Proof:
    return features(f"device {device.name}", accepted, domain, device.name, platform=device.data_path.traits.platform)


def _disk_of(device: XenVirtio) -> str:
    return block_device(f"/sys/bus/platform/devices/{device.place.base:x}.virtio")


def mappings(guest: XenGuest, qemu: XenQemu) -> Proof:
    """What QEMU has mapped of the guest while a disk is read: granted pages, or the guest's memory."""
    paths = {device.grants for device in guest.virtio}
    disk = next((device for device in guest.virtio if device.disks), None)
    busy: tuple[Step, ...] = ()
    if disk is not None:
        busy = (
            in_domain(
                guest.name,
                f"busy-{guest.name}",
                f"(dd if={_disk_of(disk)} of=/dev/null bs=64k count=512 iflag=direct >/dev/null 2>&1 &); echo ok",
            ),
        )
    wanted = "its memory (privcmd)" if False in paths else "nothing else (privcmd)"
    if True in paths:
        wanted = f"granted pages (gntdev) and {wanted}"

    what = "memory of the guest that QEMU maps, while a disk is read"
    return _mapped(guest.name, qemu, what, wanted, granted=True in paths, foreign=False in paths).after(*busy)


def _mapped(
    guest: str, qemu: XenQemu, what: str, wanted: str, *, granted: bool, foreign: bool, most_bytes: int | None = None
) -> Proof:
    step: Step = {"id": f"maps-{qemu.unit}", "op": "maps", "unit": qemu.unit}
    judge = QemuMaps(step=step["id"], expected=wanted, granted=granted, foreign=foreign, most_bytes=most_bytes)
    return Proof(f"backend of {guest}", what, (step,), judge)


class QemuMaps(Judge):
    """Of a guest of Xen, QEMU maps granted pages or not, and foreign memory (up to ``most_bytes``) or not.

    Its own pages for accesses are among what it maps as foreign memory.
    """

    name = "qemu-maps"
    step: str
    expected: str
    granted: bool
    foreign: bool
    most_bytes: int | None = None

    def judge(self, results: Results) -> Verdict:
        """Add up the mappings of both device nodes."""
        why = failure(results, self.step)
        if why:
            return Verdict(self.expected, "nothing", False, why)
        sizes = {GRANTS: 0, FOREIGN: 0}
        for mapping in results[self.step]["shared"]:
            if mapping["name"] in sizes:
                sizes[mapping["name"]] += mapping["size_bytes"]
        seen = f"{format_size(sizes[GRANTS])} by gntdev, {format_size(sizes[FOREIGN])} by privcmd"
        proven = (sizes[GRANTS] > 0, sizes[FOREIGN] > IOREQ_BYTES) == (self.granted, self.foreign)
        fits = self.most_bytes is None or sizes[FOREIGN] <= self.most_bytes + IOREQ_BYTES
        return Verdict(self.expected, seen, proven and fits)


# -- through a pool, in a guest that Xen builds at boot and whose shell nobody here reaches


def pool_virtio(guest: XenBootGuest) -> Iterator[Proof]:
    """Return what has to be shown of what a guest has through pools."""
    views = {view.region: view for view in guest.shared}
    said = f"xl dmesg | grep -a 'DOM{guest.domain_id}: '"
    for pool in dict.fromkeys(device.pool for device in guest.virtio if device.pool):
        inside = views[pool].inside
        created = f"created restricted DMA pool at {inside.base:#018x}, size {inside.size_bytes // MIB} MiB"
        step = on_board(f"created-{guest.name}-{pool}", f"{said} | grep -a -c '{created}'")
        yield shows(f"region {pool}", "kernel made it a restricted DMA pool", step, "1")
    for device in guest.virtio:
        subject, identity = f"device {device.name}", f"{guest.name}-{device.name}"
        assert device.pool is not None
        inside = views[device.pool].inside
        line = f"{device.place.base:x}.virtio: assigned reserved memory node xen-shmem@{inside.base:x}"
        assigned = on_board(f"assigned-{identity}", f"{said} | grep -a -q '{line}' && echo assigned")
        yield shows(subject, "kernel assigned it the pool", assigned, "assigned")
        digits = f"s/.*vtool: driver at {device.place.base:x} accepted \\([01]*\\).*/\\1/p"
        accepted = on_board(f"features-{identity}", f"{said} | sed -n '{digits}' | tail -n 1")
        yield _features(device, guest.name, accepted)
        for disk in device.disks:
            if disk.scratch is not None:
                yield echoed(subject, identity, disk.disk_path, disk.scratch)
                yield _slots_used(guest, device)
        if device.tap is not None:
            what = f"{format_size(TRANSFER_BYTES)} sent by the backend domain, received and sent back by the frontend"
            echo: Step = {"id": f"back-{identity}", "op": "echo", "port": ECHO_PORT, "size_bytes": TRANSFER_BYTES}
            echo["address"] = device.frontend_address.partition("/")[0]
            yield exchanged(subject, what, echo, 2 * TRANSFER_BYTES)
    if guest.qemu is not None:
        pools = sum(view.inside.size_bytes for view in guest.shared if view.region in {d.pool for d in guest.virtio})
        yield _mapped(
            guest.name,
            guest.qemu,
            "memory of the guest that QEMU maps",
            f"up to {format_size(pools)} (privcmd)",
            granted=False,
            foreign=True,
            most_bytes=pools,
        )
        yield from pool_reach(guest, guest.qemu, next(_control(guest), ""))


def _control(guest: XenBootGuest) -> Iterator[str]:
    """Yield shell lines that have the guest read the control of $SEED through a disk, and write it back."""
    for disk in (disk for device in guest.virtio for disk in device.disks if disk.scratch is not None):
        assert disk.scratch is not None
        yield f'{_through(disk.disk_path, disk.scratch, f"""python3 -c "{CONTROL}" $SEED >$W""")}; '


def _through(path: str, scratch: AddressRange, fill: str) -> str:
    """Return a shell line that writes one MiB into a disk's file and waits until the guest wrote it into the next.

    ``fill`` puts it into the file $W. The guest looks at the first page, which is therefore written last
    (vtool/images/recipes/guest/init).
    """
    first = scratch.base // MIB
    return (
        f"W=$(mktemp); {fill}; "
        f"dd if=$W of={path} bs=4k skip=1 seek={first * 256 + 1} conv=notrunc,fsync status=none; "
        f"dd if=$W of={path} bs=4k count=1 seek={first * 256} conv=notrunc,fsync status=none; "
        f"D=$(sha256sum <$W); rm $W; n=0; "
        f'while [ "$({_block(path, first + 1)} | sha256sum)" != "$D" ] && [ $n -lt 40 ]; do n=$((n+1)); sleep 1; done'
    )


def _block(path: str, number: int) -> str:
    return f"dd if={path} bs=1M skip={number} count=1 status=none"


def echoed(subject: str, identity: str, path: str, scratch: AddressRange) -> Proof:
    """What the board writes into one MiB of the file, the guest copies into the next: both ways, no shell needed."""
    sent = _through(path, scratch, "dd if=/dev/urandom of=$W bs=1M count=1 status=none")
    step = on_board(
        f"echo-{identity}",
        f'{sent}; echo "$D"; {_block(path, scratch.base // MIB + 1)} | sha256sum',
        timeout_s=120,
    )
    what = f"{format_size(TRANSFER_BYTES)} at the backend's file, read by the frontend and written beside it"
    return Proof(subject, what, (step,), SameLines(step=step["id"], digits=64, size_bytes=2 * TRANSFER_BYTES))


def _slots_used(guest: XenBootGuest, device: XenVirtio) -> Proof:
    identity = f"{guest.name}-{device.name}"
    words = f"s/.*vtool: copied .* on {device.place.base:x}, pool \\([0-9]*\\) slots.*/\\1/p"
    used = on_board(
        f"hiwater-{identity}", f"xl dmesg | grep -a 'DOM{guest.domain_id}: ' | sed -n '{words}' | tail -n 1"
    )
    return slots_used(f"region {device.pool}", "slots of the pool that the guest has used (high-water mark)", used)
