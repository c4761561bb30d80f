"""Rings over shared memory: each domain's end of one."""

from __future__ import annotations

from vtool.base.records import record
from vtool.base.units import MIB, AddressRange
from vtool.data_paths import DataPath
from vtool.plan.types.guest import FileDisk


@record
class RingEnd:
    """One domain's end of a ring, as vtool-ring is told it there.

    Side ``a`` is the backend's, and makes the ring where there is none. ``region`` is a path with what of it,
    ``target`` a TAP interface, a file or a block device. ``address`` and ``mac`` are those of an interface.
    """

    domain: str
    command: str
    side: str
    region: str
    target: str
    address: str = ""
    mac: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the words of its command line."""
        option = {"net": "--tap", "export": "--file", "attach": "--nbd"}[self.command]
        patient = ("--timeout", "0") if self.command == "attach" else ()
        return (self.command, "--region", self.region, "--side", self.side, option, self.target, *patient)

    @property
    def kernel_word(self) -> str:
        """Return what tells vtool's guest of it, on its kernel's command line."""
        fields = (self.command, self.side, self.region, self.target, self.address, self.mac)
        return "vtool.ring=" + ",".join(fields).rstrip(",")


@record
class KvmRing:
    """A guest's end of a ring with another guest, behind a BAR of the same region in both.

    ``disk_bytes`` is what the exported device holds where vtool knows it; ``scratch`` is the part of it that
    ``vtool verify`` may write to.
    """

    end: RingEnd
    disk_bytes: int | None = None
    scratch: AddressRange | None = None


@record
class XenRing:
    """A ring between a guest that Xen builds and dom0, in a region that both have.

    dom0's end is ``unit``, with ``executable`` of ``image``; ``tap_unit`` makes its interface. ``disk`` is what it
    exports.
    """

    name: str
    type: str
    data_path: DataPath
    region: str
    size_bytes: int
    frontend: RingEnd
    backend: RingEnd
    unit: str
    tap_unit: str | None
    executable: str
    image: str
    deployed: bool
    disk: FileDisk | None = None

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return the file that it exports, if that is one."""
        return (self.disk,) if self.disk else ()

    @property
    def served_by(self) -> str:
        """Return the unit of dom0's end."""
        return self.unit

    @property
    def kernel_word(self) -> str:
        """Return what tells vtool's guest of its end, and what to copy or send back through it for ``vtool verify``."""
        word, scratch = self.frontend.kernel_word, self.disk.scratch if self.disk else None
        if self.type == "net":
            return f"{word},echo"
        return f"{word},echo,{scratch.base // MIB},{scratch.base // MIB + 1}" if scratch else word
