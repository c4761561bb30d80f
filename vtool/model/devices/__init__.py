"""Devices as the user wrote them: what they are, who serves them, how the data goes.

A device has a transport (how driver and device find each other and signal) and a data path (how the
backend reaches the frontend's buffers): two separate choices. Which go together is said by
``vtool.model.combinations``.
"""

from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import Field

from vtool.model.devices.base import DAEMON_FILES, DeviceBase, Disk, Program, VerifyAccess, VhostUserDevice
from vtool.model.devices.vhost_device_console import ConsoleDevice
from vtool.model.devices.vhost_device_scsi import ScsiDevice
from vtool.model.types import BlockDevicePath, BoardFileName, BuiltWhenUsed, MacAddress, Model

__all__ = ["Disk", "Program", "VerifyAccess", "VhostUserDevice"]


class BlockDevice(DeviceBase):
    """A disk: a file of the control domain (``disk``), or a block device that a guest serves (``backend_device``)."""

    type: Literal["blk"]
    disk: Disk | None = None
    backend_device: BlockDevicePath | None = None


class Network(Model):
    """What is behind a network device: a bridge and the addresses used on both ends, or the user's network.

    The bridge is in the backend domain; in a driver domain its own root file system makes it. A ring is a link of
    two ends and needs both addresses, and no bridge.

    Addresses are written as ``192.0.2.1/24``. A bridge is needed by all programs but passt, which has
    none and instead forwards the board's TCP ports; with addresses it gives the frontend its own, and the
    backend's is then the board's loopback as the frontend sees it.
    """

    bridge: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9-]{0,14}$",
            description="a bridge name: a lower-case letter, then at most 14 lower-case letters, digits or '-'",
        ),
    ] = ""
    mac: MacAddress | None = None
    frontend_address: str = ""
    backend_address: str = ""
    forward_tcp: tuple[
        Annotated[
            str,
            Field(
                pattern=r"^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$", description="a port pair such as 2222:22, board's first"
            ),
        ],
        ...,
    ] = ()


class NetworkDevice(DeviceBase):
    type: Literal["net"]
    network: Network

    # passt and what netlink tells it.
    address_families = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK")

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield the board's ports that it forwards."""
        for index, pair in enumerate(self.network.forward_tcp):
            yield f"TCP port {int(pair.split(':')[0])}", ("network", "forward_tcp", index)


class Share(Model):
    """A folder that a guest mounts, under vtool's folder of shares on the board; its tag is the device's name.

    A virtio-fs under KVM, 9p over Xen's own transport under Xen.
    """

    directory: BoardFileName
    read_only: bool = False


class FileSystemDevice(DeviceBase):
    type: Literal["fs"]
    share: Share


class IommuModel(Enum):
    """Which IOMMU the guest sees."""

    VIRTIO = "virtio-iommu"
    SMMUV3 = "smmuv3"


class Iommu(Model):
    """Which IOMMU the guest sees in front of its PCI devices."""

    model: IommuModel = IommuModel.VIRTIO


class IommuDevice(DeviceBase):
    type: Literal["iommu"]
    iommu: Iommu = Iommu.model_construct()


class BalloonDevice(DeviceBase):
    type: Literal["balloon"]


class SharedMemoryDevice(DeviceBase):
    """Not a virtio device: a region that both domains see as the second BAR of an ``ivshmem-plain``."""

    type: Literal["ivshmem"]


DAEMONS = [import_module(f"{__name__}.{name}") for name in DAEMON_FILES]
"""The files of vhost-user daemons: each has a device type, and says of it which ``PROGRAM`` serves it, how."""

if TYPE_CHECKING:

    class OtherDevice(VhostUserDevice):
        """To the type checker, all the types that nothing but their daemons' files knows."""

        type: Literal["another"]

    Device = (
        BlockDevice
        | NetworkDevice
        | FileSystemDevice
        | ConsoleDevice
        | ScsiDevice
        | OtherDevice
        | IommuDevice
        | BalloonDevice
        | SharedMemoryDevice
    )
else:
    _OF_DAEMONS = (
        kind
        for daemon in DAEMONS
        for kind in vars(daemon).values()
        if isinstance(kind, type) and issubclass(kind, VhostUserDevice) and kind.__module__ == daemon.__name__
    )
    _OF_QEMU = (IommuDevice, BalloonDevice, SharedMemoryDevice)
    Device = Annotated[
        Union[(BlockDevice, NetworkDevice, FileSystemDevice, *_OF_DAEMONS, *_OF_QEMU)],
        Field(discriminator="type"),
        BuiltWhenUsed("type"),
    ]


def is_ring(device: Device) -> bool:
    """Whether a device is a ring, which both domains run a program for."""
    return device.data_path.traits.carries_data


def disks_of(device: Device) -> tuple[Disk, ...]:
    """Return the disks behind a device, in the order of the file."""
    if isinstance(device, BlockDevice):
        return (device.disk,) if device.disk else ()
    return device.scsi.disks if isinstance(device, ScsiDevice) else ()
