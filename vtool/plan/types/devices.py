"""What devices of guests are made of, whatever the hypervisor: places, options, files, daemons, taps."""

from __future__ import annotations

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.model.combinations import Readiness
from vtool.model.devices import Program
from vtool.model.devices.arguments import QemuOption
from vtool.plan.types.origins import Origin
from vtool.platform.layouts import SPI_FIRST_INTID


@record
class Queues:
    """What was chosen of a virtio device's queues: how many, and how many entries each has; None is the backend's own.

    ``size_property`` is QEMU's property that has the entries.
    """

    number: int | None = None
    size: int | None = None
    size_property: str = ""

    def __str__(self) -> str:
        many = f"{self.number} queue{'s' if self.number != 1 else ''}" if self.number else ""
        return f"{many or 'queues'} of {self.size} entries" if self.size else many


@record
class MmioPlace:
    """A virtio-mmio slot: guest-physical base and size, interrupt, and who chose the slot."""

    slot: int
    base: int
    size_bytes: int
    spi_index: int
    origin: Origin

    @property
    def intid(self) -> int:
        """Return the number of its interrupt as the GIC counts."""
        return SPI_FIRST_INTID + self.spi_index

    @property
    def range(self) -> AddressRange:
        """Return its addresses."""
        return AddressRange.of_size(self.base, self.size_bytes)


@record
class PciPlace:
    """A device number on the root bus, function 0; ``config_cell`` is its first cell in ``reg`` (IEEE 1275 PCI)."""

    slot: int
    config_cell: int


@record
class VhostUserBackend:
    """A daemon that serves one device of one guest, and what its unit lets it do.

    ``arguments`` are grouped into lines, an option and its value to each. QEMU connects to ``socket``,
    which is not always the path in them. ``maps_bytes`` is the guest memory that QEMU hands to it: all
    that is shared of that guest, whatever this device uses. ``device_nodes`` become its user's, the disks
    of the board that are ``given`` among them; ``device_class`` is (class of nodes, group).
    ``self_sandboxed``: it makes namespaces of its own and cannot be shut in further; ``changes_owners``:
    it acts for the guest's users in a folder; ``found_again``: QEMU connects again when it was restarted.
    """

    program: Program
    unit: str
    socket_unit: str | None
    folder: str
    socket: str
    executable: str
    arguments: tuple[tuple[str, ...] | QemuOption, ...]
    readiness: Readiness
    maps_bytes: int
    files: tuple[str, ...] = ()
    state_folder: str = ""
    device_nodes: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    device_class: tuple[str, str] | None = None
    address_families: tuple[str, ...] = ("AF_UNIX",)
    own_network: bool = True
    self_sandboxed: bool = False
    changes_owners: bool = False
    restarts_always: bool = False
    host_cpus: tuple[int, ...] = ()
    read_only: bool = False
    found_again: bool = False


@record
class Tap:
    """A tap interface on a bridge, for a network device inside a QEMU that runs as user ``owner``.

    With ``multi_queue`` QEMU opens it several times, and cannot open it but so. With ``direct`` it is a macvtap
    interface on that one of the board's, in place of a bridge: it has the guest's ``mac``, and QEMU is handed its file
    as number ``descriptor``.
    """

    name: str
    bridge: str
    bridge_unit: str
    unit: str
    owner: str
    multi_queue: bool = False
    direct: str = ""
    mac: str = ""
    descriptor: int = 0
