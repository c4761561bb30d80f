"""Folders: by Xen's 9p; virtiofsd has a file of its own."""

from collections.abc import Iterator
from typing import Any, Literal, final

from vtool.data_paths.facts import Transport
from vtool.model.devices.base import Daemon, DeviceBase, DeviceType, Misfit, Program, Share, of_xen
from vtool.platform.xen_grants import Held
from vtool.platform.xen_releases import SHARES


@final
class FileSystemDevice(DeviceBase):
    type: Literal["fs"]
    share: Share

    def misfits(self, daemon: Daemon[Any] | None, *, by_a_guest: bool) -> Iterator[Misfit]:  # noqa: ARG002
        """Yield what Xen's 9p has not."""
        if self.transport is Transport.XENBUS and self.share.read_only:
            hint = "let the guest mount it with the option ro; share a copy of what must be safe from it"
            yield Misfit(("share", "read_only"), no_effect="xl has no such setting for a 9p share", hint=hint)

    def folder(self) -> Share:
        """Return the folder."""
        return self.share

    def root_kind(self) -> str:
        """Return that it is a file system."""
        return "fs"


_RINGS = 2
"""XEN_9PFS_NUM_RINGS."""
_RING_PAGES = 1 << 9
"""XEN_9PFS_RING_ORDER, which backends offer, too."""


def _by_9p(_device: FileSystemDevice, _cpus: int) -> Held:
    # net/9p/trans_xen.c: all data pages of the rings.
    grants = _RINGS * (_RING_PAGES + 1)
    return Held(grants, grants, _RINGS)


_KERNEL = ("NET_9P", "NET_9P_XEN", "9P_FS")


TYPE = DeviceType(
    FileSystemDevice,
    kvm={},
    # The words are those of xl.cfg(5), p9.
    xen={
        Program.XEN_9PFSD: of_xen(_by_9p, _KERNEL, xl_type="xen_9pfsd", feature=SHARES),
        Program.QEMU: of_xen(_by_9p, _KERNEL, xl_type="qemu"),
    },
)
