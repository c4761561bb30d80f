"""What QEMU and the daemons are told of a device: options as data, and what of the plan they are made from.

Nothing is quoted: a renderer does that. Sources: QEMU docs/system, the daemons' own help.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vtool.base.records import record

Pair = tuple[str, str]
Pairs = tuple[Pair, ...]


@record
class QemuOption:
    """One option of QEMU: its name, the word it begins with (or none), and key-value pairs, all unquoted."""

    name: str
    word: str
    pairs: Pairs = ()


Options = tuple[QemuOption, ...]
Lines = tuple[tuple[str, ...] | QemuOption, ...]
"""Arguments of a command line, grouped into lines."""


@record
class DiskNode:
    """What is behind a disk: a file in a format of QEMU's, or a block device of the board; and what may be done."""

    path: str
    format: str = "raw"
    is_device: bool = False
    read_only: bool = False


@record
class Wiring:
    """What was decided around one device; texts are empty where it has no such thing.

    ``listen`` is the socket's path as the daemon wants it, ``connect`` where it then is, ``reconnect`` how QEMU finds
    it again; ``qemu_device`` is QEMU's name of the device. ``descriptor`` is the number of the open file that QEMU has
    of ``tap``, 0 where QEMU opens it itself. ``xen_disk`` is the name of xl's disk, ``region`` path and size in bytes
    of a region between two guests.
    """

    name: str
    qemu_device: str = ""
    reconnect: Pairs = ()
    folder: str = ""
    listen: str = ""
    connect: str = ""
    share: str = ""
    mac: str = ""
    tap: str = ""
    descriptor: int = 0
    port: str = ""
    disks: tuple[DiskNode, ...] = ()
    xen_disk: str = ""
    region: tuple[str, int] | None = None


@record
class Parts:
    """QEMU's options before a device's own, key-value pairs of its own, and options after it."""

    before: Options = ()
    own: Pairs = ()
    after: Options = ()


# -- QEMU's options


def nothing_besides(_device: Any, _at: Wiring) -> Parts:
    """Return no more than the device itself."""
    return Parts()


def connection(at: Wiring) -> QemuOption:
    """Return QEMU's end of a daemon's socket."""
    return QemuOption("-chardev", "socket", (("id", f"backend-{at.name}"), ("path", at.connect), *at.reconnect))


def chardev(at: Wiring) -> Pair:
    """Return how a device names the socket of its daemon."""
    return ("chardev", f"backend-{at.name}")


def behind_socket(_device: Any, at: Wiring) -> Parts:
    """Return what makes a vhost-user device that knows everything else by itself."""
    return Parts((connection(at),), (chardev(at),))


def as_virtio(identity: int, queues: int, config_bytes: int) -> Callable[[Any, Wiring], Parts]:
    """Return what makes a vhost-user device of a type that QEMU has no device of its own for.

    Its number, its queues, the bytes of its configuration space: vhost-user-test-device cannot ask for them.
    """
    told = (("virtio-id", str(identity)), ("num_vqs", str(queues)), ("config_size", str(config_bytes)))
    return lambda _, at: Parts((connection(at),), (chardev(at), *told))


def block_nodes(node: str, disk: DiskNode, name: str = "-blockdev", below: str = "") -> Options:
    """Return the nodes that make a disk: of what is in a file or device (``below``), and of what is in that."""
    below = below or f"file-{node}"
    more: Pairs = (("read-only", "on"),) if disk.read_only else ()
    driver = "host_device" if disk.is_device else "file"
    file = (("driver", driver), ("node-name", below), ("filename", disk.path), *more)
    inner = (("driver", disk.format), ("node-name", node), ("file", below), *more)
    return QemuOption(name, "", file), QemuOption(name, "", inner)


def region_between(_device: Any, at: Wiring) -> Parts:
    """Return what makes the second BAR of an ``ivshmem-plain`` of a region; of a ring QEMU has no more than that."""
    assert at.region is not None
    (path, size_bytes), identity = at.region, f"region-{at.name}"
    pairs = (("id", identity), ("size", str(size_bytes)), ("share", "on"), ("mem-path", path))
    return Parts((QemuOption("-object", "memory-backend-file", pairs),), (("memdev", identity),))


# -- the daemons' arguments

LOCAL_FD = "3"
"""The first descriptor that systemd hands over (sd_listen_fds(3))."""


def socket_path(at: Wiring, *more: tuple[str, ...]) -> Lines:
    """Return the arguments of a daemon that listens at a path."""
    return (("--socket-path", at.listen), *more)


def numbered(at: Wiring, *more: tuple[str, ...]) -> Lines:
    """Return the arguments of a daemon that serves a number of guests, here one, each at a numbered socket."""
    return socket_path(at, ("-c", "1"), *more)
