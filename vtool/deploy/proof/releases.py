"""What a proof may ask of which release, and the rows that tell a release that vtool has not met.

What is asked leaves as it was what it is asked of; whatever can end a guest has no place here: QEMU 11.1 aborts when
it is asked `x-query-virtio-status`. So no command whose name says that it is unstable (``x-``) is asked of any QEMU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.steps import Proof, Step, in_domain, on_board
from vtool.model.combinations import Version
from vtool.plan.types import BoardPlan

MET = {"QEMU": ("10.0", "11.1"), "Xen": ("4.20",), "Linux": ("6.12", "7.3")}
"""The releases that every row has been seen with."""


@dataclass(frozen=True)
class Asked:
    """Something that a proof asks: of what, how, where, and why it is safe."""

    of: str
    how: str
    what: str
    safe: str


ASKED = (
    Asked("QEMU", "QMP", "query-version", "reads constants; stable since 0.14"),
    Asked("QEMU", "QMP", "query-blockstats", "reads counters of its disks; stable since 0.14"),
    Asked("QEMU", "QMP", "query-memdev", "reads its memory backends; stable since 2.1"),
    Asked("QEMU", "QMP", "query-cpus-fast", "reads which threads its vCPUs are; stable since 2.12"),
    Asked(
        "QEMU",
        "QMP",
        "qom-get",
        "reads `iommu_platform`, `parent_bus`, `force-legacy`, `disable-modern`, sizes of queues; stable since 1.2",
    ),
    Asked("QEMU", "/proc", "maps", "Linux reads it, QEMU is not asked"),
    Asked("QEMU", "/proc", "mem", "Linux reads memory that QEMU has mapped"),
    Asked("QEMU", "/proc", "status", "Linux reads it: how much of its memory is in huge pages"),
    Asked("QEMU", "/proc", "fd", "memory objects that QEMU holds open are opened once more, to read"),
    Asked("Xen", "xl", "info", "reads"),
    Asked("Xen", "xl", "list", "reads"),
    Asked("Xen", "xl", "domid", "reads"),
    Asked("Xen", "xl", "domname", "reads"),
    Asked("Xen", "xl", "cpupool-list", "reads"),
    Asked("Xen", "xl", "vcpu-list", "reads"),
    Asked("Xen", "xl", "getenforce", "reads"),
    Asked("Xen", "xl", "dmesg", "reads Xen's log, and leaves it"),
    Asked("Xen", "xl", "debug-keys", "`e` and `g`: Xen prints event channels and grant tables to its log"),
    Asked("Xen", "xenstore", "xenstore-read", "reads"),
    Asked("Xen", "xenstore", "xenstore-list", "reads"),
    Asked("Xen", "xenstore", "xenstore-ls", "reads"),
    Asked("Xen", "/dev/xen/privcmd", "argo_op", "`notify` of no ring, which does nothing"),
    Asked("Xen", "/dev/xen/privcmd", "mmapbatch", "maps pages of a guest, and reads them; a driver domain is refused"),
    Asked("Xen", "/dev/xen/gntdev", "map", "a driver domain maps a page granted to it, and is refused another's"),
    Asked("Linux", "debugfs", "io_tlb_used_hiwater", "a mark that counts; it is set to 0 before a device's I/O"),
    Asked("Linux", "sysfs", "features", "reads what a virtio driver accepted: 64 digits in 6.12, 128 in 7.3"),
    Asked("Linux", "sysfs", "iommu_group/type", "reads"),
    Asked("Linux", "sysfs", "mq", "reads queues of a disk, and `nr_tags` of the first"),
    Asked("Linux", "sysfs", "queues", "reads queues of a network interface"),
    Asked("Linux", "sysfs", "statistics/wr_sect", "reads what blkback counts"),
    Asked("Linux", "/proc", "version", "reads"),
    Asked("Linux", "sysfs", "linux,initrd-start", "reads what the board's kernel was given"),
    Asked("Linux", "dmesg", "Freeing initrd memory", "reads the kernel's log, and leaves it"),
    Asked("Linux", "/dev/mem", "read", "a guest reads pages of its own RAM that it granted"),
)


def releases(board: BoardPlan) -> Iterator[Proof]:
    """Return the rows of the releases that take part: hypervisor, QEMU, kernels of the board and of guests."""
    if board.hypervisor == "xen":
        told = on_board("release-xen", "xl info | sed -n 's/^xen_version *: //p'")
        yield _release("hypervisor", "its release", "Xen", told, board.xen_release)
    told = on_board("release-linux", "uname -r")
    yield _release(f"domain {board.control.name}", "its kernel", "Linux", told)
    for guest in (guest for guest in board.guests if not guest.at_boot):  # which have no shell
        told = in_domain(guest.name, f"release-{guest.name}", "uname -r", 20)
        yield _release(f"domain {guest.name}", "its kernel", "Linux", told)
    for name in (guest.name for guest in board.guests if guest.answers_qmp):
        step: Step = {"id": f"qemu-{name}", "op": "qmp", "domain": name, "commands": [{"execute": "query-version"}]}
        yield _release(f"domain {name}", "release of its QEMU", "QEMU", step, board.qemu)


def _release(subject: str, what: str, program: str, step: Step, said: Version | None = None) -> Proof:
    """Return the row of a release: one that is not met, or not what the topology says, is told and fails nothing."""
    release = f"{said[0]}.{said[1]}" if said is not None else ""
    return Proof(subject, what, (step,), Release(step=step["id"], program=program, met=MET[program], said=release))


class Release(Judge):
    """A program's release is one of those ``met`` and the one that the topology ``said``; others are noted."""

    name = "release"
    step: str
    program: str
    met: tuple[str, ...]
    said: str = ""

    def judge(self, results: Results) -> Verdict:
        """Compare major and minor; of QEMU, what it answers to `query-version`."""
        expected = " or ".join(self.met)
        told, why = value_of(results, self.step, "answers" if self.program == "QEMU" else "output")
        if told is not None and self.program == "QEMU":
            told = _of_qemu(results[self.step]["answers"][0])
        release = re.match(r"(\d+)\.(\d+)", told or "")
        if release is None:
            return Verdict(expected, told or "nothing", False, why)
        series = f"{release[1]}.{release[2]}"
        words = [f"not proven with {self.program} {series}"] if series not in self.met else []
        if self.said and series != self.said:
            words.append(f"the topology says {self.said}")
        return Verdict(expected, ": ".join([told or "", *words]), not words, noted=bool(words))


def _of_qemu(answer: object) -> str:
    found = answer.get("qemu", {}) if isinstance(answer, dict) else {}
    return ".".join(str(found.get(part, "?")) for part in ("major", "minor", "micro"))
