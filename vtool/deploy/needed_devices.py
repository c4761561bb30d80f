"""What only the running board tells of the devices that guests are to get.

Whether the control domain itself needs them: its root, and the way that vtool came; whether PCI devices are there, and
what else is in their IOMMU groups. Enter at ``not_to_be_had``.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.board.protocols import Commands
from vtool.deploy.board_lock import Held
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
declare(
    "VT499",
    what="a PCI device that the board cannot give to a guest",
    why="VFIO hands over IOMMU groups as a whole: devices in one group reach each other past the IOMMU.",
    example="pci: [0000:01:00.0] where 0000:01:00.1 is in the same group",
    fix="Name all devices of the group, or one that is there and confined by itself.",
)

SCRIPT = r"""
nodes() {  # WHAT DEVICE: the nodes of a device and of those that it hangs on
    at=$(readlink -f "$2") || return 0
    for under in "$at"/slaves/* "$at"/../slaves/* "$at"/lower_* "$at"/brif/*; do
        [ -e "$under" ] && (nodes "$1" "$under")
    done
    while [ -n "$at" ]; do
        case ${at##*/} in ????:??:??.?) echo "$1 ${at##*/}" ;; esac
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
[ -n "$peer" ] && interfaces=$(ip route get "$peer" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
for interface in ${interfaces:-$(ls "$S/class/net")}; do
    nodes "the network interface $interface" "$S/class/net/$interface"
done
"""
"""Prints a line for each device that a file system of the system, or the way of ssh, hangs on: what, and its node in
the tree or its PCI address.

``S`` is where sysfs is, ``P`` where proc is. Where nothing says which way ssh came it is every interface.
"""


def not_to_be_had(board: BoardPlan, held: Held, commands: Commands) -> list[Diagnostic]:
    """Return a finding for each device for a guest that the running board itself hangs on (VT497), or lacks (VT499)."""
    guests = [guest for guest in board.kvm_guests if guest.pci]
    if not board.passthrough and not guests:
        return []
    found = list(_needed(board, commands.run(f"S=/sys; P=/proc; {SCRIPT}").stdout))
    for guest in guests:
        places = {device.address: device.wished_at for device in guest.pci}
        for one in held.run("pci-look", *places)["refused"]:
            found.append(Diagnostic("VT499", one["message"], places[one["address"]], hints=tuple(one["hints"])))
    return found


def _needed(board: BoardPlan, said: str) -> Iterator[Diagnostic]:
    needed: dict[str, str] = {}
    for line in said.splitlines():
        what, _, path = line.rpartition(" ")
        needed.setdefault(path, what)
    wished = [(node.path, node.place) for node in board.passthrough]
    wished += ((device.address, device.wished_at) for guest in board.kvm_guests for device in guest.pci)
    for device, place in wished:
        found = next((each for each in needed if each == device or each.startswith(f"{device}/")), None)
        if found is not None:
            message = f"'{board.control.name}' needs '{device}' itself: {needed[found]} hangs on it"
            yield Diagnostic("VT497", message, place)
