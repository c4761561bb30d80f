"""The words that vtool itself writes on the command lines of Xen and of kernels.

What follows from the topology and the facts alone; the words that tell vtool's own guest what the plan chose
begin with ``vtool.`` and are the planner's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vtool.base.units import MIB
from vtool.model.board_facts import ASKED, BoardFacts, Watchdog
from vtool.model.topology import Domain, Start, Xen
from vtool.model.xen_settings import is_requested
from vtool.platform.xen_properties import PROPERTIES

OWN_PREFIX = "vtool."
"""Words that begin so are read by vtool's own programs in a guest or on the board."""


def uses_flask(hypervisor: Xen, guests: Iterable[Domain]) -> bool:
    """Whether Xen is to keep domains apart by FLASK: there is a policy, or a guest has a label."""
    return hypervisor.xsm_policy is not None or any(guest.under_xen.seclabel for guest in guests)


def of_xen(facts: BoardFacts, hypervisor: Xen, control: Domain, guests: Iterable[Domain]) -> Iterator[str]:
    """Yield what Xen is told of its console, of dom0, and of what guests have that it must be switched on for."""
    uart = facts.boot.xen_console if facts.boot else facts.stdout.path if facts.stdout else None
    if uart:
        yield "console=dtuart"
        yield f"dtuart={uart}"
    if control.memory is not None:
        yield f"dom0_mem={control.memory // MIB}M"
    yield f"dom0_max_vcpus={dom0_vcpus(control, facts)}"
    listed = list(guests)
    yield from (row.words for row in PROPERTIES if row.words and any(is_requested(guest, row) for guest in listed))
    if uses_flask(hypervisor, listed):
        yield "xsm=flask"


def dom0_vcpus(control: Domain, facts: BoardFacts) -> int:
    """Return how many vCPUs dom0 gets: those that are asked for, as far as the board has CPUs."""
    return min(control.cpus, facts.cpus)


def of_control_domain(facts: BoardFacts, watchdog: Watchdog | None, *, is_xen: bool) -> Iterator[str]:
    """Yield what the board's own kernel is told: console, root file system, and when to start again.

    No console where the facts name none: Linux then takes /chosen's stdout-path. No root file system where the board
    itself is asked for it.
    """
    stdout = facts.stdout.console if facts.stdout else None
    console = "hvc0" if is_xen else facts.boot.console if facts.boot else stdout
    if console:
        yield f"console={console}"
    if facts.boot is not None:
        if facts.boot.root_device != ASKED:
            yield f"root={facts.boot.root_device}"
        if facts.boot.root_filesystem != ASKED:
            yield f"rootfstype={facts.boot.root_filesystem}"
        yield "rw"
        yield "rootwait"
    # A system that panicked or hangs has to start again, so that the loader can choose another.
    yield "panic=10"
    if watchdog is not None:
        yield f"systemd.watchdog_sec={watchdog.timeout_s // 2}"
        yield from watchdog.kernel_arguments.split()


def of_guest(domain: Domain, *, is_xen: bool) -> Iterator[str]:
    """Yield what a guest's kernel is told, beside the words of ``OWN_PREFIX``: its console."""
    if not is_xen:
        yield "console=ttyAMA0"
    elif domain.start is Start.XL:
        yield "console=hvc0"
    elif domain.xen is None or domain.xen.uart:
        yield "console=ttyAMA0"
