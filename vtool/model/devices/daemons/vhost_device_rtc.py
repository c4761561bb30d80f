"""A clock, by vhost-device-rtc."""

from typing import Literal, final

from vtool.model.devices.arguments import LOCAL_FD, Lines, Wiring, behind_socket
from vtool.model.devices.base import Daemon, DeviceBase, Program, Readiness, Service, built_by_hand, only_pci


@final
class RtcDevice(DeviceBase):
    type: Literal["rtc"]


def _arguments(_device: RtcDevice, _at: Wiring) -> Lines:
    return (("--socket-fd", LOCAL_FD),)


PROGRAM = Program("vhost-device-rtc")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    readiness=Readiness.ACTIVATED,
    serves=RtcDevice,
    arguments=_arguments,
    kvm=Service(only_pci("vhost-user-rtc-pci"), behind_socket, ("VIRTIO_RTC",), since=(11, 1)),
    xen=None,
)
