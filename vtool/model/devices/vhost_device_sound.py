"""Sound, by vhost-device-sound."""

from enum import Enum
from typing import Literal, final

from vtool.model.devices.base import LOCAL_FD, DaemonPlace, Program, Service, VhostUserDevice, Words, both, by_hand
from vtool.model.types import Model


class SoundOutput(Enum):
    """Where sound goes on the board; ``silent`` takes it and drops it."""

    SILENT = "silent"
    ALSA = "alsa"


class Sound(Model):
    """Where sound goes."""

    output: SoundOutput


@final
class SoundDevice(VhostUserDevice):
    type: Literal["snd"]
    sound: Sound

    def node_class(self) -> tuple[str, str] | None:
        """Return the class of nodes that it takes."""
        return None if self.sound.output is SoundOutput.SILENT else ("char-alsa", "audio")

    def daemon_arguments(self, _: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        silent = self.sound.output is SoundOutput.SILENT
        return (("--socket-fd", LOCAL_FD), ("--backend", "null" if silent else self.sound.output.value))


PROGRAM = Program("vhost-device-sound")
FACTS = by_hand(PROGRAM, activated=True)
UNDER_KVM = (Service("snd", PROGRAM, both("vhost-user-snd", "vhost-user-snd-pci"), ("SND_VIRTIO",), since=(10, 0)),)
UNDER_XEN: tuple[Service, ...] = ()
