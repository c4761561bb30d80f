"""What a frontend has of the queues that were chosen for it: a number or size that did not take is seen here."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.steps import Proof, Step, in_domain, shows
from vtool.plan.types import KvmDevice, XenVirtio


def queues(device: KvmDevice | XenVirtio, domain: str, cpus: int, sysfs: str) -> Iterator[Proof]:
    """Return the rows of what was chosen of a device's queues; nothing where that is the backend's own.

    Linux takes a queue a CPU at most. A disk has as many tags as its queue has entries (drivers/block/virtio_blk.c); of
    others no guest tells the size, and QEMU is asked what it gives.
    """
    chosen, subject, identity = device.queues, f"device {device.name}", f"{domain}-{device.name}"
    disk, interface = f"/sys/block/$(ls {sysfs}/virtio*/block)/mq", f"{sysfs}/virtio*/net/*/queues"
    if chosen.number is not None and device.type in ("blk", "net"):
        listed = f"ls {disk}" if device.type == "blk" else f"ls -d {interface}/tx-*"
        step = in_domain(domain, f"queues-{identity}", f"{listed} | wc -l", 20)
        yield shows(subject, "queues that its driver uses", step, str(min(chosen.number, cpus)))
    if chosen.size is None:
        return
    what = "entries of each of its queues"
    if device.type == "blk":
        yield shows(
            subject, what, in_domain(domain, f"entries-{identity}", f"cat {disk}/0/nr_tags", 20), str(chosen.size)
        )
    elif chosen.size_property:
        path = f"/machine/peripheral/device-{device.name}"
        get = {"execute": "qom-get", "arguments": {"path": path, "property": chosen.size_property}}
        asked: Step = {"id": f"entries-{identity}", "op": "qmp", "domain": domain, "commands": [get]}
        judge = QemuAnswer(step=asked["id"], expected=str(chosen.size))
        yield Proof(subject, f"{what}, as QEMU has it ({chosen.size_property})", (asked,), judge)


class QemuAnswer(Judge):
    """QEMU's answer to a step's first command is what is expected."""

    name = "answer-of-qemu"
    step: str
    expected: str

    def judge(self, results: Results) -> Verdict:
        """Compare it as text."""
        told, why = value_of(results, self.step, "answers")
        seen = "nothing" if told is None else str(results[self.step]["answers"][0])
        return Verdict(self.expected, seen, seen == self.expected, why)
