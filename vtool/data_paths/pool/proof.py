"""A pool that alone is shared: that the kernel took it for one, data both ways, what the backend maps and can reach.

A guest under KVM is asked in its shell. Nobody reaches that of one that Xen builds at boot: it says some of it in Xen's
log, and copies and sends back.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, format_size
from vtool.deploy.proof.echo import echoed, through
from vtool.deploy.proof.networks import of_silent_guest
from vtool.deploy.proof.paths import PathProof
from vtool.deploy.proof.pools import through_pool
from vtool.deploy.proof.reach import pool_reach
from vtool.deploy.proof.steps import Proof, on_board, shows, slots_used
from vtool.deploy.proof.xen_virtio import driver_accepted, mapped
from vtool.plan.types import XenBootGuest, XenVirtio

_CONTROL = (
    "import hashlib, sys; sys.stdout.buffer.write(hashlib.sha256(b'control ' + sys.argv[1].encode()).digest() * 32768)"
)
"""Write the control of a seed, as vtool/deploy/on_board/reach.py does inside a guest."""


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
        # The guest looks for its devices every 2 s, each by itself.
        look = f"v=$({said} | sed -n '{digits}' | tail -n 1); [ \"$v\" ] || [ $n -ge 20 ]"
        accepted = on_board(f"features-{identity}", f"n=0; until {look}; do n=$((n+1)); sleep 0.5; done; echo $v")
        yield driver_accepted(device, guest.name, accepted)
        for disk in device.disks:
            if disk.scratch is not None:
                yield echoed(subject, identity, disk.disk_path, disk.scratch)
                yield _slots_used(guest, device)
        if device.tap is not None:
            yield from of_silent_guest(subject, identity, device.frontend_address, device.tap.name)
    if guest.qemu is not None:
        pools = sum(view.inside.size_bytes for view in guest.shared if view.region in {d.pool for d in guest.virtio})
        yield mapped(
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
        yield f'{through(disk.disk_path, disk.scratch, f"""python3 -c "{_CONTROL}" $SEED >$W""")}; '


def _slots_used(guest: XenBootGuest, device: XenVirtio) -> Proof:
    identity = f"{guest.name}-{device.name}"
    words = f"s/.*vtool: copied .* on {device.place.base:x}, pool \\([0-9]*\\) slots.*/\\1/p"
    used = on_board(
        f"hiwater-{identity}", f"xl dmesg | grep -a 'DOM{guest.domain_id}: ' | sed -n '{words}' | tail -n 1"
    )
    return slots_used(f"region {device.pool}", "slots of the pool that the guest has used (high-water mark)", used)


PROOF = PathProof(kvm_device=through_pool, built_guest=pool_virtio)
