"""Facts of a kind of board: what its memory, interrupt controller and boot firmware are.

One file per kind under ``topology/boards/``. Facts never say how a board is reached (``inventory/``)
nor what runs on it (the topology).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vtool.model.types import Address, Model, Name, Size


class RamBank(Model):
    """One bank of RAM, host-physical."""

    base: Address
    size: Size


class CarveOut(Model):
    """RAM that is not vtool's to give away, host-physical, and why."""

    name: Name
    base: Address
    size: Size
    reason: str


class LoadAddresses(Model):
    """Where the boot loader puts things, host-physical; each is the base of a window up to the next."""

    hypervisor: Address
    kernel: Address
    device_tree: Address
    ramdisk: Address


class Boot(Model):
    """How the board starts: its loader, its boot partition, the console and root device it has."""

    loader: Literal["u-boot"]
    load_command: str
    partition_mount: str
    root_device: str
    root_filesystem: str
    console: str
    xen_console: str
    load: LoadAddresses


class DeviceTreeFacts(Model):
    """The base tree's cell widths at the root and in /reserved-memory, if it has that node."""

    address_cells: Annotated[int, Field(ge=1, le=2)]
    size_cells: Annotated[int, Field(ge=1, le=2)]
    has_reserved_memory: bool


class InterruptController(Model):
    """The board's GIC."""

    version: Annotated[int, Field(ge=2, le=3)]


class BoardFacts(Model):
    """All facts of one kind of board."""

    version: Literal[1]
    name: Name
    description: str
    cpus: Annotated[int, Field(ge=1)]
    ram: Annotated[tuple[RamBank, ...], Field(min_length=1)]
    carve_outs: tuple[CarveOut, ...] = ()
    gic: InterruptController
    device_tree: DeviceTreeFacts
    boot: Boot
