"""Xen's PV disk and network."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof.steps import Proof, counts, disk_io, network_io, on_board, shows
from vtool.plan.types import BoardPlan, XenDisk, XenGuest, XenInterface

# An ioctl for a hypercall of five arguments: number 39 is argo_op, 4 its `notify`, which does nothing for nobody
# (Xen public/xen.h, public/argo.h). Without ARGO it is ENOSYS, without argo=1 EOPNOTSUPP.
_ARGO_CALL = """python3 -c 'import fcntl, os, struct
node = os.open("/dev/xen/privcmd", os.O_RDWR)
call = bytearray(struct.pack("<6Q", 39, 4, 0, 0, 0, 0))
try: print("answers", fcntl.ioctl(node, 48 << 16 | ord("P") << 8, call))
except OSError as error: print(error.strerror)'"""


def argo(board: BoardPlan) -> Iterator[Proof]:
    """Return what has to be shown where the topology asks for Argo: that Xen has it, not that anybody uses it."""
    if board.xen_bootargs is None or "argo=1" not in board.xen_bootargs.split():
        return
    subject = "hypervisor"
    line = on_board("argo-line", "xl dmesg | grep -a -o 'Command line:.*' | tr ' ' '\\n' | grep -x argo=1")
    yield shows(subject, "its command line, by `xl dmesg`, has Argo", line, "argo=1")
    known = on_board("argo-known", "xl dmesg | grep -a 'parameter \"argo\" unknown' || echo known")
    yield shows(subject, "it does not call `argo` unknown", known, "known")
    yield shows(subject, "hypercall argo_op", on_board("argo-call", _ARGO_CALL), "answers 0")


def xen_disk(guest: XenGuest, disk: XenDisk) -> Iterator[Proof]:
    """Return what has to be shown of a PV disk."""
    subject, identity = f"device {disk.name}", f"{guest.name}-{disk.name}"
    block = f"/dev/{disk.virtual_device}"
    yield from disk_io(subject, guest.name, identity, block, disk.disk_path, disk.scratch)
    state = on_board(
        f"state-{identity}",
        f"D=$(xl domid {guest.name}); for B in $(xenstore-list /local/domain/0/backend/vbd/$D); do "
        f'P=/local/domain/0/backend/vbd/$D/$B; [ "$(xenstore-read $P/dev)" = {disk.virtual_device} ] || continue; '
        "F=$(xenstore-read $P/frontend); "
        'echo "state $(xenstore-read $P/state), ring by grant '
        '$(xenstore-read $F/ring-ref >/dev/null && echo yes)"; done',
    )
    yield shows(subject, "blkback connected, ring granted", state, "state 4, ring by grant yes")
    counter = on_board(
        f"written-sectors-{identity}",
        f"D=$(xl domid {guest.name}); for S in /sys/bus/xen-backend/devices/vbd-$D-*; do "
        f'P=$(cat $S/nodename); [ "$(xenstore-read /local/domain/0/$P/dev)" = {disk.virtual_device} ] && '
        "cat $S/statistics/wr_sect; done; true",
    )
    yield counts(subject, "sectors that blkback wrote", counter)


def xen_interface(guest: XenGuest, interface: XenInterface) -> Iterator[Proof]:
    """Return what has to be shown of a PV network interface."""
    subject, identity = f"device {interface.name}", f"{guest.name}-{interface.name}"
    yield from network_io(subject, guest.name, identity, interface.frontend_address)
    copy = on_board(
        f"copy-{identity}",
        f"D=$(xl domid {guest.name}); F=/local/domain/$D/device/vif/{interface.index}; "
        'echo "state $(xenstore-read $F/state), rx by grant copy $(xenstore-read $F/request-rx-copy)"',
    )
    yield shows(subject, "netback connected, grant copy asked for", copy, "state 4, rx by grant copy 1")
