"""What joins vhost-user daemons to a Xen guest: vireshk/xen-vhost-frontend, a prototype.

Its src/supported_devices.rs compares the types as decimal numbers: libxl's words for i2c and gpio are hexadecimal and
look the same, and of the other ones libxl does not look further. The daemons are built with the Xen feature of
vm-memory, which excludes the one that KVM needs.
"""

from vtool.model.devices import daemon_of
from vtool.model.devices.base import Program

NAME = "xen-vhost-frontend"
EXECUTABLE = f"/usr/local/bin/{NAME}"
ONE_GUEST = "it takes every device of xl's `virtio` lists"
"""Why it serves the devices of one guest of a board only."""


def stands_before(program: Program) -> bool:
    """Whether it joins a program to a Xen guest: one that speaks vhost-user."""
    daemon = daemon_of(program)
    return daemon is not None and daemon.vhost_user
