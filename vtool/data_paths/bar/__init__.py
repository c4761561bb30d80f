"""A region of its own that two domains see behind a PCI BAR."""

from __future__ import annotations

from vtool.data_paths.facts import OLDEST_QEMU, Need, Parts, Row, Served, Shares, Traits, Transport, Way

TRAITS = Traits(
    word="bar",
    shares=Shares.REGION,
    virtio=False,
    kvm=(Served(("qemu",), ("ivshmem",), (Transport.PCI,), deployed=True),),
)
ROWS = (
    Row(
        number=4,
        key="bar",
        idea="memory of the device (a PCI BAR) in place of the guest's RAM",
        backend_reaches="the BAR",
        cost="1 copy each way",
        data_path="bar",
        # The window alone: upstream has no virtio driver over it, and Debian no ivshmem-server for its doorbells.
        kvm=Way(Parts.DEBIAN, ("pci",), ("qemu",), (Need("QEMU", "ivshmem-plain", OLDEST_QEMU),)),
        xen=Way(Parts.NONE, obstacle="Xen has no ivshmem, and its vPCI is for passthrough only"),
    ),
)
