"""Disks of guests: what their files are made of, that devices are the guest's alone, data through them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, format_size
from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.steps import (
    TRANSFER_BYTES,
    Proof,
    Step,
    disk_io,
    in_domain,
    same_digest,
    shows,
)
from vtool.model.devices import DiskFormat
from vtool.plan.types import BoardPlan, FileDisk

_BLOCKS = TRANSFER_BYTES // MIB


def disks(board: BoardPlan) -> Iterator[Proof]:
    """Return what has to be shown on the board of disks that are more than empty files, whoever serves them."""
    for guest in board.guests:
        for device in guest.devices:
            for number, disk in enumerate(device.files):
                identity = f"{guest.name}-{device.name}-{number}"
                yield from _on_board(f"device {device.name}", identity, disk)


def _on_board(subject: str, identity: str, disk: FileDisk) -> Iterator[Proof]:
    step: Step = {"id": f"disk-{identity}", "op": "disk", "path": disk.disk_path}
    if disk.is_device:
        what = f"where the board itself has {disk.disk_path} mounted"
        yield shows(subject, what, step, "nowhere", key="mounted")
    if disk.image is None:
        return
    if disk.image.reference:
        judge = MadeOf(step=step["id"], keeps=not disk.image.resets)
        yield Proof(subject, f"image that {disk.name} began as (SHA-256)", (step,), judge)
    if disk.format is not DiskFormat.RAW:
        yield shows(subject, f"format of {disk.name}", step, disk.format.value, key="format")


class MadeOf(Judge):
    """A disk was made of the image that its generation names; one that ``keeps`` may be older, which is only told."""

    name = "made-of"
    step: str
    keeps: bool

    def judge(self, results: Results) -> Verdict:
        """Compare the digests that the board has noted."""
        made, why = value_of(results, self.step, "made")
        wanted, _ = value_of(results, self.step, "wanted")
        expected, same = f"{(wanted or 'a digest')[:16]}…", bool(made) and made == wanted
        if same or not self.keeps or why:
            return Verdict(expected, f"{(made or 'not known')[:16]}", same, why)
        seen = f"kept as it was, begun as {made[:16]}…" if made else "kept as it was, begun without an image"
        return Verdict(expected, seen, proven=False, noted=True)


def through_disk(subject: str, domain: str, identity: str, block: str, disk: FileDisk) -> Iterator[Proof]:
    """Return what has to be shown of a disk by its guest, which has it as ``block``, and by the board at its file."""
    if disk.read_only:
        flag = in_domain(domain, f"read-only-{identity}", f"B={block}; cat /sys/block/${{B##*/}}/ro", 20)
        yield shows(subject, "the guest's flag that it is read-only", flag, "1")
    if disk.format is DiskFormat.RAW:
        yield from disk_io(subject, domain, identity, block, disk.disk_path, disk.scratch, direct=disk.is_device)
        return
    # What is in the file only QEMU writes: the guest alone does here.
    at = disk.scratch.base if disk.scratch else 0
    size, seek = format_size(TRANSFER_BYTES), at // MIB
    there: Step = {
        "id": f"written-{identity}",
        "op": "disk-range",
        "path": disk.disk_path,
        "at": at,
        "size_bytes": TRANSFER_BYTES,
    }
    if disk.scratch is None:
        fetch = in_domain(
            domain,
            f"read-{identity}",
            f"dd if={block} bs=1M count={_BLOCKS} iflag=direct 2>/dev/null | sha256sum",
        )
        yield same_digest(subject, f"{size} in the backend's file, read by the frontend", there, fetch)
        return
    write = in_domain(
        domain,
        f"write-{identity}",
        f"dd if=/dev/urandom of=/tmp/w bs=1M count={_BLOCKS} 2>/dev/null; "
        f"dd if=/tmp/w of={block} bs=1M seek={seek} oflag=direct conv=fsync 2>/dev/null || exit 1; "
        "sha256sum /tmp/w; rm /tmp/w",
    )
    yield same_digest(subject, f"{size} written by the frontend, read in the backend's file", write, there)
