"""Sensors of the board's, by vhost-device-scmi."""

from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, socket_path
from vtool.model.devices.base import Daemon, DeviceBase, Program, Service, both, built_by_hand
from vtool.model.types import Model


class Sensor(Model):
    """An industrial-IO channel: N of ``iio:deviceN``, and the channel's name such as ``in_accel``."""

    device: Annotated[int, Field(ge=0, le=1023)]
    channel: Annotated[
        str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="an industrial-IO channel such as in_accel")
    ]


class Scmi(Model):
    """The sensors that the guest reads through SCMI."""

    sensors: Annotated[tuple[Sensor, ...], Field(min_length=1)]


@final
class ScmiDevice(DeviceBase):
    type: Literal["scmi"]
    scmi: Scmi


def _arguments(device: ScmiDevice, at: Wiring) -> Lines:
    folder = "/sys/bus/iio/devices"
    sensors = [(f"{folder}/iio:device{s.device}", s.channel) for s in device.scmi.sensors]
    return socket_path(at, *(("-d", f"iio,path={sensor},channel={channel}") for sensor, channel in sensors))


PROGRAM = Program("vhost-device-scmi")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    serves=ScmiDevice,
    arguments=_arguments,
    # QEMU hw/virtio/vhost-user-scmi-pci.c was added in July 2023, between 8.0 and 8.1.
    kvm=Service(
        both("vhost-user-scmi", "vhost-user-scmi-pci"), behind_socket, ("ARM_SCMI_TRANSPORT_VIRTIO",), since=(8, 1)
    ),
    xen=None,
)
