"""A window that two guests see behind a BAR: the same bytes whoever writes them, and nothing besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from vtool.deploy.proof.paths import PathProof
from vtool.deploy.proof.reach import between
from vtool.deploy.proof.steps import Proof, in_domain, same_digest
from vtool.plan.types import KvmDevice, KvmGuest

_WORDS = 32
"""Words of 8 bytes that go each way through a BAR: a guest's devmem writes one at a time."""


def kvm_guests(guests: Sequence[KvmGuest]) -> Iterator[Proof]:
    """Return what has to be shown of the windows between guests."""
    for guest, other in combinations(guests, 2):
        shared = {device.name for device in guest.devices if device.type == "ivshmem"}
        for device in other.devices:
            if device.name in shared:
                yield from _window(device, (guest, other))


def _window(device: KvmDevice, guests: tuple[KvmGuest, KvmGuest]) -> Iterator[Proof]:
    """Return the rows that two guests see the same bytes behind a BAR, whoever writes them, and nothing besides."""
    subject, size = f"device {device.name}", _WORDS * 8
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
    words = f"for N in $(seq 0 {_WORDS - 1}); do A=$((B + N * 8))"
    return f"{_base(device)}; {words}; {command}; done; {words}; devmem $A 64; done | sha256sum"


PROOF = PathProof(kvm_guests=kvm_guests)
