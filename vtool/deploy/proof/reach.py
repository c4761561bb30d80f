"""What a backend can reach of a domain, as observed: all RAM, the region, granted pages, nothing.

A secret outside of what the path shares is looked for in all the backend's memory; a control that went through
the device must be found in what is shared, so that a probe that sees nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vtool.deploy.proof.steps import REACH, SHARE, Proof, Results, Row, Step, block_device, failure, mount_share
from vtool.model.devices import DataPath
from vtool.plan.types import KvmDevice, KvmGuest, XenDisk, XenGuest, XenInterface, XenServedDisk
from vtool.units import MIB, AddressRange, format_size


def kvm_reach(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """Return the row of a device: its daemon's memory is searched, or QEMU's where QEMU is the backend."""
    unit = device.backend.unit if device.backend else guest.unit
    step: Step = {
        "id": f"reach-{guest.name}-{device.name}",
        "op": "reach",
        "domain": guest.name,
        "unit": unit,
        "vmm": guest.unit,
        "control": _control(device),
    }
    shared = [pool for pool in guest.pools if pool.shared]
    sizes = sorted(pool.range.size_bytes for pool in shared)
    confined = device.backend is not None and device.data_path == DataPath.POOL.value
    regions = ", ".join(f"region {pool.region} ({format_size(pool.range.size_bytes)})" for pool in shared)
    expected = regions if confined else "all RAM"

    def judged(seen: Mapping[str, Any]) -> tuple[str, bool]:
        reached = _reached(seen, sizes, regions, step["control"])
        return f"{reached}: {_found(seen, step['control'])}", reached == expected and not seen["unread"]

    yield _row(device.name, step, expected, judged)


def reached_row(device: str, step: Step, regions: Mapping[str, int]) -> Proof:
    """Return the row that a look finds these regions (name -> bytes) shared, and nothing of the domain besides."""
    expected = ", ".join(f"{name} ({format_size(size)})" for name, size in regions.items())

    def judged(seen: Mapping[str, Any]) -> tuple[str, bool]:
        reached = _reached(seen, sorted(regions.values()), expected, step["control"])
        return f"{reached}: {_found(seen, step['control'])}", reached == expected and not seen["unread"]

    return _row(device, step, expected, judged)


def _row(device: str, step: Step, expected: str, judged: Callable[[Mapping[str, Any]], tuple[str, bool]]) -> Proof:
    """Return the row of a device; ``judged`` says in words what a look came to, and whether it was as expected."""

    def read(results: Results) -> Row:
        why = failure(results, step)
        if why:
            return Row(f"device {device}", REACH, expected, "nothing observed", False, why)
        seen = results[step["id"]]
        return Row(f"device {device}", REACH, expected, *judged(seen), tuple(seen.get("unread", ())))

    return Proof((step,), read)


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


def _reached(seen: Mapping[str, Any], sizes: list[int], regions: str, control: str) -> str:
    """Say in a word what was reached; a probe that found neither secret nor a control that was sent says so."""
    if seen["secret_shared"] or seen["secret_own"]:
        return "all RAM"
    if control and not seen["control_shared"]:
        return "not known"
    observed = sorted(item["size_bytes"] for item in seen["objects"])
    return regions if observed == sizes else f"{format_size(sum(observed))} of the guest"


def _found(seen: Mapping[str, Any], control: str) -> str:
    secret = seen["secret_shared"] + seen["secret_own"]
    size = format_size(seen["searched_bytes"] >> 20 << 20)
    words = [f"secret {'found' if secret else 'not found'} in {size} of its memory"]
    found = "found" if seen["control_shared"] + seen["control_own"] else "not found"
    words.append(f"control {found}" if control else "no control")
    return ", ".join(words)


def xen_reach(guest: XenGuest, device: XenDisk | XenServedDisk | XenInterface) -> Iterator[Proof]:
    """Return the row of a PV device: what the domain granted; dom0 is privileged besides."""
    disks: tuple[XenDisk | XenServedDisk, ...] = (*guest.disks, *guest.served_disks)
    controls = (to_disk(f"/dev/{disk.virtual_device}", disk.scratch) for disk in disks)
    control = next(filter(None, controls), "")
    step: Step = {"id": f"granted-{guest.name}", "op": "granted", "domain": guest.name, "control": control}

    def judged(seen: Mapping[str, Any]) -> tuple[str, bool]:
        count = f"{'' if seen['complete'] else 'at least '}{seen['granted']} of {seen['pages']}"
        sent = f"control in {seen['control']}" if control else "no control"
        words = f"granted pages: {count} mapped by backends; secret in {seen['secret']} of them, {sent}"
        return words, seen["granted"] > 0 and seen["secret"] == 0 and (seen["control"] > 0 or not control)

    yield _row(device.name, step, "granted pages", judged)
