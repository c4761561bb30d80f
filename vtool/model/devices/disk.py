"""What is behind a block device: a file in vtool's folder of disks, or a partition or logical volume of the board."""

from __future__ import annotations

from enum import Enum

from vtool.base.units import MIB
from vtool.model.types import BoardDevicePath, BoardFileName, FileBeside, Model, Size

SECTOR_BYTES = 512
SCRATCH_BYTES = 8 * MIB
"""The end of a disk with ``verify: write`` that belongs to ``vtool verify``."""


class VerifyAccess(Enum):
    """What ``vtool verify`` may do to a disk: ``write`` gives it the last 8 MiB as scratch space."""

    READ = "read"
    WRITE = "write"


class OnChange(Enum):
    """What a new generation does to a disk that was made from another image than it names."""

    KEEP = "keep"
    RESET = "reset"


class DiskFormat(Enum):
    """How a disk's file is written."""

    RAW = "raw"
    QCOW2 = "qcow2"


class Disk(Model):
    """What is behind a block device: a ``file``, or a partition or logical volume of the board (``device``).

    The file is in vtool's disk folder on the board and made when it is not there, empty or from ``source``; it is then
    as large as that unless ``size`` says more. Of a device vtool writes nothing but scratch space that is asked for.
    """

    file: BoardFileName | None = None
    device: BoardDevicePath | None = None
    size: Size | None = None
    source: FileBeside | None = None
    on_change: OnChange = OnChange.KEEP
    format: DiskFormat = DiskFormat.RAW
    read_only: bool = False
    verify: VerifyAccess = VerifyAccess.READ

    @property
    def starts_anew(self) -> bool:
        """Whether it does with another image: asked for, or since no guest wrote what could be kept."""
        return self.source is not None and (self.on_change is OnChange.RESET or self.read_only)

    @property
    def behind(self) -> str:
        """Return what is behind it, in words."""
        return f"the board's {self.device}" if self.device else f"the file '{self.file}'"
