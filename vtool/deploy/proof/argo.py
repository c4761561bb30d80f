"""Xen's Argo, which no device uses: that a board's Xen has it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof.steps import Proof, on_board, shows
from vtool.plan.types import BoardPlan

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
