"""Domains that Xen builds at boot, and their event channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations

from vtool.base.units import MIB
from vtool.deploy.proof.judges import SameLines
from vtool.deploy.proof.outside import once_used
from vtool.deploy.proof.paths import every_proof
from vtool.deploy.proof.steps import TREE, Proof, is_active, on_board, region_reg, shows
from vtool.deploy.proof.xen_guests import affinity
from vtool.model.access import ProofKind
from vtool.plan.types import BoardPlan, EventChannelEnd, XenBootGuest, XenCpuPool

SLOT_BYTES = 64


def built_at_boot(board: BoardPlan) -> Iterator[Proof]:
    """Return what has to be shown of the guests that Xen builds, and of what it gives them to share with each other."""
    boot, pools = board.xen_boot, {pool.label: pool for pool in board.xen_boot.cpupools}
    for guest in boot.guests:
        yield from boot_domain(guest, pools.get(guest.cpupool or ""))
        yield from affinity(guest, board.facts.cpus)
        for path in every_proof():
            # What vtool's init says and copies another guest may do in its own way, or not.
            yield from (once_used(guest, proof) for proof in path.built_guest(guest))
    yield from shared_bytes(boot.guests)
    for view in boot.shared:
        command = f"od -An -v -tx1 {TREE}/reserved-memory/xen-shmem@{view.inside.base:x}/reg | tr -d ' \\n'"
        what = f"stands in the tree of '{board.control.name}' where it was planned"
        yield region_reg(f"region {view.region}", what, on_board(f"dom0-{view.region}", command), view.inside)
    numbers = {board.control.name: 0, **{guest.name: guest.domain_id for guest in boot.guests}}
    for end in boot.channel_ends:
        yield event_channel(end, numbers)


def boot_domain(guest: XenBootGuest, pool: XenCpuPool | None) -> Iterator[Proof]:
    """Return what has to be shown of a domain that Xen builds at boot."""
    subject = f"domain {guest.name}"
    yield is_active(guest)
    built = f'xl list {guest.domain_id} | awk \'NR == 2 {{ print $(NF-3) " MiB, " $(NF-2) " CPUs" }}\''
    owned = sum(view.inside.size_bytes for view in guest.shared if view.role == "owner")
    size = f"{(guest.memory_bytes + owned) // MIB} MiB, {guest.cpus} CPUs"
    yield shows(subject, f"Xen built it as domain {guest.domain_id}", on_board(f"built-{guest.name}", built), size)
    if guest.ready:
        said = on_board(f"ready-{guest.name}", f"test -e /run/vtool/ready/{guest.name} && echo said")
        row = shows(subject, "its console said its ready text in this boot", said, "said")
        yield replace(row, row_kind=ProofKind.CONSOLE)
    for number, static in enumerate(guest.static_memory):
        where, suffix = static.range, f"-{number}" if number else ""
        line = rf"^(XEN) \(\[[^]]*] \)*d{guest.domain_id}: STATIC BANK.{number}. "
        bank = f"xl dmesg | sed -n 's/{line}//p' | tail -n 1"
        step = on_board(f"static-{guest.name}{suffix}", bank)
        what = "memory that Xen gave it" + (f", range {number}" if len(guest.static_memory) > 1 else "")
        yield shows(subject, what, step, f"{where.base:#016x}-{where.end:#016x}")
    if pool is not None:
        cpus = (
            f"P=$(xl list -c {guest.domain_id} | awk 'NR == 2 {{ print $NF }}'); "
            "xl cpupool-list -c | awk -v p=$P '$1 == p { print $2 }'"
        )
        wanted = ",".join(map(str, pool.cpus))
        yield shows(subject, f"CPUs of its pool '{pool.name}'", on_board(f"pool-{guest.name}", cpus), wanted)
    for view in guest.shared if guest.uart else ():
        # Its kernel says so at boot; there is no shell to ask.
        line = f"DOM{guest.domain_id}: .*reserved mem: 0x[0-9a-f]*[.][.]0x[0-9a-f]* .*xen-shmem@{view.inside.base:x}"
        seen = f"xl dmesg | grep -a -o '{line}' | tail -n 1 | sed 's/.*mem: //; s/ .*//'"
        reach = f"{view.inside.base:#018x}..{view.inside.end - 1:#018x}"
        step = on_board(f"view-{view.region}-{guest.name}", seen)
        found = shows(f"region {view.region}", f"where the kernel of '{guest.name}' found it", step, reach)
        yield once_used(guest, found)


def shared_bytes(guests: Sequence[XenBootGuest]) -> Iterator[Proof]:
    """Return the rows that of two guests each sees in a region what the other wrote there (the guest's init)."""
    for writer, reader in permutations(guests, 2):
        seen_by = {view.region: view for view in reader.shared if view.slot is not None}
        for view in writer.shared:
            if view.slot is not None and view.region in seen_by:
                wrote = _said(writer, view.inside.base, "s/.* wrote //; s/,.*//")
                saw = (
                    _said(reader, seen_by[view.region].inside.base, "s/.* sees //")
                    + f" | cut -d ' ' -f {view.slot + 1}"
                )
                yield _same_bytes(view.region, writer.name, reader.name, wrote, saw)


def _said(guest: XenBootGuest, base: int, field: str) -> str:
    line = f"DOM{guest.domain_id}: .*vtool: region at {base:x}:"
    return f"xl dmesg | grep -a '{line}' | tail -n 1 | tr -d '\\r' | sed '{field}'"


def _same_bytes(region: str, writer: str, reader: str, wrote: str, saw: str) -> Proof:
    # A guest looks every few seconds, and writes when it starts.
    look = f'while A=$({wrote}); B=$({saw}); [ "$A" != "$B" ] && [ $n -lt 15 ]; do n=$((n+1)); sleep 1; done'
    step = on_board(f"bytes-{region}-{writer}-{reader}", f'n=0; {look}; echo "$A"; echo "$B"', timeout_s=60)

    what = f"{SLOT_BYTES} bytes written by '{writer}', seen by '{reader}'"
    judge = SameLines(step=step["id"], digits=16, size_bytes=SLOT_BYTES)
    return Proof(f"region {region}", what, (step,), judge)


def event_channel(end: EventChannelEnd, numbers: Mapping[str, int]) -> Proof:
    """What Xen itself says of a port: which port of which domain is its other end."""
    dump = (
        f'/Event channel information/ {{ mine = $NF == "{numbers[end.domain]}:" }} '
        f'mine && $2 == "{end.port}" {{ line = $0 }} '
        "END { if (match(line, /d=[0-9]+ p=[0-9]+/)) print substr(line, RSTART, RLENGTH) }"
    )
    step = on_board(f"channel-{end.channel}-{end.domain}", f"xl debug-keys e; xl dmesg | awk '{dump}'")
    other = f"d={numbers[end.other_domain]} p={end.other_port}"
    return shows(f"event channel {end.channel}", f"what Xen bound port {end.port} of '{end.domain}' to", step, other)
