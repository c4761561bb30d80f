"""What is shown of a guest from the outside, whatever it is: what its console said, what its backends have counted.

Rows of guests that are not vtool's, beside those that are asked inside. Enter at ``of_any_guest`` and ``traffic``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from vtool.base.units import format_size
from vtool.deploy.proof.judges import Judge, Results, Verdict, failure, value_of
from vtool.deploy.proof.steps import Proof, Step, on_board
from vtool.model.access import ProofKind, Way
from vtool.plan.types import Guest, KvmDevice, KvmGuest, XenDisk, XenGuest, XenInterface, XenVirtio


def of_any_guest(guest: KvmGuest | XenGuest) -> Iterator[Proof]:
    """Return what is shown of a guest that is not vtool's."""
    if guest.access.way is Way.SHELL:
        return
    if guest.ready:
        logs = " ".join(filter(None, (guest.console_log, guest.uart_log if isinstance(guest, XenGuest) else None)))
        said = f"cat {logs} 2>/dev/null | grep -a -c -F -e {shlex.quote(guest.ready)} || true"
        judge = Said(step=f"said-{guest.name}", expected=f"'{guest.ready}'")
        yield Proof(f"domain {guest.name}", "its console said", (on_board(judge.step, said),), judge)


def traffic(guest: KvmGuest | XenGuest) -> Iterator[Proof]:
    """Return what is counted of each device of such a guest, after all that may have gone through it."""
    if guest.access.way is Way.SHELL:
        return
    for device in guest.devices:
        counted = _counted(guest, device)
        if counted is not None:
            judge_of = Traffic(step=counted["id"], device=f"device-{device.name}")
            yield Proof(f"device {device.name}", "bytes that its backend counted", (counted,), judge_of)


def offered(guest: Guest, device: KvmDevice | XenVirtio) -> Proof:
    """Return the row of a device's features for a guest that nobody gets into: of what QEMU offers, and what went."""
    name, platform = f"device-{device.name}", device.data_path.traits.platform
    offers: Step = {"id": f"offers-{device.name}", "op": "offers", "domain": guest.name, "device": name}
    counted = _counted(guest, device)
    judge = Offered(offers=offers["id"], counted=counted["id"] if counted else "", device=name, platform=platform)
    steps = (offers, *([counted] if counted else ()))
    return Proof(f"device {device.name}", "features that it was offered, and works with", steps, judge)


def is_driven(guest: Guest) -> bool:
    """Whether a proof can surely make a guest use its devices."""
    return guest.access.way not in (Way.NONE, Way.PROMPT)


def once_used(guest: Guest, proof: Proof) -> Proof:
    """Return a row of what is there once a guest uses something; of one that may use nothing it is noted till then.

    What a backend reaches stays as it is: too much is too much, whoever uses it.
    """
    return proof if is_driven(guest) or proof.kind is ProofKind.REACH else replace(proof, if_used=True)


def kernel_said(guest: Guest, identity: str, line: str) -> Step:
    """Return the step that counts a line of a guest's kernel on its console, where that has any of the kernel's."""
    count = f"grep -a -c '{line}' {guest.console_log} || true"
    if guest.access.way is Way.SHELL:
        return on_board(identity, count)
    none = "not looked at: its console has no lines of its kernel"
    return on_board(identity, f"grep -a -q 'Linux version ' {guest.console_log} || {{ echo '{none}'; exit; }}; {count}")


def _counted(guest: Guest, device: object) -> Step | None:
    """Return the step that says how many bytes went through a device, as ``read N`` and ``written N`` of its backend.

    A tap and a vif say so to the board's kernel, QEMU of a disk of its own; of a daemon Linux has what it read and
    wrote. None for what nobody counts.
    """
    name = getattr(device, "name", "")
    identity = f"counted-{guest.name}-{name}"
    match device:
        case KvmDevice() | XenVirtio() if device.tap is not None:
            return on_board(identity, _of_interface(f"/sys/class/net/{device.tap.name}"))
        case XenInterface() if device.backend is None:
            return on_board(
                identity, f"D=$(xl domid {guest.name}); {_of_interface(f'/sys/class/net/vif$D.{device.index}')}"
            )
        case XenDisk():
            read, written = (f"$(($(cat $S/statistics/{way}_sect) * 512))" for way in ("rd", "wr"))
            return on_board(identity, at_blkback(guest, device, f'echo "read {read} written {written}"'))
        case KvmDevice() | XenVirtio() if device.backend is not None:
            unit = f"P=$(systemctl show -p MainPID --value {device.backend.unit})"
            # Linux without TASK_IO_ACCOUNTING has no such file (fs/proc/base.c).
            there = "[ -e /proc/$P/io ] || { echo 'not looked at: the kernel of the board does not count it'; exit; }"
            of_process = "sed -n 's/^rchar: /read /p; s/^wchar: /written /p' /proc/$P/io"
            return on_board(identity, f"{unit}; {there}; {of_process}")
        case KvmDevice() | XenVirtio() if device.disks and guest.answers_qmp:
            ask = [{"execute": "query-blockstats"}]
            return {"id": identity, "op": "qmp", "domain": guest.name, "commands": ask}
    return None


def at_blkback(guest: Guest, disk: XenDisk, command: str) -> str:
    """Return a shell line that runs a command where `$S` is the folder in sysfs that blkback has of a disk."""
    return (
        f"D=$(xl domid {guest.name}); for S in /sys/bus/xen-backend/devices/vbd-$D-*; do "
        f'P=$(cat $S/nodename); [ "$(xenstore-read /local/domain/0/$P/dev)" = {disk.virtual_device} ] && '
        f"{command}; done; true"
    )


def _of_interface(folder: str) -> str:
    # What the guest sends comes to the board's end.
    return f'echo "read $(cat {folder}/statistics/tx_bytes) written $(cat {folder}/statistics/rx_bytes)"'


class Said(Judge):
    """A guest's console has said a text at least once; the step counts the lines."""

    name = "said"
    kind: ClassVar[ProofKind | None] = ProofKind.CONSOLE
    step: str
    expected: str

    def judge(self, results: Results) -> Verdict:
        """Compare with none."""
        seen, why = value_of(results, self.step)
        times = int(seen) if seen and seen.isdigit() else 0
        words = f"in {times} line{'' if times == 1 else 's'}" if times else "never"
        return Verdict(self.expected, words, times > 0, why)


class Traffic(Judge):
    """A backend has counted bytes of a guest; where it has not, that is noted: nobody made the guest send any."""

    name = "traffic"
    step: str
    device: str

    def judge(self, results: Results) -> Verdict:
        """Add up."""
        why, bytes_of = failure(results, self.step), bytes_counted(results, self.step, self.device)
        words = ", ".join(f"{format_size(size) if size else 'none'} {what}" for what, size in bytes_of.items())
        return Verdict("any", words or "nothing", sum(bytes_of.values()) > 0, why, noted=not sum(bytes_of.values()))


class Offered(Judge):
    """QEMU offers a device VERSION_1 and, with ``platform``, ACCESS_PLATFORM, and else not the latter; and it is used.

    QEMU lets no driver begin that leaves ACCESS_PLATFORM out where it is offered (hw/virtio/virtio.c,
    virtio_validate_features), and a device without the legacy interface is none for a driver that does not know
    VERSION_1: so a device through which bytes went has both as they were offered. Without any that is noted.
    """

    name = "offered"
    kind: ClassVar[ProofKind | None] = ProofKind.FEATURES
    offers: str
    counted: str
    device: str
    platform: bool

    def judge(self, results: Results) -> Verdict:
        """Compare what was offered, and whether anything went."""
        known = ("VIRTIO_F_VERSION_1", "VIRTIO_F_IOMMU_PLATFORM")
        wanted = ", ".join(known if self.platform else known[:1])
        why = failure(results, self.offers)
        told = results.get(self.offers, {})
        seen = ", ".join(word for word in known if told.get(word)) or "neither"
        used = sum(bytes_counted(results, self.counted, self.device).values()) if self.counted else 0
        right = not why and seen == wanted
        words = (
            f"{seen}, and {format_size(used)} went through it" if used else f"{seen}; nothing was seen to go through"
        )
        return Verdict(wanted, words, right and used > 0, why, noted=right and not used)


def bytes_counted(results: Results, step: str, device: str) -> Mapping[str, int]:
    """Return the bytes that a counting step told, by ``read`` and ``written`` as the guest sees it.

    QEMU tells of all its disks: ``device`` is this one's id, or that of the PCI function it is the inside of.
    """
    result = results.get(step, {})
    if "answers" in result:
        disks = [
            disk.get("stats", {}) for disk in _listed(result["answers"]) if device in str(disk.get("qdev")).split("/")
        ]
        keys = {"read": "rd_bytes", "written": "wr_bytes"}
        return {what: sum(int(stats.get(key, 0)) for stats in disks) for what, key in keys.items()} if disks else {}
    words = str(result.get("output", "")).split()
    return {what: int(size) for what, size in zip(words[::2], words[1::2], strict=False) if size.isdigit()}


def _listed(answers: Any) -> list[dict[str, Any]]:
    first = answers[0] if answers else []
    return [disk for disk in first if isinstance(disk, dict)] if isinstance(first, list) else []
