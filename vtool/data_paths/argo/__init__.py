"""Messages that Xen copies: known, and not in a topology."""

from __future__ import annotations

from vtool.data_paths.facts import Need, Parts, Row, Way

ROWS = (
    Row(
        number=9,
        key="argo",
        idea="messages that the hypervisor copies",
        backend_reaches="nothing; Xen copies",
        cost="1 copy by Xen",
        data_path="argo",
        kvm=Way(Parts.NONE, obstacle="Argo is Xen's"),
        xen=Way(
            Parts.OUTSIDE,
            (),
            (),
            (
                Need("Xen", "UNSUPPORTED, ARGO, argo=1"),
                Need("guest kernel", "OpenXT's linux-xen-argo, from outside Linux (2023, for 6.1)"),
            ),
            ("Xen with ARGO", "the driver"),
            "its only Linux driver, linux-xen-argo, is outside Linux, and there is no virtio over it",
        ),
    ),
)
