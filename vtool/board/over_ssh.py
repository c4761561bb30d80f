"""What a running board says of itself over ssh, before it is a board of an inventory: its tree, its memory.

Enter at ``read_over_ssh``. It changes nothing there, and needs no program of vtool's.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from vtool.base.units import AddressRange
from vtool.board.dts import unreadable
from vtool.board.installation import Installation, installation, question
from vtool.board.live_tree import HAS_ACPI
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, board_failed, not_installed
from vtool.model.board_facts import LIVE_TREE
from vtool.model.facts_import import Observed
from vtool.model.tree_doubts import acpi_board
from vtool.platform.devicetree import Tree, booted_by_uefi, read_blob

_IOMEM = "/proc/iomem"
_RESOURCE = re.compile(r"( *)([0-9a-f]+)-([0-9a-f]+) : (.+)")
_DEADLINE_S = 60


def read_over_ssh(host: str, config: Path | None = None) -> tuple[Tree, Observed | None]:
    """Read the tree that a running board was booted with, and what its kernel says of memory where UEFI alone knows.

    By OpenSSH's client: ``host`` is what ssh takes, ``config`` stands for the user's ssh configuration.
    VtoolError VT803, VT816, VT801.
    """
    if not host or host.startswith("-"):
        raise VtoolError(Diagnostic("VT816", f"'{host}' is not a host's name"), ExitCode.USAGE)
    done = _ssh(host, config, f"cat {LIVE_TREE}")
    if done.returncode != 0:
        if _ssh(host, config, shlex.join(HAS_ACPI)).returncode == 0:
            raise VtoolError(acpi_board(f"'{host}'", "it has no device tree"), ExitCode.BOARD_FAILED)
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        hints = (f"only root may read {LIVE_TREE}",) if any(LIVE_TREE in line for line in said) else ()
        raise board_failed("VT816", f"'{host}' does not show its {LIVE_TREE}", hints=hints, detail=said)
    try:
        tree = read_blob(done.stdout)
    except ValueError as error:
        raise unreadable(Path(f"{host}:{LIVE_TREE}"), str(error), ()) from None
    if not booted_by_uefi(tree):
        return tree, None
    return tree, observed(_ssh(host, config, f"cat {_IOMEM}").stdout.decode("utf-8", "replace"))


def installed_over_ssh(host: str, config: Path | None = None) -> Installation:
    """Ask a running board how it is installed and started; what it does not tell is not in it. VtoolError VT816."""
    return installation(_ssh(host, config, question()).stdout.decode("utf-8", "replace"))


def observed(iomem: str) -> Observed | None:
    """Read /proc/iomem: RAM, what is reserved in it, what is not even mapped; None where root alone may see it.

    Linux arch/arm64/kernel/setup.c request_standard_resources, reserve_memblock_reserved_regions: what stands as
    "reserved" by itself is RAM that is not mapped, inside "System RAM" what firmware or the kernel has reserved.
    """
    found: dict[tuple[bool, str], list[AddressRange]] = {}
    for line in iomem.splitlines():
        match = _RESOURCE.fullmatch(line)
        first, last = (int(match[group], 16) for group in (2, 3)) if match else (0, 0)
        if match and last > first:
            found.setdefault((not match[1], match[4]), []).append(AddressRange(first, last + 1))
    ram, unmapped = found.get((True, "System RAM"), []), found.get((True, "reserved"), [])
    if not ram:
        return None
    return Observed(tuple(_joined([*ram, *unmapped])), tuple(found.get((False, "reserved"), [])), tuple(unmapped))


def _joined(ranges: Iterable[AddressRange]) -> Iterator[AddressRange]:
    """Yield ranges ascending, those that touch as one."""
    last: AddressRange | None = None
    for where in sorted(ranges):
        if last is not None and where.base <= last.end:
            last = AddressRange(last.base, max(last.end, where.end))
            continue
        if last is not None:
            yield last
        last = where
    if last is not None:
        yield last


def _ssh(host: str, config: Path | None, command: str) -> subprocess.CompletedProcess[bytes]:
    words = ["ssh", *(["-F", str(config)] if config else []), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    try:
        return subprocess.run(
            [*words, "--", host, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_DEADLINE_S,
        )
    except FileNotFoundError:
        raise not_installed("ssh") from None
    except subprocess.TimeoutExpired:
        raise board_failed("VT816", f"'{host}' did not answer `{command}` within {_DEADLINE_S} s") from None
