"""Rings: that both ends are linked, data both ways, and what the backend's side can reach of the frontend.

Between two guests all is asked at their consoles. A guest that Xen builds has none that anybody reaches: its init
copies and sends back (vtool/images/recipes/guest/init), and dom0 compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import ClassVar

from vtool.base.units import MIB, AddressRange, format_size
from vtool.deploy.proof.echo import echoed, sent_back
from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.paths import PathProof
from vtool.deploy.proof.reach import between, to_disk
from vtool.deploy.proof.steps import (
    TRANSFER_BYTES,
    Proof,
    Step,
    counts,
    disk_io,
    in_domain,
    on_board,
    same_digest,
    shows,
)
from vtool.model.access import ProofKind
from vtool.plan.types import KvmDevice, KvmGuest, XenBootGuest, XenRing

MAGIC, VERSION = "0x31474E4952545600", 1
"""docs/reference/ring-format.md, the header."""
_PORT, _SINK_PORT = 7002, 7004
_WAITS = "n=0; until {done} || [ $n -ge 300 ]; do n=$((n+1)); usleep 100000; done; {then}"


def kvm_rings(guests: Sequence[KvmGuest]) -> Iterator[Proof]:
    """Return what has to be shown of the rings between guests."""
    for frontend, backend in permutations(guests, 2):
        behind = {device.name: device for device in backend.devices if device.ring}
        both = [(d, behind[d.name]) for d in frontend.devices if d.name in behind and d.ring and d.ring.end.side == "b"]
        for device, other in both:
            yield from _header(frontend, device)
            yield from (
                _kvm_disk(frontend, backend, device, other)
                if device.type == "blk"
                else _kvm_link(frontend, backend, device, other)
            )
            yield _kvm_reach(frontend, backend, device, other)


def _header(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """What the backend's side wrote, the frontend sees behind its own BAR: they have the same region."""
    read = f"B=$(sed -n 3p {device.guest_sysfs}/resource | cut -d' ' -f1); devmem $B 64; devmem $((B + 8)) 32"
    step = in_domain(guest.name, f"header-{device.name}", read, 20)
    judge = RingHeader(step=step["id"], magic=MAGIC, version=VERSION)
    yield Proof(f"device {device.name}", "header of the ring, in the frontend's BAR", (step,), judge)


class RingHeader(Judge):
    """A region begins with a ring's magic and version, as devmem prints them."""

    name = "ring-header"
    step: str
    magic: str
    version: int

    def judge(self, results: Results) -> Verdict:
        """Compare both words."""
        wanted = f"{self.magic} version {self.version}"
        seen, why = value_of(results, self.step)
        words = (seen or "").split()
        told = f"{words[0]} version {int(words[1], 16)}" if len(words) == 2 else seen or "nothing"
        return Verdict(wanted, told, told == wanted, why)


def _kvm_disk(frontend: KvmGuest, backend: KvmGuest, device: KvmDevice, other: KvmDevice) -> Iterator[Proof]:
    assert device.ring and other.ring
    subject, block = f"device {device.name}", device.ring.end.target
    size = f"/sys/block/{block.removeprefix('/dev/')}/size"
    there = _WAITS.format(done=f'[ "$(cat {size})" != 0 ]', then=f"echo $(($(cat {size}) * 512))")
    step, known = in_domain(frontend.name, f"size-{device.name}", there), device.ring.disk_bytes
    what = f"bytes of {block}"
    yield shows(subject, what, step, str(known)) if known else counts(subject, what, step)
    yield from disk_io(
        subject,
        frontend.name,
        f"{frontend.name}-{device.name}",
        block,
        other.ring.end.target,
        device.ring.scratch,
        lambda identifier, command: in_domain(backend.name, identifier, command),
    )


def _kvm_link(frontend: KvmGuest, backend: KvmGuest, device: KvmDevice, other: KvmDevice) -> Iterator[Proof]:
    assert device.ring and other.ring
    subject = f"device {device.name}"
    carrier = f"/sys/class/net/{device.ring.end.target}/carrier"
    there = _WAITS.format(done=f'[ "$(cat {carrier})" = 1 ]', then=f"cat {carrier}")
    yield shows(
        subject, "carrier of its interface", in_domain(frontend.name, f"carrier-{device.name}", f"{there} 2>&1"), "1"
    )
    ends = (("frontend", frontend, device), ("backend domain", backend, other))
    for (who, sender, sends), (whom, receiver, _) in (ends, ends[::-1]):
        assert sends.ring
        serve, fetch = _sent(f"{sender.name}-{device.name}", sender.name, receiver.name, sends.ring.end.address)
        yield same_digest(
            subject, f"{format_size(TRANSFER_BYTES)} sent by the {who}, received in the {whom}", serve, fetch
        )


def _sent(identity: str, sender: str, receiver: str, address: str) -> tuple[Step, Step]:
    """One guest listens and sends, the other connects and reads; both print the digest."""
    random = f"dd if=/dev/urandom of=/tmp/n bs=1M count={TRANSFER_BYTES // MIB} 2>/dev/null"
    serve = f"{random}; (nc -l -p {_PORT} </tmp/n >/dev/null 2>&1 &); sha256sum /tmp/n"
    # An input that never ends: with one that does, nc ends its half, and the sender would go.
    read = f"nc {address.partition('/')[0]} {_PORT} <&3 | sha256sum"
    fetch = f"rm -f /tmp/f; mknod /tmp/f p; exec 3<>/tmp/f; {read}; rm /tmp/f"
    return in_domain(sender, f"serve-{identity}", serve), in_domain(receiver, f"fetch-{identity}", fetch)


def _kvm_reach(frontend: KvmGuest, backend: KvmGuest, device: KvmDevice, other: KvmDevice) -> Proof:
    """What the backend's virtual machine could reach: its QEMU has its RAM and what it shares with the frontend's."""
    assert device.ring and other.ring
    control, before = to_disk(device.ring.end.target, device.ring.scratch), tuple[Step, ...]()
    if device.type == "net":
        control = f"nc {other.ring.end.address.partition('/')[0]} {_SINK_PORT} <$C >/dev/null"
        sink = f"(nc -l -p {_SINK_PORT} >/dev/null 2>&1 &); echo ok"
        before = (in_domain(backend.name, f"sink-{device.name}", sink, 20),)
    return between(frontend, backend, device.name, control).after(*before)


# -- between a guest that Xen builds and dom0


def xen_rings(guest: XenBootGuest) -> Iterator[Proof]:
    """Return what has to be shown of the rings that dom0 serves to a guest."""
    for ring in guest.rings:
        subject, identity = f"device {ring.name}", f"{guest.name}-{ring.name}"
        if ring.disk is not None and ring.disk.scratch is not None:
            yield echoed(subject, identity, ring.disk.disk_path, ring.disk.scratch)
        if ring.type == "net":
            carrier = f"/sys/class/net/{ring.backend.target}/carrier"
            there = _WAITS.format(done=f'[ "$(cat {carrier})" = 1 ]', then=f"cat {carrier}")
            there = there.replace("usleep 100000", "sleep 0.1")
            yield shows(subject, "carrier of dom0's interface", on_board(f"carrier-{identity}", there, 60), "1")
            yield sent_back(subject, identity, ring.frontend.address)
        yield _mapped(ring)


def _mapped(ring: XenRing) -> Proof:
    """What dom0's end has mapped of memory that is not its own, by the kernel's table of it: address and size."""
    shared = "awk '$2 ~ /s$/ { print $1, $3, $6 }' /proc/$P/maps"
    step = on_board(f"maps-{ring.name}", f"P=$(systemctl show -p MainPID --value {ring.unit}); {shared}")
    path, _, where = ring.backend.region.partition(":")
    base, _, size = where.partition("+")
    wanted = f"{path} {AddressRange.of_size(int(base, 16), int(size, 16))}"
    what = "memory shared with others that it maps"
    return Proof(f"backend of {ring.name}", what, (step,), RingMaps(step=step["id"], expected=wanted))


class RingMaps(Judge):
    """A process has mapped this of memory that is not its own, and no more: name and range, [offset, offset + size)."""

    name = "ring-maps"
    kind: ClassVar[ProofKind | None] = ProofKind.REACH
    step: str
    expected: str

    def judge(self, results: Results) -> Verdict:
        """Read the kernel's table."""
        output, why = value_of(results, self.step)
        seen = ", ".join(map(_shown, (output or "").splitlines())) or "nothing"
        return Verdict(self.expected, seen, seen == self.expected, why)


def _shown(line: str) -> str:
    """Write a line of the table as name and range, [offset, offset + size); one that is none as it is."""
    found = re.fullmatch(r"([0-9a-f]+)-([0-9a-f]+) ([0-9a-f]+) ?(.*)", line)
    if found is None:
        return line
    base, end, offset = (int(found[number], 16) for number in (1, 2, 3))
    return f"{found[4] or 'nameless'} {AddressRange.of_size(offset, end - base)}"


PROOF = PathProof(kvm_guests=kvm_rings, built_guest=xen_rings)
