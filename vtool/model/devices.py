"""Devices as the user wrote them: what they are, who serves them, how the data goes.

A device has a transport (how driver and device find each other and signal) and a data path (how the
backend reaches the frontend's buffers): two separate choices.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from vtool.model.types import BoardFileName, MacAddress, Model, Name, Size


class Transport(Enum):
    """How driver and device find each other and signal."""

    MMIO = "mmio"
    XENBUS = "xenbus"


class DataPath(Enum):
    """How the backend reaches the frontend's buffers (a choice apart from the transport)."""

    POOL = "pool"
    PV = "pv"


class Program(Enum):
    """What serves a device in the backend domain."""

    QEMU_STORAGE_DAEMON = "qemu-storage-daemon"
    BLKBACK = "blkback"
    NETBACK = "netback"


class VerifyAccess(Enum):
    """What ``vtool verify`` may do to a disk: ``write`` gives it the last 8 MiB as scratch space."""

    READ = "read"
    WRITE = "write"


class Disk(Model):
    """The file behind a block device, in vtool's disk folder on the board; made when it is not there."""

    file: BoardFileName
    size: Size
    verify: VerifyAccess = VerifyAccess.READ


class Network(Model):
    """The bridge behind a network device, and the addresses used on both ends.

    Addresses are written as ``192.0.2.1/24``.
    """

    bridge: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9-]{0,14}$",
            description="a bridge name: a lower-case letter, then at most 14 lower-case letters, digits or '-'",
        ),
    ]
    mac: MacAddress | None = None
    frontend_address: str
    backend_address: str


class DeviceBase(Model):
    """What all devices have: the two domains, how they meet, and what serves it."""

    frontend: Name
    backend: Name
    program: Program
    transport: Transport
    data_path: DataPath
    region: Name | None = None


class BlockDevice(DeviceBase):
    type: Literal["blk"]
    disk: Disk


class NetworkDevice(DeviceBase):
    type: Literal["net"]
    network: Network


Device = Annotated[BlockDevice | NetworkDevice, Field(discriminator="type")]
