"""Xen's own protocols, older than virtio, by grants; a driver domain can serve them, too."""

from __future__ import annotations

from vtool.base.units import dotted
from vtool.data_paths.facts import NO_GRANTS, Need, Parts, Row, Served, Shares, Traits, Transport, Way
from vtool.platform.xen_releases import SHARES

TRAITS = Traits(
    word="pv",
    shares=Shares.NOTHING,
    grants=True,
    virtio=False,
    xen=(
        Served(("blkback",), ("blk",), (Transport.XENBUS,), deployed=True),
        Served(("netback",), ("net",), (Transport.XENBUS,), deployed=True),
        Served(("xen-9pfsd", "qemu"), ("fs",), (Transport.XENBUS,)),
    ),
)
ROWS = (
    Row(
        number=6,
        key="pv-map",
        idea="Xen's PV block protocol, and 9p: the backend maps granted pages",
        backend_reaches="the pages granted (of 9p, its rings)",
        cost="1 copy with persistent grants, else map and unmap",
        data_path="pv",
        types=("blk", "fs"),
        kvm=NO_GRANTS,
        xen=Way(
            Parts.DEBIAN,
            ("xenbus",),
            ("blkback", "xen-9pfsd", "QEMU (9p; built with Xen)"),
            (
                Need("xl", "disk=['phy:…']"),
                Need("xl", "p9=['…type=xen_9pfsd'], which speaks 9P2000.u", dotted(SHARES.since)),
                Need("host", "XEN_BLKDEV_BACKEND"),
                Need("guest kernel", "XEN_BLKDEV_FRONTEND; for 9p NET_9P_XEN, 9P_FS"),
            ),
        ),
    ),
    Row(
        number=7,
        key="pv-copy",
        idea="Xen's PV network protocol: Xen copies",
        backend_reaches="nothing of what it sends; Xen copies",
        cost="1 copy by Xen",
        data_path="pv",
        types=("net",),
        kvm=NO_GRANTS,
        xen=Way(
            Parts.DEBIAN,
            ("xenbus",),
            ("netback",),
            (
                Need("xl", "vif=['bridge=…']"),
                Need("host", "XEN_NETDEV_BACKEND"),
                Need("guest kernel", "XEN_NETDEV_FRONTEND"),
            ),
        ),
    ),
    Row(
        number=12,
        key="other-vm",
        idea="the backend in another virtual machine",
        backend_reaches="as its path says",
        cost="as its path says",
        data_path="pv",
        types=("blk", "net"),
        by_a_guest=True,
        kvm=Way(
            Parts.NONE,
            obstacle="vhost-user passes files, which cannot leave the host; control plane and doorbells are missing. "
            "Without virtio: a ring",
        ),
        xen=Way(
            Parts.DEBIAN,
            ("xenbus",),
            ("blkback", "netback"),
            (
                Need("Xen", "xsm=dummy or a FLASK policy (the default on Arm, SILO, forbids it)"),
                Need("xl", "driver_domain=1, backend=… on the device; `xl devd` in the driver domain"),
                Need(
                    "backend", "a guest with xl, Xen's hotplug scripts, XEN_BLKDEV_BACKEND, XEN_NETDEV_BACKEND, BRIDGE"
                ),
            ),
        ),
    ),
)
