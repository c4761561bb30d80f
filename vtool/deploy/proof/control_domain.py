"""What the control domain was started with: that the kernel that runs and its ramdisk are those that were deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.deploy.proof.judges import Judge, Results, Verdict, failure
from vtool.deploy.proof.steps import Proof, Step
from vtool.images import PREFIX
from vtool.plan.types import BoardPlan

_PAGES_BYTES = 2 * 64 << 10
"""Two of the largest pages: what is no whole page at the ends of a ramdisk is not told as freed."""


def control_domain(board: BoardPlan) -> Iterator[Proof]:
    """Return the rows of a control domain whose kernel or ramdisk is the user's or the board's own."""
    control = board.control
    subject = f"domain {control.name}"
    if not control.kernel_image.startswith(PREFIX):
        step: Step = {"id": "started-kernel", "op": "kernel-started", "file": "Image"}
        yield Proof(subject, "the kernel that runs is the one deployed", (step,), KernelStarted(step=step["id"]))
    if control.ramdisk_image is not None:
        step = {"id": "started-ramdisk", "op": "ramdisk-started", "file": "initrd"}
        yield Proof(subject, "it was started with the ramdisk deployed", (step,), RamdiskStarted(step=step["id"]))


class KernelStarted(Judge):
    """The banner of the running kernel is that in the deployed file: release, builder, compiler, number and date."""

    name = "kernel-started"
    step: str

    def judge(self, results: Results) -> Verdict:
        """Compare the banners; shown are release and build."""
        why = failure(results, self.step)
        if why:
            return Verdict("the deployed kernel", "nothing", False, why)
        deployed, running = (str(results[self.step][key]) for key in ("deployed", "running"))
        return Verdict(_shown(deployed), _shown(running), bool(deployed) and deployed == running)


def _shown(banner: str) -> str:
    found = re.match(r"Linux version (\S+) .*\)\s*(#.*)", banner)
    return f"{found[1]} {found[2]}" if found else banner or "no kernel's banner"


class RamdiskStarted(Judge):
    """The kernel was given a ramdisk of the deployed file's size: by its device tree, else by what it freed."""

    name = "ramdisk-started"
    step: str

    def judge(self, results: Results) -> Verdict:
        """Compare sizes, to the byte where the device tree tells."""
        why = failure(results, self.step)
        if why:
            return Verdict("the deployed ramdisk", "nothing", False, why)
        result = results[self.step]
        size, given, freed = result["size_bytes"], result["given_bytes"], result["freed_kib"]
        expected = f"{size} bytes ({result['sha256'][:16]}…)"
        if given is not None:
            return Verdict(expected, f"{given} bytes", given == size)
        if freed is None:
            return Verdict(expected, "no ramdisk: neither the device tree nor the kernel's log tells of one", False)
        return Verdict(expected, f"{freed} KiB freed", abs(freed * 1024 - size) < _PAGES_BYTES)
