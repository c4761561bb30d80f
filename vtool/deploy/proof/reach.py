"""What a backend can reach of a domain, as observed: all RAM, the region, granted pages, nothing.

A secret outside of what the path shares is looked for in all the backend's memory; a control that went through
the device must be found in what is shared, so that a probe that sees nothing proves nothing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, assert_never

from vtool.base.units import KIB, MIB, AddressRange, format_size
from vtool.data_paths.facts import Shares
from vtool.deploy.proof.judges import Judge, Results, Verdict, failure
from vtool.deploy.proof.steps import (
    REACH,
    SHARE,
    Proof,
    Step,
    block_device,
    mount_share,
    on_board,
)
from vtool.model.access import ProofKind
from vtool.plan.types import (
    KvmDevice,
    KvmGuest,
    XenBootGuest,
    XenGuest,
    XenQemu,
)
from vtool.platform.layouts import xen_guest_ram

IOREQ_BYTES = 8 * KIB
"""QEMU maps the pages by which Xen hands it accesses through privcmd, too: one, and one for buffered ones."""
_PAGE_BYTES = 4 * KIB
_UNKNOWN = "not known"
_PROGRAM = Path(__file__).with_name("foreign_memory.py").read_text()


def kvm_reach(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """Return the row of a device: its daemon's memory is searched, or QEMU's where QEMU is the backend."""
    unit = device.backend.unit if device.backend else guest.unit
    pools = {pool.region: pool.range.size_bytes for pool in guest.pools if pool.shared}
    yield _searched(guest, unit, device.name, _control(device), pools, confined=_is_confined(device))


def _is_confined(device: KvmDevice) -> bool:
    """Whether what serves a device can reach a pool alone: QEMU has all RAM, and hands all or a pool to a daemon."""
    shares = device.data_path.traits.shares
    match shares:
        case Shares.POOL:
            return device.backend is not None
        case Shares.RAM | Shares.RAM_WITH_POOL | Shares.NOTHING:
            return False
        case Shares.REGION:
            raise AssertionError("what is between two guests is asked of both")
        case _ as never:
            assert_never(never)


def between(guest: KvmGuest, other: KvmGuest, name: str, control: str, what: str = REACH) -> Proof:
    """Return the row of what a guest's virtual machine could reach of another's: the regions that both have.

    ``name`` is the device that ``control`` goes through, a shell line in ``guest``.
    """
    theirs = {device.region_file.region for device in other.devices if device.region_file}
    files = [device.region_file for device in guest.devices if device.region_file]
    regions = {file.region: file.size_bytes for file in files if file.region in theirs}
    return _searched(guest, other.unit, name, control, regions, what=what)


def _searched(
    guest: KvmGuest,
    unit: str,
    name: str,
    control: str,
    regions: Mapping[str, int],
    *,
    confined: bool = True,
    what: str = REACH,
) -> Proof:
    """Return the row that a unit's memory is searched: it must reach these regions (bytes by name), or all RAM."""
    step: Step = {
        "id": f"reach-{guest.name}-{name}",
        "op": "reach",
        "domain": guest.name,
        "unit": unit,
        "vmm": guest.unit,
        "control": control,
    }
    words = ", ".join(f"region {region} ({format_size(size)})" for region, size in regions.items())
    expected = words if confined else "all RAM"

    judge = MemorySearched(
        step=step["id"], expected=expected, regions=words, sizes_bytes=sorted(regions.values()), control=bool(control)
    )
    return Proof(f"device {name}", what, (step,), judge)


class Observed(Judge):
    """One look at memory: what it came to in words, and whether that is as ``expected``."""

    kind: ClassVar[ProofKind | None] = ProofKind.REACH
    step: str
    expected: str

    def judge(self, results: Results) -> Verdict:
        """Judge the look, if there was one."""
        why = failure(results, self.step)
        if why:
            return Verdict(self.expected, "nothing observed", False, why)
        seen = results[self.step]
        return Verdict(self.expected, *self.judged(seen), tuple(seen.get("unread", ())))

    def judged(self, seen: Mapping[str, Any]) -> tuple[str, bool]:
        """Say in words what a look came to, and whether it was as expected."""
        raise NotImplementedError


class MemorySearched(Observed):
    """A search of a backend's memory reached these regions, by their sizes and in words, or all RAM as expected.

    ``control``: one was sent.
    """

    name = "memory-searched"
    regions: str
    sizes_bytes: tuple[int, ...]
    control: bool

    def judged(self, seen: Mapping[str, Any]) -> tuple[str, bool]:
        """Say in a word what was reached; a probe that found neither secret nor a control that was sent says so."""
        observed = sorted(item["size_bytes"] for item in seen["objects"])
        if seen["secret_shared"] or seen["secret_own"]:
            reached = "all RAM"
        elif self.control and not seen["control_shared"]:
            reached = _UNKNOWN
        else:
            is_all = observed == list(self.sizes_bytes)
            reached = self.regions if is_all else f"{format_size(sum(observed))} of the guest"
        return f"{reached}: {self._found(seen)}", reached == self.expected and not seen["unread"]

    def _found(self, seen: Mapping[str, Any]) -> str:
        secret = seen["secret_shared"] + seen["secret_own"]
        size = format_size(seen["searched_bytes"] >> 20 << 20)
        words = [f"secret {'found' if secret else 'not found'} in {size} of its memory"]
        found = "found" if seen["control_shared"] + seen["control_own"] else "not found"
        words.append(f"control {found}" if self.control else "no control")
        return ", ".join(words)


def _control(device: KvmDevice) -> str:
    """Return a shell line that sends the file $C through a device; empty where nothing may be written."""
    if device.type == "fs" and device.backend is not None and not device.backend.read_only:
        copy = f"cp $C {SHARE}/.vtool-control && sync; R=$?; rm -f {SHARE}/.vtool-control"
        return f"{mount_share(device.name)}; {copy}; umount {SHARE}; exit $R"
    if not device.disks:
        return ""
    return to_disk(block_device(device.guest_sysfs), device.disks[0].scratch)


def to_disk(block: str, scratch: AddressRange | None) -> str:
    """Return a shell line that writes the file $C into a disk's scratch space; empty where there is none."""
    if scratch is None:
        return ""
    return f"dd if=$C of={block} bs=1M seek={scratch.base // MIB} oflag=direct conv=fsync 2>/dev/null"


# -- virtio of Xen's guests: one QEMU in dom0 has all devices of a guest


def xen_virtio_reach(guest: XenGuest, qemu: XenQemu) -> Iterator[Proof]:
    """Return the rows of a guest that has a shell: it keeps the secret, and writes the control again and again."""
    disk = next((d for d in guest.virtio if d.disks and d.disks[0].scratch), None)
    control = ""
    if disk is not None:
        write = to_disk(block_device(f"/sys/bus/platform/devices/{disk.place.base:x}.virtio"), disk.disks[0].scratch)
        # What is written is in the granted pages as long as the request takes; what is read, at its end alone.
        control = f"{write} && {{ while [ -e $C ]; do {write}; done >/dev/null 2>&1 & }}"
    command = _looks(qemu, f"$(xl domid {guest.name})", xen_guest_ram(guest.memory_bytes))
    step: Step = {"id": f"beside-{guest.name}", "op": "beside", "domain": guest.name, "control": control}
    yield from _virtio_rows(guest, {**step, "command": command}, bool(control))


def pool_reach(guest: XenBootGuest, qemu: XenQemu, sent: str) -> Iterator[Proof]:
    """Return the rows of a guest whose shell nobody reaches: it says its seed; ``sent`` hands it the control by $SEED.

    ``sent`` is a shell line; it is empty where nothing may be written.
    """
    said = f"xl dmesg | sed -n 's/.*DOM{guest.domain_id}: vtool: secret \\([0-9a-f]*\\).*/\\1/p' | tail -n 1"
    command = f"SEED=$({said}); {sent}{_looks(qemu, str(guest.domain_id), guest.ram, list(pools_of(guest).values()))}"
    yield from _virtio_rows(guest, on_board(f"beside-{guest.name}", command, timeout_s=180), bool(sent))


def _looks(qemu: XenQemu, domain: str, ram: Sequence[AddressRange], pools: Sequence[AddressRange] = ()) -> str:
    """Return a shell line: what QEMU has mapped, what a process in its unit can map, and what is in the pools."""
    join = "sh -c 'echo $$ >$0; exec \"$@\"' /sys/fs/cgroup$(systemctl show -p ControlGroup --value $U)/cgroup.procs"
    rights = "nsenter -t $P -m setpriv --no-new-privs --bounding-set=-all,+dac_override"
    lines = [
        f"U={qemu.unit}; P=$(systemctl show -p MainPID --value $U); D={domain}; T={shlex.quote(_PROGRAM)}",
        'python3 -c "$T" mapped $SEED $P',
        f'{join} {rights} python3 -c "$T" own $SEED $D {_words(ram)}',
        *([f'python3 -c "$T" region $SEED $D {_words(pools)}'] if pools else []),
    ]
    return "; ".join(lines)


def _words(ranges: Sequence[AddressRange]) -> str:
    return " ".join(f"{where.base:x}:{where.size_bytes:x}" for where in ranges)


def _virtio_rows(guest: XenGuest | XenBootGuest, step: Step, control: bool) -> Iterator[Proof]:
    paths, pools = {device.data_path for device in guest.virtio}, pools_of(guest)
    region = ", ".join(f"region {name} ({format_size(where.size_bytes)})" for name, where in pools.items())
    expected = "all RAM" if any(path.traits.shares_ram for path in paths) else region or "granted pages"
    judge = Beside(
        step=step["id"],
        expected=expected,
        region=region,
        most_bytes=sum(where.size_bytes for where in pools.values()),
        control=control,
    )
    for device in guest.virtio:
        yield Proof(f"device {device.name}", REACH, (step,), judge)


class Beside(Observed):
    """QEMU maps of a guest of Xen, and can find in it, what is ``expected``; what its rights allow besides is told.

    ``region`` are the pools' words, ``most_bytes`` their size. ``control``: one was sent.
    """

    name = "beside-qemu"
    region: str
    most_bytes: int
    control: bool

    def judged(self, seen: Mapping[str, Any]) -> tuple[str, bool]:
        """Read the lines of the program that looked (foreign_memory.py)."""
        try:
            mapped, own, *more = (json.loads(line) for line in seen["output"].splitlines())
        except ValueError:
            return f"{_UNKNOWN}: {seen['output'].strip()[-80:] or 'the probe said nothing'}", False
        looked = {**mapped, **more[0]} if more else mapped
        foreign = max(0, mapped["privcmd"] * _PAGE_BYTES - IOREQ_BYTES)
        right = _by_right(own)
        if looked["secret"]:
            word = "all RAM"
        elif not foreign and mapped["gntdev"]:
            word = "granted pages"
        elif 0 < foreign <= self.most_bytes and not mapped["gntdev"]:
            word = self.region
        else:
            word = "all RAM" if own["frame"] else _UNKNOWN
        if word != "all RAM" and self.control and not looked["control"]:
            word = _UNKNOWN
        maps = f"QEMU maps {format_size(mapped['gntdev'] * _PAGE_BYTES)} granted, {format_size(foreign)} foreign"
        sent = f"control in {looked['control']}" if self.control else "no control"
        pages = looked["mapped"] if more else mapped["gntdev"]
        content = f"secret in {looked['secret']} of {pages} pages, {sent}; " if more or mapped["gntdev"] else ""
        return f"{word}: {maps}; {content}by right {right}", word == self.expected and right != _UNKNOWN


def pools_of(guest: XenGuest | XenBootGuest) -> dict[str, AddressRange]:
    """Return the pools of a guest's devices, where the guest has them."""
    views = {view.region: view.inside for view in guest.views}
    return {device.pool: views[device.pool] for device in guest.virtio if device.pool}


def _by_right(own: Mapping[str, Any]) -> str:
    """Say what a process with QEMU's rights got when it tried."""
    if own["frame"]:
        return f"all RAM, a process beside QEMU mapped the secret (frame {own['frame']})"
    if own["refused"] and not own["mapped"]:
        return f"no more, Xen refused {own['refused']} pages"
    return _UNKNOWN
