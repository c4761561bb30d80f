"""Facts of a kind of board: its memory, interrupt controller, CPUs, UARTs, IOMMUs and boot firmware.

One file per kind under ``topology/boards/``, or anywhere a topology names it. Facts never say how a
board is reached (``inventory/``) nor what runs on it (the topology). ``vtool.model.facts_import`` makes
them from a device tree; all but the last section, ``boot``, which no tree tells.
"""

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from vtool.base.units import MIB, PAGE_BYTES, AddressRange, joined
from vtool.model.types import Address, KernelArguments, Line, Model, Name, NodePath, Size
from vtool.platform.host_memory import Floating, HostMemory, Taken

BOOT_TIMEOUT_S = 120
"""For boards of which nothing is said."""

FIRMWARE_BYTES = 32 * MIB
"""What is left alone at each end of RAM where nobody said what firmware has: TF-A lies at the bottom in a few MiB,
OP-TEE at the top in 32 MiB (U-Boot's board files of i.MX 8M)."""
LIVE_TREE = "/sys/firmware/fdt"

CMA_BLOCK_BYTES = 2 * MIB
"""With pages of 4 KiB, which boards have that are not said to have others."""

Cells = Annotated[int, Field(ge=1, le=2)]
"""How many 32-bit cells an address or a size takes."""


class AddressBlock(Model):
    """A range of physical addresses, in bytes."""

    base: Address
    size: Size

    @property
    def range(self) -> AddressRange:
        """Return it as a half-open range."""
        return AddressRange.of_size(self.base, self.size)


class RamBank(AddressBlock):
    """One bank of RAM, host-physical."""

    numa_node: Annotated[int, Field(ge=0)] | None = None
    hotpluggable: bool = False


class CarveOut(AddressBlock):
    """RAM that is not vtool's to give away, host-physical, and why; ``no_map``: not even to be mapped."""

    name: Name
    reason: Line
    no_map: bool = False

    @property
    def of_tree(self) -> str:
        """Return the node of the tree that reserves it, `/memreserve/`, or nothing: as an import gives reasons."""
        found = re.match(r"(/reserved-memory/[^ ,]+|/memreserve/) of the device tree", self.reason)
        return found[1] if found else ""


class DynamicReservation(Model):
    """RAM that the kernel places itself at boot: how much, and where it may lie (anywhere when not said)."""

    name: Name
    size: Size
    alignment: Size | None = None
    alloc_ranges: tuple[AddressBlock, ...] = ()
    no_map: bool = False

    @property
    def floating(self) -> Floating:
        """Return what the kernel looks for; what may be CMA begins with a page block (CMA_MIN_ALIGNMENT_BYTES)."""
        least = PAGE_BYTES if self.no_map or self.size % CMA_BLOCK_BYTES else CMA_BLOCK_BYTES
        within = tuple(block.range for block in self.alloc_ranges)
        return Floating(f"'{self.name}'", self.size, max(self.alignment or 0, least), within)


class LoadAddresses(Model):
    """Where the boot loader puts things, host-physical; each is the base of a window up to the next."""

    hypervisor: Address
    kernel: Address
    device_tree: Address
    ramdisk: Address


class BootState(Model):
    """The sector that says which generation boots: on no file system, written by the loader and by Linux.

    ``read_command`` and ``write_command`` are U-Boot's, without address, sector and count (``mmc read``);
    ``device`` is the same disk in Linux.
    """

    device: Line
    sector: Annotated[int, Field(ge=1, lt=1 << 32)]
    read_command: Line
    write_command: Line


def _state_tag(value: Any) -> str:
    return "word" if isinstance(value, str) else "BootState"


StateKind = Annotated[
    Annotated[BootState, Tag("BootState")] | Annotated[Literal["file", "environment"], Tag("word")],
    Discriminator(_state_tag),
]
"""A sector of its own; a file of one sector on a boot partition that is FAT; variables of U-Boot's own environment."""

Lacking = Literal["setexpr", "sysboot"]
"""A command that a board's U-Boot is built without, and that its script then does without."""


class Watchdog(Model):
    """A watchdog that the loader starts and Linux takes over with the driver ``kernel_option``.

    ``start_commands`` are U-Boot's; the board resets ``timeout_s`` after them unless Linux is up by then.
    ``kernel_arguments`` keep the driver from making that time shorter when it starts.
    """

    start_commands: Annotated[tuple[Line, ...], Field(min_length=1)]
    timeout_s: Annotated[int, Field(ge=30, le=600)]
    kernel_option: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]+$", description="a kernel option, without CONFIG_")]
    kernel_arguments: KernelArguments = ""


ASKED = "board"
"""What is a fact of one installation, not of a kind of board: a deploy asks the board for it."""

WHERE_THE_SCRIPT_IS = "load ${devtype} ${devnum}:${distro_bootpart}"
"""The partition that the script came from, as the distro commands and bootstd both say it (U-Boot
include/config_distro_bootcmd.h, boot/bootmeth_script.c)."""


class _Boot(Model):
    """What is said of every board that starts: its boot partition, the console and root device it has.

    ``timeout_s`` is how long it may take from power or a reboot until sshd answers. ``source`` is where the loader's
    own environment says so, ``note`` what has to be done once on such a board.
    """

    source: Line | None = None
    note: Line | None = None
    partition_mount: str = ASKED
    root_device: str = ASKED
    root_filesystem: str = ASKED
    console: str
    xen_console: str
    timeout_s: Annotated[int, Field(ge=10, le=1800)] = BOOT_TIMEOUT_S


class UBoot(_Boot):
    """U-Boot, which runs scripts: vtool's comes first on the boot partition, and looks up the boot state."""

    loader: Literal["u-boot"]
    load_command: str = WHERE_THE_SCRIPT_IS
    state: StateKind = "file"
    lacks: tuple[Lacking, ...] = ()
    watchdog: Watchdog | None = None
    load: LoadAddresses


class SystemdBoot(_Boot):
    """UEFI and systemd-boot, which counts how often it tries an entry; the boot partition is the EFI system's."""

    loader: Literal["systemd-boot"]


Boot = Annotated[UBoot | SystemdBoot, Field(discriminator="loader")]


class DeviceTreeFacts(Model):
    """The base tree's cell widths at the root, and those of /reserved-memory and /chosen if they say them.

    Where a node's own widths are left out they are the root's, for Linux and for Xen (dt_n_addr_cells).
    ``reserved_memory_ignored`` is why Linux does not read /reserved-memory, if it does not.
    """

    address_cells: Cells
    size_cells: Cells
    has_reserved_memory: bool
    reserved_memory_address_cells: Cells | None = None
    reserved_memory_size_cells: Cells | None = None
    reserved_memory_ignored: Line | None = None
    chosen_address_cells: Annotated[int, Field(ge=0, le=255)] | None = None
    chosen_size_cells: Annotated[int, Field(ge=0, le=255)] | None = None

    @property
    def region_cells(self) -> tuple[int, int]:
        """Return the widths of address and size in ``reg`` of a node in /reserved-memory."""
        return (
            self.reserved_memory_address_cells or self.address_cells,
            self.reserved_memory_size_cells or self.size_cells,
        )

    @property
    def chosen_cells(self) -> tuple[int, int]:
        """Return the widths of address and size for what stands in /chosen."""
        address, size = self.chosen_address_cells, self.chosen_size_cells
        return self.address_cells if address is None else address, self.size_cells if size is None else size


class InterruptController(Model):
    """The board's GIC: which node, and where its parts are.

    GICv2 has a CPU interface; ``hypervisor_interface`` and ``virtual_cpu_interface`` are what a hypervisor
    needs of it. GICv3 has redistributors instead. By the maintenance interrupt either tells a hypervisor
    that a guest has seen its interrupts.
    """

    version: Annotated[int, Field(ge=2, le=3)]
    path: NodePath | None = None
    compatible: tuple[Line, ...] = ()
    maintenance_interrupt: bool = True
    distributor: AddressBlock | None = None
    redistributors: tuple[AddressBlock, ...] = ()
    cpu_interface: AddressBlock | None = None
    hypervisor_interface: AddressBlock | None = None
    virtual_cpu_interface: AddressBlock | None = None


class CpuNode(Model):
    """A CPU's node in the device tree."""

    path: NodePath
    compatible: Line


class Uart(Model):
    """A UART: ``address`` as the CPU sees it, ``console`` Linux's name and speed for the one of stdout-path."""

    path: NodePath
    compatible: Line
    alias: Line | None = None
    address: Address | None = None
    stdout: bool = False
    console: Line | None = None


class Iommu(Model):
    """An IOMMU; one that is disabled in the tree is there all the same."""

    path: NodePath
    compatible: Line
    enabled: bool = True


def _to_network(value: object) -> str:
    try:
        return str(ipaddress.IPv4Network(value if isinstance(value, str) and "/" in value else ""))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 network such as 192.0.2.0/24") from None


Network = Annotated[
    str,
    BeforeValidator(_to_network, json_schema_input_type=str),
    Field(description="an IPv4 network such as 192.0.2.0/24"),
]


class Source(Model):
    """Where the facts come from: which tree in which file, and what was added to it by hand.

    ``booted``: the tree passed through a boot loader, which adds what firmware reserves; one of a kernel's or U-Boot's
    source tree knows nothing of that.
    """

    tree: Line
    file: Line
    note: Line | None = None
    booted: bool = False

    @property
    def knows_firmware(self) -> bool:
        """Whether what firmware reserves is in it; the file's name tells of facts older than ``booted``."""
        return self.booted or self.file == LIVE_TREE


class BoardFacts(Model):
    """All facts of one kind of board. Without ``boot`` it can be planned for, not deployed to.

    ``networks`` are those that the board is in by itself, so that no bridge can have them.
    """

    version: Literal[1]
    name: Name
    description: Line
    source: Source | None = None
    compatible: tuple[Line, ...] = ()
    cpus: Annotated[int, Field(ge=1)]
    cpu_nodes: tuple[CpuNode, ...] = ()
    ram: Annotated[tuple[RamBank, ...], Field(min_length=1)]
    carve_outs: tuple[CarveOut, ...] = ()
    dynamic_reservations: tuple[DynamicReservation, ...] = ()
    gic: InterruptController
    uarts: tuple[Uart, ...] = ()
    iommus: tuple[Iommu, ...] = ()
    device_tree: DeviceTreeFacts
    networks: tuple[Network, ...] = ()
    boot: Boot | None = None

    @property
    def memory(self) -> HostMemory:
        """Return the RAM, what is taken of it, and what the kernel has to find room for."""
        taken = tuple(Taken(f"carve-out '{carve.name}' ({carve.reason})", carve.range) for carve in self.carve_outs)
        floating = tuple(reservation.floating for reservation in self.dynamic_reservations)
        return HostMemory(tuple(bank.range for bank in self.ram), taken, floating)

    @property
    def firmware_unknown(self) -> bool:
        """Whether the facts are those of a source tree, which does not know what firmware reserves."""
        return self.source is not None and not self.source.knows_firmware

    @property
    def ends_of_ram(self) -> tuple[AddressRange, ...]:
        """Return the ends of RAM that placing leaves alone: none where the facts know of firmware.

        A stretch of RAM without a gap has two, which take at most half of it.
        """
        if not self.firmware_unknown:
            return ()
        found = []
        for stretch in joined(bank.range for bank in self.ram):
            size = min(FIRMWARE_BYTES, stretch.size_bytes // 4 // PAGE_BYTES * PAGE_BYTES)
            found += (
                [AddressRange.of_size(stretch.base, size), AddressRange(stretch.end - size, stretch.end)]
                if size
                else []
            )
        return tuple(found)

    @property
    def load(self) -> LoadAddresses | None:
        """Return where the boot loader puts things, where it has to be told."""
        return self.boot.load if self.boot and self.boot.loader == "u-boot" else None

    @property
    def boot_timeout_s(self) -> int:
        """Return how long it may take to boot."""
        return self.boot.timeout_s if self.boot else BOOT_TIMEOUT_S

    @property
    def watchdog(self) -> Watchdog | None:
        """Return the watchdog that the boot loader starts, if it can."""
        return self.boot.watchdog if self.boot and self.boot.loader == "u-boot" else None

    @property
    def stdout(self) -> Uart | None:
        """Return the UART that the tree names for output, if it names one."""
        return next((uart for uart in self.uarts if uart.stdout), None)
