"""All that a deploy to a board will stand on, looked at before anything is risked: a line for each, with what to do.

It changes nothing on the board. What a deploy refuses, too, is asked for in one place: ``for_installation.unclear_in``
and ``faults_in``, ``base_tree.refused_loads``. Enter at ``checked``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from vtool.base.units import MIB
from vtool.board.installation import Installation
from vtool.board.live_tree import running_tree
from vtool.board.protocols import Board, Commands
from vtool.deploy.base_tree import memory_of, refused_loads
from vtool.deploy.for_installation import completed, faults_in, look, unclear_in
from vtool.diagnostics import Diagnostic, Severity, VtoolError
from vtool.diagnostics.codes import declare
from vtool.model.board_facts import BoardFacts, Boot, BootState, UBoot
from vtool.model.load_windows import load_windows
from vtool.platform.devicetree import Tree
from vtool.platform.host_memory import Taken

_LEAST_BOOT_KIB = 128 * MIB >> 10
"""Two boot sets of a kernel and a ramdisk of a distribution's, one beside the other."""
_LEAST_PYTHON = (3, 8)
_CLOCK_S = 24 * 3600

declare(
    "VT723",
    what="a board is not ready to be deployed to",
    why="A deploy needs its loader, boot partition, device tree and system to be as the facts say.",
    example="a boot.scr.uimg that U-Boot runs before vtool's script",
    fix="Do what the lines of vtool board check say; nothing was changed on the board.",
)


class Verdict(Enum):
    """Whether a deploy can stand on it; ``unknown`` where only a boot shows it."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: what was found, and what to do where that is not well."""

    check: str
    verdict: Verdict
    found: str
    do: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as data."""
        return {**asdict(self), "verdict": self.verdict.value}


def checked(board: Board, commands: Commands) -> list[Line]:
    """Look at a board that answers. Raises VtoolError of ssh, and VT626 where vtool may not be root."""
    found, facts = look(commands), board.facts
    boot = completed(facts.boot, found) if facts.boot else None
    lines = [*_board(facts, found), *_tree(facts, commands), *_system(found)]
    if boot is None:
        do = "vtool board import --ssh HOST -o FILE writes one"
        return [*lines, Line("boot", Verdict.FAILED, "the facts have no section `boot`", do)]
    lines += [*_partition(board.name, boot, found), *_loader(boot, found)]
    if isinstance(boot, UBoot):
        lines += _state(boot, found, commands)
    return [*lines, *_watchdog(facts, found), *_hypervisors(found)]


def _of(check: str, findings: list[Diagnostic], well: str) -> Iterator[Line]:
    """Yield a line for each finding, or one that says what is well."""
    for finding in findings:
        verdict = Verdict.FAILED if finding.severity is Severity.ERROR else Verdict.WARNING
        yield Line(check, verdict, finding.message, "; ".join(finding.hints))
    if not findings:
        yield Line(check, Verdict.OK, well)


def _board(facts: BoardFacts, found: Installation) -> Iterator[Line]:
    said = found.words.get("compatible", "").split()
    if not said or not facts.compatible:
        yield Line("board", Verdict.UNKNOWN, "nothing tells which board it is", "compare it with the facts by hand")
    else:
        yield from _of("board", list(faults_in(facts, None, found)), f"it is a '{said[0]}'")


def _tree(facts: BoardFacts, commands: Commands) -> Iterator[Line]:
    tree = running_tree(commands)
    if tree is None:
        why = "what runs was booted by vtool, or shows no tree"
        yield Line("device tree", Verdict.UNKNOWN, why, "vtool down, and check again")
        return
    try:
        yield from _of("device tree", [*_differences(facts, tree)], "RAM and reservations are as the facts say")
        loads = [Taken(f"what is loaded to {key}", window) for key, window in load_windows(facts).items()]
        if loads:
            yield from _of("load addresses", list(refused_loads(tree, loads)), "they are free RAM in the board's tree")
    except VtoolError as error:
        yield from _of("device tree", list(error.diagnostics), "")


def _differences(facts: BoardFacts, tree: Tree) -> Iterator[Diagnostic]:
    memory, hint = memory_of(tree), ("import the facts again: vtool board import --ssh HOST -o FILE",)
    for bank in facts.ram:
        if memory.banks and not memory.has(bank.range):
            ram = ", ".join(map(str, memory.banks))
            message = f"the facts have RAM at {bank.range}, the board's tree has {ram}"
            yield Diagnostic("VT723", message, hints=hint)
    known = [carve.range for carve in facts.carve_outs]
    for taken in memory.taken:
        inside = any(bank.range.overlaps(taken.range) for bank in facts.ram)
        if inside and not any(carve.contains(taken.range) for carve in known):
            message = f"the facts do not know of {taken.what} {taken.range}"
            yield Diagnostic("VT723", message, hints=hint, severity=Severity.WARNING)


def _system(found: Installation) -> Iterator[Line]:
    words = found.words
    if "systemd" in words:
        yield Line("systemd", Verdict.OK, words["systemd"].strip())
    else:
        yield Line("systemd", Verdict.FAILED, "the board's init is not systemd", "install a system with systemd")
    version = tuple(int(part) for part in words.get("python", "0").split(".") if part.isdigit())
    if version >= _LEAST_PYTHON:
        yield Line("python", Verdict.OK, words["python"])
    else:
        said = words.get("python", "there is no /usr/bin/python3")
        yield Line("python", Verdict.WARNING, said, "vtool brings one along where it can; 3.8 or later is better")
    clock = words.get("clock", "")
    away = abs(int(clock) - time.time()) if clock.isdigit() else None
    if away is None or away > _CLOCK_S:
        said = "it tells no time" if away is None else f"it is {away / 3600:.0f} hours from this machine's"
        yield Line("clock", Verdict.WARNING, said, "set it (timedatectl): logs and certificates go by it")
    else:
        yield Line("clock", Verdict.OK, "it is this machine's to within a day")


def _partition(name: str, boot: Boot, found: Installation) -> Iterator[Line]:
    yield from _of("installation", list(unclear_in(name, boot, found)), f"root is {boot.root_device}")
    mount = found.mount_at(boot.partition_mount)
    if mount is None:
        do = f"mount it at {boot.partition_mount}, or say `partition_mount`"
        yield Line("boot partition", Verdict.FAILED, f"nothing is mounted at {boot.partition_mount}", do)
        return
    what = f"{mount.target} is {mount.kind} on {mount.source}, {mount.free_kib >> 10} MiB free"
    if mount.read_only:
        yield Line("boot partition", Verdict.FAILED, f"{what}, read-only", "mount it read-write")
    elif mount.kind not in ("vfat", "ext2", "ext3", "ext4"):
        yield Line("boot partition", Verdict.FAILED, f"{what}: no loader writes that", "boot from a FAT")
    elif mount.free_kib < _LEAST_BOOT_KIB:
        do = f"make room: two boot sets take up to {_LEAST_BOOT_KIB >> 10} MiB"
        yield Line("boot partition", Verdict.WARNING, what, do)
    else:
        yield Line("boot partition", Verdict.OK, what)
    if mount.kind == "vfat" and "fsck-vfat" not in found.words:
        do = "install dosfstools: after a power cut nobody else repairs it"
        yield Line("file system check", Verdict.WARNING, "there is no fsck.vfat", do)


def _loader(boot: Boot, found: Installation) -> Iterator[Line]:
    what = f"U-Boot {found.u_boot or '(of unknown release)'}" if isinstance(boot, UBoot) else "systemd-boot"
    findings = list(faults_in(None, boot, found))
    command = found.environment.get("bootcmd", "")
    if findings or command or not isinstance(boot, UBoot):
        yield from _of("loader", findings, f"{what} runs a script: `{command}`" if command else what)
    else:
        do = boot.note or "a trial boot shows it; whatever comes of that, the board boots what it runs now"
        yield Line("loader", Verdict.UNKNOWN, f"{what}: whether it runs a script only a boot shows", do)


def _state(boot: UBoot, found: Installation, commands: Commands) -> Iterator[Line]:
    match boot.state:
        case "file":
            yield Line("boot state", Verdict.OK, f"a file on {boot.partition_mount}")
        case "environment":
            missing = [word for word in ("fw-printenv", "fw-setenv", "fw-env-config") if not found.all(word)]
            do = "install libubootenv-tool, and say in /etc/fw_env.config where U-Boot keeps its environment"
            if missing:
                yield Line("boot state", Verdict.FAILED, f"the board lacks {', '.join(missing)}", do)
            elif not found.environment:
                yield Line("boot state", Verdict.FAILED, "fw_printenv reads no environment", do)
            else:
                yield Line("boot state", Verdict.OK, "U-Boot's environment, which Linux reads")
        case BootState() as state:
            yield _sector(state, found, commands)


def _sector(state: BootState, found: Installation, commands: Commands) -> Line:
    where = f"sector {state.sector} of {state.device}"
    for part in found.partitions:
        if f"/dev/{part.disk}" == state.device and part.start <= state.sector < part.start + part.size:
            return Line("boot state", Verdict.FAILED, f"{where} is inside of {part.name}", "say another `sector`")
    script = f"dd if={state.device} bs=512 skip={state.sector} count=1 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'"
    try:
        content = bytes.fromhex(commands.run(commands.as_root("/bin/sh", "-c", script)).stdout.strip())
    except VtoolError as error:
        if error.diagnostics[0].code != "VT626":
            raise
        do = "check once more as root: nobody else may look"
        return Line("boot state", Verdict.UNKNOWN, f"whether {where} is free only root can see", do)
    if len(content) != 512:
        return Line("boot state", Verdict.FAILED, f"{where} cannot be read", "say another `device` or `sector`")
    if content.strip(b"\0") and not content.startswith(b"vtool_state="):
        do = "say a `sector` that nothing uses: boot loaders lie before the first partition, too"
        return Line("boot state", Verdict.FAILED, f"{where} is not free: there is something in it", do)
    return Line("boot state", Verdict.OK, f"{where} is free, or vtool's")


def _watchdog(facts: BoardFacts, found: Installation) -> Iterator[Line]:
    there = ", ".join(found.all("watchdog"))
    if facts.watchdog is not None:
        yield Line("watchdog", Verdict.OK if there else Verdict.WARNING, there or "Linux sees none")
    else:
        do = "a hang before Linux needs the power to be switched, unless facts have a `watchdog` that U-Boot starts"
        yield Line("watchdog", Verdict.WARNING, f"the facts name none{f'; Linux has {there}' if there else ''}", do)


def _hypervisors(found: Installation) -> Iterator[Line]:
    kvm, xl = "kvm" in found.words, found.words.get("xl", "")
    yield Line("KVM", Verdict.OK if kvm else Verdict.WARNING, "/dev/kvm" if kvm else "there is no /dev/kvm",
               "" if kvm else "needed for `kind: kvm` alone: a kernel with CONFIG_KVM that starts in EL2")  # fmt: skip
    yield Line("Xen", Verdict.OK if xl else Verdict.WARNING, xl or "there is no xl",
               "" if xl else "needed for `kind: xen` alone: install the hypervisor's tools")  # fmt: skip
