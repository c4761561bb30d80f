"""virtio over messages in shared memory: known, and not in a topology."""

from __future__ import annotations

from vtool.data_paths.facts import Need, Parts, Row, Way

ROWS = (
    Row(
        number=11,
        key="msg",
        idea="virtio-msg: virtio over messages in shared memory",
        backend_reaches="depends on the bus",
        cost="depends on the bus",
        data_path="msg",
        kvm=Way(
            Parts.OUTSIDE,
            ("msg",),
            (),
            (Need("QEMU", "a prototype from outside QEMU"), Need("guest kernel", "a prototype from outside Linux")),
            ("all of it",),
            "prototypes only, outside Linux and QEMU",
        ),
        xen=Way(Parts.NONE, obstacle="a bus for Xen is planned"),
    ),
)
