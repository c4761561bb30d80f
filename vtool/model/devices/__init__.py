"""Devices as the user wrote them: what they are, who serves them, how the data goes.

    types/      a file a type of device that QEMU or Xen serves: its ``TYPE``
    daemons/    a file a daemon: its ``DAEMON``, and the type of device where it alone serves that

Both are found by being there, and imported when a document names them. A device has a transport (how driver and
device find each other and signal) and a data path (how the backend reaches the frontend's buffers): two separate
choices. Which go together is said by ``vtool.model.combinations``. Enter at ``Device`` and ``daemon_of``.
"""

import functools
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from vtool.model.devices.base import (
    DAEMON_FILES,
    TYPE_FILES,
    Daemon,
    DeviceBase,
    DeviceType,
    Program,
    as_told,
    word_of,
)
from vtool.model.devices.disk import Disk, DiskFormat, OnChange, VerifyAccess
from vtool.model.devices.types.blk import BlockDevice
from vtool.model.devices.types.fs import FileSystemDevice
from vtool.model.devices.types.net import NetworkDevice
from vtool.model.types import FoundByTag

__all__ = [
    "BlockDevice",
    "Disk",
    "DiskFormat",
    "FileSystemDevice",
    "NetworkDevice",
    "OnChange",
    "Program",
    "VerifyAccess",
]


@functools.cache
def type_in(name: str) -> DeviceType[Any]:
    """Return what a file of ``types/`` says."""
    found: DeviceType[Any] = import_module(f"{__name__}.types.{name}").TYPE
    return found


@functools.cache
def daemon_in(name: str) -> Daemon[Any]:
    """Return what a file of ``daemons/`` says."""
    found: Daemon[Any] = import_module(f"{__name__}.daemons.{name}").DAEMON
    return found


@functools.cache
def daemon_of(program: Program) -> Daemon[Any] | None:
    """Return the daemon that a program is, None for what serves devices from another process or the kernel."""
    name = program.value.replace("-", "_")
    return daemon_in(name) if name in DAEMON_FILES else None


@functools.cache
def model_of(word: str) -> type[DeviceBase] | None:
    """Return the type of device of that word, None when there is none."""
    if word in TYPE_FILES:
        return type_in(word).model
    return next((model for model in _of_daemons() if word_of(model) == word), None)


@functools.cache
def _of_daemons() -> tuple[type[DeviceBase], ...]:
    daemons = map(daemon_in, DAEMON_FILES)
    return tuple(daemon.serves for daemon in daemons if word_of(daemon.serves) not in TYPE_FILES)


@functools.cache
def every_model() -> tuple[type[DeviceBase], ...]:
    """Return every type of device, in the order in which people are told of them."""
    models = {word_of(model): model for model in (*(type_in(name).model for name in TYPE_FILES), *_of_daemons())}
    words = as_told(models, ("blk", "net", "fs"), ("iommu", "balloon", "ivshmem"))
    return tuple(models[word] for word in words)


if TYPE_CHECKING:
    from vtool.model.devices.types.balloon import BalloonDevice
    from vtool.model.devices.types.console import ConsoleDevice
    from vtool.model.devices.types.iommu import IommuDevice
    from vtool.model.devices.types.ivshmem import SharedMemoryDevice

    class OtherDevice(DeviceBase):
        """To the type checker, all the types that nothing but their files knows."""

        type: Literal["another"]

    Device = (
        BlockDevice
        | NetworkDevice
        | FileSystemDevice
        | ConsoleDevice
        | IommuDevice
        | BalloonDevice
        | SharedMemoryDevice
        | OtherDevice
    )
else:
    Device = Annotated[DeviceBase, FoundByTag("type", model_of, every_model)]


def disks_of(device: Device) -> tuple[Disk, ...]:
    """Return the disks behind a device, in the order of the file."""
    return tuple(disk for disk, _ in device.disk_files())
