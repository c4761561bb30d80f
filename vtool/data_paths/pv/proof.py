"""PV disks and networks, also those that another guest serves: data both ways, who the backend is, what was granted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vtool.base.units import MIB, format_size
from vtool.deploy.proof.disks import through_disk
from vtool.deploy.proof.echo import echoed
from vtool.deploy.proof.networks import network_rows, of_silent_guest, vif
from vtool.deploy.proof.outside import at_blkback, once_used
from vtool.deploy.proof.paths import PathProof
from vtool.deploy.proof.reach import Observed, to_disk
from vtool.deploy.proof.steps import (
    REACH,
    TRANSFER_BYTES,
    Proof,
    Step,
    counts,
    in_domain,
    on_board,
    same_digest,
    shows,
)
from vtool.plan.types import XenBootGuest, XenDisk, XenGuest, XenInterface, XenServedDisk


def xen_disk(guest: XenGuest, disk: XenDisk) -> Iterator[Proof]:
    """Return what has to be shown of a PV disk."""
    subject, identity = f"device {disk.name}", f"{guest.name}-{disk.name}"
    block = f"/dev/{disk.virtual_device}"
    yield from through_disk(subject, guest.name, identity, block, disk.behind)
    state = on_board(
        f"state-{identity}",
        f"D=$(xl domid {guest.name}); for B in $(xenstore-list /local/domain/0/backend/vbd/$D); do "
        f'P=/local/domain/0/backend/vbd/$D/$B; [ "$(xenstore-read $P/dev)" = {disk.virtual_device} ] || continue; '
        "F=$(xenstore-read $P/frontend); "
        'echo "state $(xenstore-read $P/state), ring by grant '
        '$(xenstore-read $F/ring-ref >/dev/null && echo yes)"; done',
    )
    yield once_used(guest, shows(subject, "blkback connected, ring granted", state, "state 4, ring by grant yes"))
    counter = on_board(f"written-sectors-{identity}", at_blkback(guest, disk, "cat $S/statistics/wr_sect"))
    if not disk.behind.read_only:
        yield once_used(guest, counts(subject, "sectors that blkback wrote", counter))


def xen_interface(guest: XenGuest, interface: XenInterface) -> Iterator[Proof]:
    """Return what has to be shown of a PV network interface."""
    subject, identity = f"device {interface.name}", f"{guest.name}-{interface.name}"
    port, inside = vif(guest, interface), f"$(ls /sys/bus/xen/devices/vif-{interface.index}/net)"
    yield from network_rows(subject, guest.name, identity, interface.frontend_address, port=port, inside=inside)
    copy = on_board(
        f"copy-{identity}",
        f"D=$(xl domid {guest.name}); F=/local/domain/$D/device/vif/{interface.index}; "
        'echo "state $(xenstore-read $F/state), rx by grant copy $(xenstore-read $F/request-rx-copy)"',
    )
    yield once_used(
        guest, shows(subject, "netback connected, grant copy asked for", copy, "state 4, rx by grant copy 1")
    )


# -- served by another guest

_BLOCKS = TRANSFER_BYTES // MIB
_SIZE = format_size(TRANSFER_BYTES)
_NO_END = "rm -f /tmp/f; mknod /tmp/f p; exec 3<>/tmp/f"
"""An input that never ends: with one that does, nc ends its half of a connection."""


def served_disk(guest: XenGuest, disk: XenServedDisk) -> Iterator[Proof]:
    """Return what has to be shown of a PV disk that a driver domain serves."""
    subject, identity = f"device {disk.name}", f"{guest.name}-{disk.name}"
    block, behind = f"/dev/{disk.virtual_device}", disk.target
    back = 0
    random = f"dd if=/dev/urandom of=/tmp/w bs=1M count={_BLOCKS} 2>/dev/null"
    if disk.scratch is not None:
        front = disk.scratch.base // MIB
        back = front + _BLOCKS
        write = in_domain(guest.name, f"write-{identity}", f"{random}; {_put(block, front)}")
        check = in_domain(disk.backend, f"written-{identity}", _digest(behind, front))
        yield same_digest(subject, f"{_SIZE} written by the frontend, read in '{disk.backend}'", write, check)
        fill = in_domain(disk.backend, f"fill-{identity}", f"{random}; {_put(behind, back)}")
    else:
        fill = in_domain(disk.backend, f"fill-{identity}", _digest(behind, back))
    fetch = in_domain(guest.name, f"read-{identity}", _digest(block, back))
    yield same_digest(subject, f"{_SIZE} at {behind} of '{disk.backend}', read by the frontend", fill, fetch)
    ring = (
        f"D=$(xl domid {guest.name}); for F in $(xenstore-list /local/domain/$D/device/vbd); do "
        f"F=/local/domain/$D/device/vbd/$F; B=$(xenstore-read $F/backend); "
        f'[ "$(xenstore-read $B/dev)" = {disk.virtual_device} ] || continue; '
        f"{_BACKEND}; "
        'echo "$N, state $(xenstore-read $B/state), '
        'ring by grant $(xenstore-read $F/ring-ref >/dev/null && echo yes)"; done'
    )
    what = "backend by xenstore, blkback connected, ring granted"
    connected = f"'{disk.backend}', state 4, ring by grant yes"
    yield once_used(guest, shows(subject, what, on_board(f"state-{identity}", ring), connected))
    if disk.scratch is not None:
        counter = in_domain(
            disk.backend,
            f"written-sectors-{identity}",
            "for S in /sys/bus/xen-backend/devices/vbd-*; do "
            f'[ "$(xenstore-read $(cat $S/nodename)/params)" = {behind} ] && cat $S/statistics/wr_sect; done; true',
        )
        what = f"sectors that blkback of '{disk.backend}' wrote"
        yield counts(subject, what, counter)


_BACKEND = "N=${B#/local/domain/}; N=\"'$(xl domname ${N%%/*})'\""
"""In shell: the name of the domain that has the xenstore path B, in quotes."""


def _put(block: str, at_mib: int) -> str:
    """Return a shell line that writes the file /tmp/w to a place of a disk, and says its digest."""
    write = f"dd if=/tmp/w of={block} bs=1M seek={at_mib} oflag=direct conv=fsync,notrunc 2>/dev/null"
    return f"{write} || exit 1; sha256sum /tmp/w; rm /tmp/w"


def _digest(block: str, at_mib: int) -> str:
    return f"dd if={block} bs=1M skip={at_mib} count={_BLOCKS} iflag=direct 2>/dev/null | sha256sum"


def served_interface(guest: XenGuest, interface: XenInterface) -> Iterator[Proof]:
    """Return what has to be shown of a PV interface whose bridge is in a driver domain."""
    assert interface.backend is not None
    subject, identity = f"device {interface.name}", f"{guest.name}-{interface.name}"
    address = interface.frontend_address.partition("/")[0]
    random = f"dd if=/dev/urandom of=/tmp/n bs=1M count={_BLOCKS} 2>/dev/null"
    serve = in_domain(
        guest.name,
        f"serve-{identity}",
        f"{random}; (nc -l -p 7002 </tmp/n >/dev/null 2>&1 &); sha256sum /tmp/n",
    )
    fetch = in_domain(
        interface.backend,
        f"fetch-{identity}",
        f"{_NO_END}; {_retried(f'nc {address} 7002 <&3 >/tmp/r')}; sha256sum /tmp/r; rm /tmp/r /tmp/f",
    )
    yield same_digest(subject, f"{_SIZE} sent by the frontend, received in '{interface.backend}'", serve, fetch)
    listen = in_domain(
        guest.name,
        f"listen-{identity}",
        f"rm -f /tmp/r /tmp/n /tmp/s; {_NO_END}; "
        "(nc -l -p 7001 <&3 >/tmp/r 2>/dev/null; sha256sum /tmp/r >/tmp/s) >/dev/null 2>&1 & echo ok",
    )
    send = in_domain(
        interface.backend,
        f"send-{identity}",
        f"{random}; {_retried(f'nc {address} 7001 </tmp/n >/dev/null')}; sha256sum /tmp/n; rm /tmp/n",
    )
    received = in_domain(
        guest.name,
        f"received-{identity}",
        "n=0; while [ ! -s /tmp/s ] && [ $n -lt 100 ]; do n=$((n+1)); usleep 100000; done; cat /tmp/s",
    )
    both = same_digest(subject, f"{_SIZE} sent by '{interface.backend}', received in the frontend", send, received)
    yield both.after(listen)
    copy = on_board(
        f"copy-{identity}",
        f"F=/local/domain/$(xl domid {guest.name})/device/vif/{interface.index}; B=$(xenstore-read $F/backend); "
        f'{_BACKEND}; echo "$N, state $(xenstore-read $F/state), rx by grant copy $(xenstore-read $F/request-rx-copy)"',
    )
    what = "backend by xenstore, netback connected, grant copy asked for"
    connected = f"'{interface.backend}', state 4, rx by grant copy 1"
    yield once_used(guest, shows(subject, what, copy, connected))


def _retried(command: str) -> str:
    """Return a shell line that tries to connect until the other side listens."""
    return f"n=0; until {command} 2>/dev/null || [ $n -ge 50 ]; do n=$((n+1)); usleep 200000; done"


# -- what a backend can reach


def xen_reach(guest: XenGuest, device: XenDisk | XenServedDisk | XenInterface) -> Iterator[Proof]:
    """Return the row of a PV device: what the domain granted; dom0 is privileged besides."""
    disks: tuple[XenDisk | XenServedDisk, ...] = (*guest.disks, *guest.served_disks)
    controls = (to_disk(f"/dev/{disk.virtual_device}", disk.scratch) for disk in disks)
    control = next(filter(None, controls), "")
    step: Step = {"id": f"granted-{guest.name}", "op": "granted", "domain": guest.name, "control": control}

    judge = PagesGranted(step=step["id"], expected="granted pages", control=bool(control))
    yield Proof(f"device {device.name}", REACH, (step,), judge)


class PagesGranted(Observed):
    """Backends have mapped pages that a guest granted, and its secret is in none of them."""

    name = "pages-granted"
    control: bool

    def judged(self, seen: Mapping[str, Any]) -> tuple[str, bool]:
        """Say how many pages were granted, and what is in them."""
        count = f"{'' if seen['complete'] else 'at least '}{seen['granted']} of {seen['pages']}"
        sent = f"control in {seen['control']}" if self.control else "no control"
        words = f"granted pages: {count} mapped by backends; secret in {seen['secret']} of them, {sent}"
        return words, seen["granted"] > 0 and seen["secret"] == 0 and (seen["control"] > 0 or not self.control)


def xl_guest(guest: XenGuest) -> Iterator[Proof]:
    """Return what has to be shown of a guest's PV devices, and of each what its backend can reach."""
    for disk in guest.disks:
        yield from (*xen_disk(guest, disk), *xen_reach(guest, disk))
    for served in guest.served_disks:
        yield from (*served_disk(guest, served), *xen_reach(guest, served))
    for interface in guest.interfaces:
        of_interface = served_interface if interface.backend else xen_interface
        yield from (*of_interface(guest, interface), *xen_reach(guest, interface))


# -- of a guest that Xen starts, whose shell nobody reaches


def attached(guest: XenBootGuest) -> Iterator[Proof]:
    """Return what has to be shown of PV devices that xl attached to a running guest."""
    for one in guest.attached:
        subject, identity = f"device {one.name}", f"{guest.name}-{one.name}"
        devices = f"/local/domain/{guest.domain_id}/device"
        if one.interface is not None:
            address, place = one.interface.frontend_address, f"{devices}/vif/{one.interface.index}"
            yield from of_silent_guest(subject, identity, address, vif(guest, one.interface))
        else:
            assert one.disk is not None
            if one.disk.scratch is not None:
                yield echoed(subject, identity, one.disk.behind.disk_path, one.disk.scratch)
            of_disk = f'[ "$(xenstore-read $(xenstore-read $F/backend)/dev)" = {one.disk.virtual_device} ]'
            place = f"$(for F in $(xenstore-list {devices}/vbd); do F={devices}/vbd/$F; {of_disk} && echo $F; done)"
        reached = f'S=$(xenstore-read {place}/state); [ "$S" = 4 ] || [ $n -ge 20 ]'
        look = f'n=0; until {reached}; do n=$((n+1)); sleep 1; done; echo "state $S"'
        yield shows(subject, "attached, its driver is connected", on_board(f"state-{identity}", look, 40), "state 4")


PROOF = PathProof(xl_guest=xl_guest, built_guest=attached)
