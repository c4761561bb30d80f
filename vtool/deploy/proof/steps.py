"""A row that has to be shown, the steps it takes, and the rows that every hypervisor shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vtool.base.units import MIB, AddressRange, format_size
from vtool.deploy.proof.judges import (
    AboveZero,
    Features,
    Judge,
    OneOf,
    Reg,
    Results,
    SameDigest,
    Side,
    SlotsUsed,
    Verdict,
)
from vtool.model.access import ProofKind, Way
from vtool.plan.types import Guest

Step = dict[str, Any]
TRANSFER_BYTES = 1 * MIB
GUEST_DEADLINE_S = 60
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
        """Whether what had to be shown was not."""
        return not self.proven and not self.noted


@dataclass(frozen=True)
class Proof:
    """A row to be, as data: of what, what has to be shown, the steps it takes in order, who judges their results.

    ``required``: it has to be looked at. ``if_used``: it shows itself once the guest uses something, which nobody can
    make it do; until then it is noted.
    """

    subject: str
    what: str
    steps: tuple[Step, ...]
    judge: Judge
    row_kind: ProofKind | None = field(default=None, compare=False)  # which no generation keeps: it has `required`
    required: bool = False
    if_used: bool = False

    @property
    def kind(self) -> ProofKind | None:
        """Return what kind of row it is, None for one that cannot be required."""
        return self.row_kind or self.judge.kind

    def read(self, results: Results) -> Row:
        """Return the row that the steps' results come to.

        One of which a step was not looked at is noted, unless it is required.
        """
        verdict = self.judge.judge(results)
        if self.if_used and not verdict.proven:
            verdict = replace(verdict, noted=True)
        missed = [results.get(step["id"], {}).get("not_looked_at") for step in self.steps]
        why = next(filter(None, missed), None)
        if why is not None:
            verdict = Verdict(verdict.expected, f"not looked at: {why}", proven=False, noted=True)
        return Row(self.subject, self.what, **{**vars(verdict), "noted": verdict.noted and not self.required})

    def after(self, *steps: Step) -> Proof:
        """Return the same row with steps before its own."""
        return replace(self, steps=(*steps, *self.steps))


def steps_of(found: Sequence[Proof]) -> list[Step]:
    """Return all steps in order, each id once."""
    steps = {step["id"]: step for proof in found for step in proof.steps}
    return list(steps.values())


def shows(subject: str, what: str, step: Step, *expected: str, words: str = "", key: str = "output") -> Proof:
    """Return the row that a step's output is one of those expected; ``words`` say which where they do not."""
    wanted = words or " or ".join(expected)
    return Proof(subject, what, (step,), OneOf(step=step["id"], expected=wanted, values=expected, key=key))


def counts(subject: str, what: str, step: Step, words: str = "above 0") -> Proof:
    """Return the row that a step's output is a number above 0."""
    return Proof(subject, what, (step,), AboveZero(step=step["id"], expected=words))


def same_digest(subject: str, what: str, first: Step, second: Step, size_bytes: int = TRANSFER_BYTES) -> Proof:
    """Return the row that so many bytes have one SHA-256 on both sides."""
    judge = SameDigest(first=Side(step=first["id"]), second=Side(step=second["id"]), size_bytes=size_bytes)
    return Proof(subject, what, (first, second), judge)


def exchanged(subject: str, what: str, step: Step, size_bytes: int = TRANSFER_BYTES) -> Proof:
    """Return the row that so many bytes, which a step exchanges with a domain, have one SHA-256 on both sides."""
    here = Side(step=step["id"], key="digest")
    return Proof(subject, what, (step,), SameDigest(first=Side(step=step["id"]), second=here, size_bytes=size_bytes))


def features(subject: str, asked: Step, domain: str, device: str, *, platform: bool) -> Proof:
    """Return the row of the features that a driver accepted; ``asked`` is the step that has the guest say them."""
    offers: Step = {"id": f"offers-{device}", "op": "offers", "domain": domain, "device": f"device-{device}"}
    judge = Features(accepted=asked["id"], offers=offers["id"], platform=platform)
    # QEMU is asked first: a guest that hangs is waited for.
    return Proof(subject, "features the driver accepted (of bits 32 and 33)", (offers, asked), judge)


def slots_used(subject: str, what: str, step: Step) -> Proof:
    """Return the row of a pool's high-water mark."""
    return Proof(subject, what, (step,), SlotsUsed(step=step["id"]))


def has_option(subject: str, identity: str, guest: Guest, kernel: str, option: str) -> Proof:
    """Return the row that a guest's kernel was built with an option; one that is not vtool's may not say it."""
    step: Step = {"id": f"option-{identity}", "op": "kernel-option", "path": kernel, "option": option}
    step |= {} if guest.access.way is Way.SHELL else {"may_not_say": True}
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


# -- regions and domains


def region_reg(subject: str, what: str, step: Step, where: AddressRange) -> Proof:
    """Return the row that a `reg` read on the board is the planned range."""
    return Proof(subject, what, (step,), Reg(step=step["id"], base=where.base, size_bytes=where.size_bytes))


def is_active(guest: Guest) -> Proof:
    """Return the row that a domain's unit is active."""
    unit = on_board(f"unit-{guest.name}", f"systemctl is-active {guest.unit} || true")
    return replace(shows(f"domain {guest.name}", "its unit is active", unit, "active"), row_kind=ProofKind.UNIT)


def domain_answers(guest: Guest) -> Iterator[Proof]:
    """Return what has to be shown of every domain that its unit starts, whatever runs in it."""
    subject = f"domain {guest.name}"
    yield is_active(guest)
    answers = in_domain(guest.name, f"shell-{guest.name}", "echo alive", 20)
    # A console that nobody can type at may all the same say that the guest is up.
    kind = ProofKind.CONSOLE if guest.access.way is Way.SHELL else None
    yield replace(shows(subject, "its shell answers", answers, "alive"), row_kind=kind)


def disk_io(
    subject: str,
    domain: str,
    identity: str,
    block: str,
    path: str,
    scratch: AddressRange | None,
    backend: Callable[[str, str], Step] = on_board,
    *,
    direct: bool = False,
) -> Iterator[Proof]:
    """The guest reads what the file holds; with scratch space each side writes and the other reads.

    ``backend`` makes a step that runs where ``path`` is. ``direct``: that is a device, of which the board must not
    believe what it has read before.
    """
    into, out_of = (" oflag=direct", " iflag=direct") if direct else ("", "")
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
            f"written-{identity}", f"dd if={path} bs=1M skip={front} count={blocks}{out_of} status=none | sha256sum"
        )
        yield same_digest(
            subject,
            f"{format_size(TRANSFER_BYTES)} written by the frontend, read at the backend's file",
            write,
            check,
        )
        fill = backend(
            f"fill-{identity}",
            f"dd if=/dev/urandom of={path} bs=1M seek={back} count={blocks}{into} conv=notrunc,fsync status=none && "
            f"dd if={path} bs=1M skip={back} count={blocks}{out_of} status=none | sha256sum",
        )
    else:
        back = 0
        fill = backend(f"fill-{identity}", f"dd if={path} bs=1M count={blocks}{out_of} status=none | sha256sum")
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
    yield both.after(listen)
