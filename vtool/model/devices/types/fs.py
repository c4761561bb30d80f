"""Folders: by Xen's 9p; virtiofsd has a file of its own."""

from typing import Literal, final

from vtool.data_paths.facts import Transport
from vtool.model.devices.base import DeviceBase, DeviceType, Program, Service, Share


@final
class FileSystemDevice(DeviceBase):
    type: Literal["fs"]
    share: Share

    def folder(self) -> Share:
        """Return the folder."""
        return self.share


def _9p(xl_type: str) -> Service[FileSystemDevice]:
    # Linux net/9p/Kconfig, fs/9p/Kconfig; the words are those of xl.cfg(5), p9.
    kernel = ("NET_9P", "NET_9P_XEN", "9P_FS")
    return Service({Transport.XENBUS: ""}, None, kernel, virtio=False, xl_type=xl_type)


TYPE = DeviceType(
    FileSystemDevice,
    kvm={},
    xen={Program.XEN_9PFSD: _9p("xen_9pfsd"), Program.QEMU: _9p("qemu")},
)
