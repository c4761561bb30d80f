"""What the control domain itself needs of the devices that guests are to get: its root, and the way that vtool came.

Only the running board tells. Enter at ``needed_by_control``.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.board.protocols import Commands
from vtool.diagnostics import Diagnostic
from vtool.diagnostics.codes import declare
from vtool.plan.types import BoardPlan

declare(
    "VT497",
    what="the control domain needs a device that a guest is to get",
    why="Without the disk of its root file system or the interface that vtool comes by, the board would be lost.",
    example="passthrough of the SD controller that has the board's root file system",
    fix="Leave the device to the control domain, or move its root or its network to another device.",
)

SCRIPT = r"""
nodes() {  # WHAT DEVICE: the nodes of a device and of those that it hangs on
    at=$(readlink -f "$2") || return 0
    for under in "$at"/slaves/* "$at"/../slaves/* "$at"/lower_* "$at"/brif/*; do
        [ -e "$under" ] && (nodes "$1" "$under")
    done
    while [ -n "$at" ]; do
        [ -e "$at/of_node" ] && echo "$1 $(readlink -f "$at/of_node" | sed 's|.*/devicetree/base||')"
        at=${at%/*}
    done
    return 0
}
for mount in / /boot /var/lib; do
    device=$(awk -v m="$mount" '$5 == m { n = $3 } END { print n }' "$P/self/mountinfo")
    [ -n "$device" ] && [ -e "$S/dev/block/$device" ] && nodes "the file system on $mount" "$S/dev/block/$device"
done
process=$$
while [ -n "$process" ] && [ "$process" -gt 1 ]; do
    peer=$(tr '\0' '\n' 2>/dev/null <"$P/$process/environ" | sed -n 's/^SSH_CONNECTION=\([^ ]*\) .*/\1/p')
    [ -n "$peer" ] && break
    process=$(awk '$1 == "PPid:" { print $2 }' "$P/$process/status" 2>/dev/null)
done
if [ -n "$peer" ]; then
    interfaces=$(ip route get "$peer" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
else
    interfaces=$(ls "$S/class/net")
fi
for interface in $interfaces; do
    nodes "the network interface $interface" "$S/class/net/$interface"
done
"""
"""Prints a line for each node that a file system of the system, or the way of ssh, hangs on: what, and the path.

``S`` is where sysfs is, ``P`` where proc is. Where nothing says which way ssh came it is every interface.
"""


def needed_by_control(board: BoardPlan, commands: Commands) -> list[Diagnostic]:
    """Return a finding (VT497) for each node for a guest that the running board itself hangs on."""
    if not board.passthrough:
        return []
    said = commands.run(f"S=/sys; P=/proc; {SCRIPT}")
    return list(_findings(board, said.stdout))


def _findings(board: BoardPlan, said: str) -> Iterator[Diagnostic]:
    needed: dict[str, str] = {}
    for line in said.splitlines():
        what, _, path = line.rpartition(" ")
        needed.setdefault(path, what)
    for node in board.passthrough:
        found = next((p for p in needed if p == node.path or p.startswith(f"{node.path}/")), None)
        if found is not None:
            message = f"'{board.control.name}' needs '{node.path}' itself: {needed[found]} hangs on it"
            yield Diagnostic("VT497", message, node.place)
