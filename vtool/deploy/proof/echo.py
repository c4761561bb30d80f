"""Data to and from a guest whose shell nobody reaches: its init copies and sends back, and the board compares.

(vtool/images/recipes/guest/init)
"""

from __future__ import annotations

from vtool.base.units import MIB, AddressRange, format_size
from vtool.deploy.proof.judges import SameLines
from vtool.deploy.proof.steps import TRANSFER_BYTES, Proof, Step, exchanged, on_board

ECHO_PORT = 7003
"""Where vtool's guest sends back what it gets (vtool/images/recipes/guest/init)."""


def through(path: str, scratch: AddressRange, fill: str) -> str:
    """Return a shell line that writes one MiB into a disk's file and waits until the guest wrote it into the next.

    ``fill`` puts it into the file $W. The guest looks at the first page, which is therefore written last
    (vtool/images/recipes/guest/init).
    """
    first = scratch.base // MIB
    return (
        f"W=$(mktemp); {fill}; "
        f"dd if=$W of={path} bs=4k skip=1 seek={first * 256 + 1} conv=notrunc,fsync status=none; "
        f"dd if=$W of={path} bs=4k count=1 seek={first * 256} conv=notrunc,fsync status=none; "
        f"D=$(sha256sum <$W); rm $W; n=0; "
        f'while [ "$({_block(path, first + 1)} | sha256sum)" != "$D" ] && [ $n -lt 40 ]; do n=$((n+1)); sleep 1; done'
    )


def _block(path: str, number: int) -> str:
    return f"dd if={path} bs=1M skip={number} count=1 status=none"


def echoed(subject: str, identity: str, path: str, scratch: AddressRange) -> Proof:
    """What the board writes into one MiB of the file, the guest copies into the next: both ways, no shell needed."""
    sent = through(path, scratch, "dd if=/dev/urandom of=$W bs=1M count=1 status=none")
    step = on_board(
        f"echo-{identity}",
        f'{sent}; echo "$D"; {_block(path, scratch.base // MIB + 1)} | sha256sum',
        timeout_s=120,
    )
    what = f"{format_size(TRANSFER_BYTES)} at the backend's file, read by the frontend and written beside it"
    return Proof(subject, what, (step,), SameLines(step=step["id"], digits=64, size_bytes=2 * TRANSFER_BYTES))


def sent_back(subject: str, identity: str, address: str) -> Proof:
    """What the board sends to a guest's address, the guest sends back."""
    what = f"{format_size(TRANSFER_BYTES)} sent by the backend domain, received and sent back by the frontend"
    echo: Step = {"id": f"back-{identity}", "op": "echo", "port": ECHO_PORT, "size_bytes": TRANSFER_BYTES}
    echo["address"] = address.partition("/")[0]
    return exchanged(subject, what, echo, 2 * TRANSFER_BYTES)
