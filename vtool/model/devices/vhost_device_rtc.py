"""A clock, by vhost-device-rtc."""

from typing import Literal, final

from vtool.model.devices.base import LOCAL_FD, DaemonPlace, Program, Service, VhostUserDevice, Words, by_hand, only_pci


@final
class RtcDevice(VhostUserDevice):
    type: Literal["rtc"]

    def daemon_arguments(self, _: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return (("--socket-fd", LOCAL_FD),)


PROGRAM = Program("vhost-device-rtc")
FACTS = by_hand(PROGRAM, activated=True)
UNDER_KVM = (Service("rtc", PROGRAM, only_pci("vhost-user-rtc-pci"), ("VIRTIO_RTC",), since=(11, 1)),)
UNDER_XEN: tuple[Service, ...] = ()
