"""What there is to choose from: which program serves which device, over what, through which data path.

Worked out of the files of device types and daemons (``vtool.model.devices``) and of the data paths. The checks accept
what is here, the planner takes QEMU's and the programs' names from it. A combination that is ``deployed`` is deployed
and proven by this version; the others are planned and rendered, and ``vtool deploy`` refuses them (VT714).

QEMU's names and versions: hw/virtio, seen in QEMU 7.2's ``-device help`` where that has them; programs:
their own command lines and Debian's packages. A data path is listed where it has been seen to work or
needs nothing of the program; a daemon behind a pool must be one that was seen to work with it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.model.devices import Device, daemon_in, daemon_of, type_in
from vtool.model.devices.base import (
    DAEMON_FILES,
    EVERY_SUITE,
    TYPE_FILES,
    Installed,
    Program,
    Readiness,
    Service,
    Suite,
    Version,
    built_by_hand,
    word_of,
)

__all__ = ["Readiness", "Suite", "Version"]


QEMU_OF_SUITE: Mapping[Suite, Version] = {
    Suite.BOOKWORM: (7, 2),
    Suite.TRIXIE: (10, 0),
    Suite.TRIXIE_BACKPORTS: (11, 1),
    Suite.SID: (11, 1),
}
"""The QEMU of each Debian release."""

_OF_NO_DAEMON: Mapping[Program, Installed] = {
    Program.QEMU: Installed(dict.fromkeys(EVERY_SUITE, "qemu-system-arm"), "/usr/bin/qemu-system-aarch64"),
    # No Debian release has it for arm64: its QEMU there is built without Xen.
    Program.QEMU_XENPVH: Installed({}, "/usr/local/bin/qemu-system-aarch64"),
    # vtool's own: in its guest's ramdisk, and with the generation in dom0.
    Program.VTOOL_RING: Installed({}, built_by_hand(Program.VTOOL_RING)),
}


def installed(program: Program) -> Installed | None:
    """Return where a program is on a board, None for what is a part of Linux or started by xl."""
    return daemon_of(program) or _OF_NO_DAEMON.get(program)


def is_daemon(program: Program) -> bool:
    """Whether a program serves a device from a process of its own."""
    return daemon_of(program) is not None


@dataclass(frozen=True)
class Combination:
    """One way to serve a device: the five choices, whether vtool deploys and proves it, and what it takes.

    ``qemu_device`` and ``since`` are QEMU's name of the device and the first version that has it; ``kernel`` are the
    options of the frontend's kernel. They are empty for Xen's PV devices. ``service`` has the rest; None where there is
    no such combination.
    """

    hypervisor: str
    type: str
    data_path: DataPath
    transport: Transport
    program: Program
    deployed: bool = field(default=False, compare=False)
    qemu_device: str = field(default="", compare=False)
    since: Version = field(default=(0, 0), compare=False)
    kernel: tuple[str, ...] = field(default=(), compare=False)
    service: Service[Any] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.data_path.value} over {self.transport.value} by {self.program.value}"

    @property
    def reconnects(self) -> bool:
        """Whether QEMU finds a daemon again that was restarted."""
        return self.service is not None and self.service.reconnects

    @property
    def xl_type(self) -> str:
        """Return the word of xl's lists for it."""
        return self.service.xl_type if self.service else ""

    @property
    def in_disk_list(self) -> bool:
        """Whether xl has it in its list of disks."""
        by_xl = self.hypervisor == "xen" and self.transport in (Transport.XENBUS, Transport.MMIO)
        return by_xl and self.type == "blk" and not self.xl_type


def _finds_it(hypervisor: str, transport: Transport, *, virtio: bool) -> tuple[str, ...]:
    """Return the options by which a frontend's kernel finds a device: a region is behind a BAR, or in Xen's memory."""
    match transport:
        case Transport.MMIO:
            return ("VIRTIO_MMIO",)
        case Transport.PCI if virtio:
            return ("VIRTIO_PCI", "PCI_HOST_GENERIC")
        case Transport.XENBUS:
            return ()
        case Transport.PCI | Transport.SHARED_MEMORY:
            return ("PCI_HOST_GENERIC",) if hypervisor == "kvm" else ("DEVMEM",)
        case _ as never:
            assert_never(never)


def _through_paths(hypervisor: str, word: str, program: Program, service: Service[Any]) -> Iterator[Combination]:
    """Yield what a program can serve: through each path that takes it, over each transport that both have."""
    # Under Xen what grants comes first.
    paths = sorted(DataPath, key=lambda path: hypervisor == "xen" and not path.traits.grants)
    for path in (path for path in paths if path.traits.virtio == service.virtio):
        traits = path.traits
        for transport, name in service.names.items():
            by = [by for by in traits.served(hypervisor) if by.fits(program.value, word, transport)]
            if not by:
                continue
            finds_it = _finds_it(hypervisor, transport, virtio=service.virtio)
            yield Combination(
                hypervisor,
                word,
                path,
                transport,
                program,
                deployed=path.has_proof and any(one.deployed for one in by),
                qemu_device=name,
                since=service.since if name or hypervisor == "kvm" else (0, 0),
                kernel=(*traits.kernel, *finds_it, *service.kernel),
                service=service,
            )


@functools.cache
def _by_daemon(hypervisor: str, name: str) -> tuple[Combination, ...]:
    daemon = daemon_in(name)
    service = daemon.kvm if hypervisor == "kvm" else daemon.xen
    if service is None:
        return ()
    return tuple(_through_paths(hypervisor, word_of(daemon.serves), daemon.program, service))


@functools.cache
def _of_type(hypervisor: str, name: str) -> tuple[Combination, ...]:
    found = type_in(name)
    services = (found.kvm if hypervisor == "kvm" else found.xen).items()
    return tuple(row for program, service in services for row in _through_paths(hypervisor, name, program, service))


@functools.cache
def combinations() -> tuple[Combination, ...]:
    """Return every way to serve a device that vtool knows, in the order in which people are told of them.

    Under KVM daemons come before what QEMU serves itself, under Xen after what Xen and its QEMU serve; rings last.
    """
    kvm = [*(_by_daemon("kvm", name) for name in DAEMON_FILES), *(_of_type("kvm", name) for name in TYPE_FILES)]
    xen = [*(_of_type("xen", name) for name in TYPE_FILES), *(_by_daemon("xen", name) for name in DAEMON_FILES)]
    rows = [row for rows in (*kvm, *xen) for row in rows]
    return tuple(sorted(rows, key=lambda row: row.data_path.traits.carries_data))


def combination_requested(hypervisor: str, device: Device) -> Combination:
    """Return a device's choices as a row, whether or not the table has it."""
    return Combination(hypervisor, device.type, device.data_path, device.transport, device.program)


def combination_of(hypervisor: str, device: Device) -> Combination | None:
    """Return the table's row for a device's choices, or None when there is none."""
    return _known(combination_requested(hypervisor, device))


@functools.cache
def _known(asked: Combination) -> Combination | None:
    name = asked.program.value.replace("-", "_")
    rows = _by_daemon(asked.hypervisor, name) if name in DAEMON_FILES else ()
    if asked.type in TYPE_FILES:
        rows += _of_type(asked.hypervisor, asked.type)
    return next((row for row in rows if row == asked), None)
