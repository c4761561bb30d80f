"""Devices as the user wrote them: what they are, who serves them, how the data goes.

A device has a transport (how driver and device find each other and signal) and a data path (how the
backend reaches the frontend's buffers): two separate choices. Which go together is said by
``vtool.model.combinations``.
"""

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.model.types import BlockDevicePath, BoardFileName, BuiltWhenUsed, CpuList, MacAddress, Model, Name, Size


class Program(Enum):
    """What serves a device in the backend domain; ``qemu`` is the guest's own VMM."""

    QEMU_STORAGE_DAEMON = "qemu-storage-daemon"
    VIRTIOFSD = "virtiofsd"
    PASST = "passt"
    VHOST_DEVICE_CAN = "vhost-device-can"
    VHOST_DEVICE_CONSOLE = "vhost-device-console"
    VHOST_DEVICE_GPIO = "vhost-device-gpio"
    VHOST_DEVICE_GPU = "vhost-device-gpu"
    VHOST_DEVICE_I2C = "vhost-device-i2c"
    VHOST_DEVICE_INPUT = "vhost-device-input"
    VHOST_DEVICE_RNG = "vhost-device-rng"
    VHOST_DEVICE_RTC = "vhost-device-rtc"
    VHOST_DEVICE_SCMI = "vhost-device-scmi"
    VHOST_DEVICE_SCSI = "vhost-device-scsi"
    VHOST_DEVICE_SOUND = "vhost-device-sound"
    VHOST_DEVICE_SPI = "vhost-device-spi"
    VHOST_DEVICE_VSOCK = "vhost-device-vsock"
    QEMU = "qemu"
    QEMU_XENPVH = "qemu-xenpvh"
    """A QEMU in dom0, one a guest, that has all of the guest's virtio devices (machine xenpvh)."""
    VIRTIO_DISK = "virtio-disk"
    BLKBACK = "blkback"
    NETBACK = "netback"
    XEN_9PFSD = "xen-9pfsd"
    VTOOL_RING = "vtool-ring"
    """vtool's own program, which runs in both domains."""


class VerifyAccess(Enum):
    """What ``vtool verify`` may do to a disk: ``write`` gives it the last 8 MiB as scratch space."""

    READ = "read"
    WRITE = "write"


class DeviceBase(Model):
    """What all devices have: the two domains, how they meet, and what serves it.

    ``backend_cpus`` are the board's CPUs that the serving daemon is kept on; none means any.
    """

    frontend: Name
    backend: Name
    program: Program
    transport: Transport
    data_path: DataPath
    region: Name | None = None
    backend_cpus: CpuList = ()


class Disk(Model):
    """The file behind a block device, in vtool's disk folder on the board; made when it is not there."""

    file: BoardFileName
    size: Size
    verify: VerifyAccess = VerifyAccess.READ


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


class Share(Model):
    """A folder that a guest mounts, under vtool's folder of shares on the board; its tag is the device's name.

    A virtio-fs under KVM, 9p over Xen's own transport under Xen.
    """

    directory: BoardFileName
    read_only: bool = False


class FileSystemDevice(DeviceBase):
    type: Literal["fs"]
    share: Share


class Console(Model):
    """Where vhost-device-console lets people in: a TCP port of the board."""

    tcp_port: Annotated[int, Field(ge=1024, le=65535)]


class ConsoleDevice(DeviceBase):
    type: Literal["console"]
    console: Console | None = None


class RandomDevice(DeviceBase):
    type: Literal["rng"]


class Vsock(Model):
    """A guest's address on vsock: 3 and up, one of a kind on its board (virtio 1.3 §5.10.4)."""

    cid: Annotated[int, Field(ge=3, le=0xFFFF_FFFE)]


class VsockDevice(DeviceBase):
    type: Literal["vsock"]
    vsock: Vsock


class Gpio(Model):
    """The board's GPIO chip: N of ``/dev/gpiochipN``."""

    chip: Annotated[int, Field(ge=0, le=1023)]


class GpioDevice(DeviceBase):
    type: Literal["gpio"]
    gpio: Gpio


class I2c(Model):
    """The board's I2C bus, N of ``/dev/i2c-N``, and the 7-bit addresses on it that the guest may talk to."""

    bus: Annotated[int, Field(ge=0, le=1023)]
    addresses: Annotated[tuple[Annotated[int, Field(ge=0x08, le=0x77)], ...], Field(min_length=1)]


class I2cDevice(DeviceBase):
    type: Literal["i2c"]
    i2c: I2c


class Sensor(Model):
    """An industrial-IO channel: N of ``iio:deviceN``, and the channel's name such as ``in_accel``."""

    device: Annotated[int, Field(ge=0, le=1023)]
    channel: Annotated[
        str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="an industrial-IO channel such as in_accel")
    ]


class Scmi(Model):
    """The sensors that the guest reads through SCMI."""

    sensors: Annotated[tuple[Sensor, ...], Field(min_length=1)]


class ScmiDevice(DeviceBase):
    type: Literal["scmi"]
    scmi: Scmi


class SoundOutput(Enum):
    """Where sound goes on the board; ``silent`` takes it and drops it."""

    SILENT = "silent"
    ALSA = "alsa"


class Sound(Model):
    """Where sound goes."""

    output: SoundOutput


class SoundDevice(DeviceBase):
    type: Literal["snd"]
    sound: Sound


class GpuRenderer(Enum):
    """What draws for vhost-device-gpu."""

    VIRGLRENDERER = "virglrenderer"
    GFXSTREAM = "gfxstream"


class Gpu(Model):
    """How vhost-device-gpu draws."""

    renderer: GpuRenderer = GpuRenderer.VIRGLRENDERER


class GpuDevice(DeviceBase):
    type: Literal["gpu"]
    gpu: Gpu = Gpu.model_construct()


class Input(Model):
    """The board's input device: N of ``/dev/input/eventN``."""

    event: Annotated[int, Field(ge=0, le=1023)]


class InputDevice(DeviceBase):
    type: Literal["input"]
    input: Input


class Scsi(Model):
    """The disks of a SCSI host, in the order of their LUNs."""

    disks: Annotated[tuple[Disk, ...], Field(min_length=1, max_length=256)]


class ScsiDevice(DeviceBase):
    type: Literal["scsi"]
    scsi: Scsi


class Can(Model):
    """The board's CAN interfaces; they must be up."""

    interfaces: Annotated[
        tuple[Annotated[str, Field(pattern=r"^v?can[0-9]{1,3}$", description="a CAN interface such as can0")], ...],
        Field(min_length=1),
    ]


class CanDevice(DeviceBase):
    type: Literal["can"]
    can: Can


class Spi(Model):
    """The board's SPI device: B and C of ``/dev/spidevB.C``."""

    bus: Annotated[int, Field(ge=0, le=1023)]
    chip_select: Annotated[int, Field(ge=0, le=255)]


class SpiDevice(DeviceBase):
    type: Literal["spi"]
    spi: Spi


class RtcDevice(DeviceBase):
    type: Literal["rtc"]


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


Device = Annotated[
    BlockDevice
    | NetworkDevice
    | FileSystemDevice
    | ConsoleDevice
    | RandomDevice
    | VsockDevice
    | GpioDevice
    | I2cDevice
    | ScmiDevice
    | SoundDevice
    | GpuDevice
    | InputDevice
    | ScsiDevice
    | CanDevice
    | SpiDevice
    | RtcDevice
    | IommuDevice
    | BalloonDevice
    | SharedMemoryDevice,
    Field(discriminator="type"),
    BuiltWhenUsed("type"),
]


def is_ring(device: Device) -> bool:
    """Whether a device is a ring, which both domains run a program for."""
    return device.data_path.traits.carries_data


def disks_of(device: Device) -> tuple[Disk, ...]:
    """Return the disks behind a device, in the order of the file."""
    if device.type == "blk":
        return (device.disk,) if device.disk else ()
    return device.scsi.disks if device.type == "scsi" else ()
