"""A row that has to be shown, the steps it takes, and the rows that every hypervisor shares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vtool.base.units import MIB, AddressRange, format_size
from vtool.plan.types import TRACK_HIWATER, KvmGuest, XenBootGuest, XenGuest

Step = dict[str, Any]
Results = Mapping[str, Any]
TRANSFER_BYTES = 1 * MIB
GUEST_DEADLINE_S = 60
_OF_NOTHING = hashlib.sha256().hexdigest()
REACH = "what its backend can reach"
SHARE = "/tmp/share"  # noqa: S108 - in a guest, which has one user
TREE = "/sys/firmware/devicetree/base"


@dataclass(frozen=True)
class Row:
    """One thing that had to be shown of one subject; ``bytes_checked`` went across and came out the same.

    One that is ``noted`` is told, and neither proves nor fails anything.
    """

    subject: str
    what: str
    expected: str
    seen: str
    proven: bool
    detail: tuple[str, ...] = ()
    bytes_checked: int = 0
    noted: bool = False

    @property
    def failed(self) -> bool:
        """Tell whether what had to be shown was not."""
        return not self.proven and not self.noted


@dataclass(frozen=True)
class Proof:
    """A row to be: the steps it needs and how their results are read."""

    steps: tuple[Step, ...]
    read: Callable[[Results], Row]


def steps_of(found: list[Proof]) -> list[Step]:
    """Return all steps in order, each id once."""
    steps = {step["id"]: step for proof in found for step in proof.steps}
    return list(steps.values())


def failure(results: Results, step: Step) -> tuple[str, ...]:
    """Return the words of a step's failure; none when it went well."""
    result = results.get(step["id"], {"error": {"message": "not observed", "detail": []}})
    if "error" in result:
        error = result["error"]
        return (error["message"], *error.get("detail", ()))
    if result.get("code", 0) != 0:
        said = (str(result.get("output", "")) + str(result.get("errors", ""))).strip()
        return (f"exit code {result['code']}: {said[-300:]}",)
    return ()


def value_of(results: Results, step: Step, key: str = "output") -> tuple[str | None, tuple[str, ...]]:
    """Return a step's result as text (None when it failed) with the words of the failure."""
    why = failure(results, step)
    return (None, why) if why else (str(results[step["id"]][key]).strip(), ())


def shows(
    subject: str,
    what: str,
    step: Step,
    expected: str,
    fits: Callable[[str], bool] | None = None,
    key: str = "output",
) -> Proof:
    """A row that compares one step's output with what was expected."""

    def read(results: Results) -> Row:
        seen, why = value_of(results, step, key)
        proven = seen is not None and (fits(seen) if fits else seen == expected)
        return Row(subject, what, expected, "nothing" if seen is None else seen, proven, why)

    return Proof((step,), read)


def same_digest(subject: str, what: str, first: Step, second: Step, size_bytes: int = TRANSFER_BYTES) -> Proof:
    """Return the row that so many bytes have one SHA-256 on both sides."""

    def read(results: Results) -> Row:
        (one, why_one), (two, why_two) = value_of(results, first), value_of(results, second)
        return _compared(subject, what, one, two, size_bytes, (*why_one, *why_two))

    return Proof((first, second), read)


def exchanged(subject: str, what: str, step: Step, size_bytes: int = TRANSFER_BYTES) -> Proof:
    """Return the row that so many bytes, which a step exchanges with a domain, have one SHA-256 on both sides."""

    def read(results: Results) -> Row:
        (inside, why), (here, _) = value_of(results, step), value_of(results, step, "digest")
        return _compared(subject, what, inside, here, size_bytes, why)

    return Proof((step,), read)


def _compared(subject: str, what: str, one: str | None, two: str | None, size_bytes: int, why: tuple[str, ...]) -> Row:
    digest = (one or "").split(" ")[0]
    proven = len(digest) == 64 and digest != _OF_NOTHING and digest == (two or "").split(" ")[0]
    seen = f"{(two or 'nothing')[:16]}" if not proven else f"{digest[:16]}…"
    return Row(subject, what, f"{digest[:16] or 'a digest'}…", seen, proven, why, size_bytes if proven else 0)


def features(subject: str, asked: Step, domain: str, device: str, *, platform: bool) -> Proof:
    """Return the row of the features that a driver accepted, of VERSION_1 and ACCESS_PLATFORM (bits 32 and 33).

    The guest says them: ``asked`` is a step that gives its sysfs' ``features``, or their digits 32 and 33. Of one that
    hangs on the device QEMU says what it offers, which is the most that can be accepted. With ``platform`` both have to
    be accepted, else the first alone.
    """
    offers: Step = {"id": f"offers-{device}", "op": "offers", "domain": domain, "device": f"device-{device}"}
    known = ("VIRTIO_F_VERSION_1", "VIRTIO_F_IOMMU_PLATFORM")
    wanted = known if platform else known[:1]

    def read(results: Results) -> Row:
        digits, why = value_of(results, asked)
        bits = digits[32:34] if digits and re.fullmatch(r"([01]{64})+", digits) else digits
        if bits and re.fullmatch(r"[01]{2}", bits):
            seen = ", ".join(word for word, bit in zip(known, bits, strict=True) if bit == "1") or "neither"
        else:
            offered = results.get(offers["id"], {})
            words = ", ".join(word for word in known if offered.get(word)) or "neither"
            seen = "not known" + (f": of what QEMU offers, {words}" if known[0] in offered else "")
        return Row(
            subject,
            "features the driver accepted (of bits 32 and 33)",
            ", ".join(wanted),
            seen,
            seen == ", ".join(wanted),
            why,
        )

    # QEMU is asked first: a guest that hangs is waited for.
    return Proof((offers, asked), read)


def slots_used(subject: str, what: str, step: Step) -> Proof:
    """Return the row of a pool's high-water mark; one that is 0 says whether the kernel counts at all.

    The step gives the mark, then, where the guest was asked, the kernel's release and TRACK_HIWATER if its command line
    has that: Linux counts with it alone from 7.3 on (kernel/dma/swiotlb.c).
    """

    def read(results: Results) -> Row:
        told, why = value_of(results, step)
        mark, *kernel = (told or "").split() or [""]
        seen = mark or "nothing"
        if seen == "0" and kernel:
            counts = "has" if TRACK_HIWATER in kernel else "lacks"
            seen = f"0; its command line {counts} {TRACK_HIWATER}, without which Linux 7.3 and later count nothing"
            seen += f"; this is {kernel[0]}"
        return Row(subject, what, "above 0", seen, mark.isdigit() and int(mark) > 0, why)

    return Proof((step,), read)


def has_option(subject: str, identity: str, kernel: str, option: str) -> Proof:
    """Return the row that a guest's kernel was built with an option."""
    step: Step = {"id": f"option-{identity}", "op": "kernel-option", "path": kernel, "option": option}
    return shows(subject, f"kernel has CONFIG_{option}", step, "y", key="value")


def block_device(sysfs: str) -> str:
    """Return a shell word for the disk of a virtio device, from its folder in a guest's sysfs."""
    return f"/dev/$(ls {sysfs}/virtio*/block)"


def mount_share(tag: str) -> str:
    """Return a shell line that mounts a folder of the backend's in a guest, on SHARE."""
    return f"mkdir -p {SHARE}; mount -t virtiofs {tag} {SHARE}"


def on_board(identifier: str, command: str, timeout_s: int = 30) -> Step:
    """Return a step that runs a command on the board, in its control domain."""
    return {"id": identifier, "op": "run", "command": command, "timeout_s": timeout_s}


def in_domain(domain: str, identifier: str, command: str, timeout_s: int = GUEST_DEADLINE_S) -> Step:
    """Return a step that runs a command in a domain, through its console."""
    return {"id": identifier, "op": "domain", "domain": domain, "command": command, "timeout_s": timeout_s}


def reg_of(where: AddressRange) -> str:
    """Return a range as the bytes of a `reg` property with two cells each, in hexadecimal."""
    return where.base.to_bytes(8, "big").hex() + where.size_bytes.to_bytes(8, "big").hex()


def shown_reg(text: str | None) -> str:
    """Return such bytes for people."""
    if text is None or len(text) != 32:
        return text or "no such node"
    base, size = int(text[:16], 16), int(text[16:], 16)
    return f"{AddressRange.of_size(base, size)}" if size else f"base {base:#x}, size 0"


# -- regions and domains


def region_reg(subject: str, what: str, step: Step, where: AddressRange) -> Proof:
    """Return the row that a `reg` read on the board is the planned range."""

    def read(results: Results) -> Row:
        seen, why = value_of(results, step)
        return Row(subject, what, str(where), shown_reg(seen), seen == reg_of(where), why)

    return Proof((step,), read)


def is_active(guest: KvmGuest | XenGuest | XenBootGuest) -> Proof:
    """Return the row that a domain's unit is active."""
    unit = on_board(f"unit-{guest.name}", f"systemctl is-active {guest.unit} || true")
    return shows(f"domain {guest.name}", "its unit is active", unit, "active")


def domain_answers(guest: KvmGuest | XenGuest) -> Iterator[Proof]:
    """Return what has to be shown of every domain that has a shell."""
    subject = f"domain {guest.name}"
    yield is_active(guest)
    yield shows(subject, "its shell answers", in_domain(guest.name, f"shell-{guest.name}", "echo alive", 20), "alive")


def disk_io(
    subject: str,
    domain: str,
    identity: str,
    block: str,
    path: str,
    scratch: AddressRange | None,
    backend: Callable[[str, str], Step] = on_board,
) -> Iterator[Proof]:
    """The guest reads what the file holds; with scratch space each side writes and the other reads.

    ``backend`` makes a step that runs where ``path`` is.
    """
    blocks = TRANSFER_BYTES // MIB
    if scratch is not None:
        front, back = scratch.base // MIB, scratch.base // MIB + blocks
        write = in_domain(
            domain,
            f"write-{identity}",
            f"dd if=/dev/urandom of=/tmp/w bs=1M count={blocks} 2>/dev/null; "
            f"dd if=/tmp/w of={block} bs=1M seek={front} oflag=direct conv=fsync 2>/dev/null || exit 1; "
            "sha256sum /tmp/w; rm /tmp/w",
        )
        check = backend(
            f"written-{identity}", f"dd if={path} bs=1M skip={front} count={blocks} status=none | sha256sum"
        )
        yield same_digest(
            subject,
            f"{format_size(TRANSFER_BYTES)} written by the frontend, read at the backend's file",
            write,
            check,
        )
        fill = backend(
            f"fill-{identity}",
            f"dd if=/dev/urandom of={path} bs=1M seek={back} count={blocks} conv=notrunc,fsync status=none && "
            f"dd if={path} bs=1M skip={back} count={blocks} status=none | sha256sum",
        )
    else:
        back = 0
        fill = backend(f"fill-{identity}", f"dd if={path} bs=1M count={blocks} status=none | sha256sum")
    fetch = in_domain(
        domain,
        f"read-{identity}",
        f"dd if={block} bs=1M skip={back} count={blocks} iflag=direct 2>/dev/null | sha256sum",
    )
    yield same_digest(
        subject, f"{format_size(TRANSFER_BYTES)} at the backend's file, read by the frontend", fill, fetch
    )


# -- data through a network, both ways


def network_io(subject: str, domain: str, identity: str, address: str) -> Iterator[Proof]:
    """Return the rows that each side sends and the other receives; ``address`` is the frontend's."""
    address = address.split("/", maxsplit=1)[0]
    size, blocks = format_size(TRANSFER_BYTES), TRANSFER_BYTES // MIB
    serve = in_domain(
        domain,
        f"serve-{identity}",
        f"dd if=/dev/urandom of=/tmp/n bs=1M count={blocks} 2>/dev/null; (nc -l -p 7002 </tmp/n >/dev/null 2>&1 &); "
        "sha256sum /tmp/n",
    )
    fetch = {"id": f"fetch-{identity}", "op": "receive", "address": address, "port": 7002}
    yield same_digest(subject, f"{size} sent by the frontend, received in the backend domain", serve, fetch)
    listen = in_domain(
        domain,
        f"listen-{identity}",
        # An input that never ends: with one that does, nc ends its half, which not everything between waits beyond.
        "rm -f /tmp/r /tmp/n /tmp/s /tmp/f; mknod /tmp/f p; exec 3<>/tmp/f; "
        "(nc -l -p 7001 <&3 >/tmp/r 2>/dev/null; sha256sum /tmp/r >/tmp/s) >/dev/null 2>&1 & "
        "echo ok",
    )
    send = {
        "id": f"send-{identity}",
        "op": "send",
        "address": address,
        "port": 7001,
        "size_bytes": TRANSFER_BYTES,
    }
    received = in_domain(
        domain,
        f"received-{identity}",
        "n=0; while [ ! -s /tmp/s ] && [ $n -lt 100 ]; do n=$((n+1)); usleep 100000; done; cat /tmp/s",
    )
    both = same_digest(subject, f"{size} sent by the backend domain, received in the frontend", send, received)
    yield Proof((listen, *both.steps), both.read)
