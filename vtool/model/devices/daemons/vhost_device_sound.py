"""Sound, by vhost-device-sound."""

from enum import Enum
from typing import Literal, final

from vtool.model.devices.arguments import LOCAL_FD, Lines, Wiring, behind_socket
from vtool.model.devices.base import Daemon, DeviceBase, Program, Readiness, Service, both, built_by_hand
from vtool.model.types import Model


class SoundOutput(Enum):
    """Where sound goes on the board; ``silent`` takes it and drops it."""

    SILENT = "silent"
    ALSA = "alsa"


class Sound(Model):
    """Where sound goes."""

    output: SoundOutput


@final
class SoundDevice(DeviceBase):
    type: Literal["snd"]
    sound: Sound


def _device_class(device: SoundDevice) -> tuple[str, str] | None:
    return None if device.sound.output is SoundOutput.SILENT else ("char-alsa", "audio")


def _arguments(device: SoundDevice, _at: Wiring) -> Lines:
    silent = device.sound.output is SoundOutput.SILENT
    return (("--socket-fd", LOCAL_FD), ("--backend", "null" if silent else device.sound.output.value))


PROGRAM = Program("vhost-device-sound")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    readiness=Readiness.ACTIVATED,
    serves=SoundDevice,
    arguments=_arguments,
    device_class=_device_class,
    # QEMU commit 4ae0fc18a1dc of February 2024, between 8.2 and 9.0.
    kvm=Service(both("vhost-user-snd", "vhost-user-snd-pci"), behind_socket, ("SND_VIRTIO",), since=(9, 0)),
    xen=None,
)
