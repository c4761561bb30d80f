"""What only the running board tells of the devices that guests are to get.

Whether the control domain itself needs them: its root, and the way that vtool came; whether PCI devices are there, and
what else is in their IOMMU groups. Enter at ``not_to_be_had``.
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


GROUPS = r"""
for address in $ADDRESSES; do
    device=$S/bus/pci/devices/$address
    if [ ! -e "$device" ]; then
        echo "$address absent"
    elif [ ! -e "$device/iommu_group" ]; then
        [ ! -e "$S/kernel/iommu_groups/0" ] || echo "$address alone"
    else
        for member in "$device"/iommu_group/devices/*; do
            case $(cat "$member/class") in 0x0604*) ;; *) echo "$address with ${member##*/}" ;; esac
        done
    fi
done
"""
"""Prints what is wrong with PCI devices, and who is in their groups; bridges may stay.

Where the running kernel drives no IOMMU at all, the deployed one may: there it is the unit that looks.
"""


def not_to_be_had(board: BoardPlan, commands: Commands) -> list[Diagnostic]:
    """Return a finding for each device for a guest that the running board itself hangs on (VT497), or lacks (VT499)."""
    addresses = [device.address for guest in board.kvm_guests for device in guest.pci]
    if not board.passthrough and not addresses:
        return []
    needed = commands.run(f"S=/sys; P=/proc; {SCRIPT}").stdout
    found = list(_needed(board, needed))
    if addresses:
        groups = commands.run(f"S=/sys; ADDRESSES='{' '.join(addresses)}'; {GROUPS}").stdout
        found += _of_groups(board, groups)
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


def _of_groups(board: BoardPlan, said: str) -> Iterator[Diagnostic]:
    about: dict[str, list[str]] = {}
    for line in said.splitlines():
        address, _, rest = line.partition(" ")
        about.setdefault(address, []).append(rest)
    for guest in board.kvm_guests:
        mine = [device.address for device in guest.pci]
        for device in guest.pci:
            words = about.get(device.address, [])
            others = [word.removeprefix("with ") for word in words if word.startswith("with ")]
            others = [other for other in others if other not in mine]
            if "absent" in words:
                yield Diagnostic("VT499", f"the board has no PCI device {device.address}", device.wished_at)
            elif "alone" in words:
                message = f"no IOMMU confines PCI device {device.address}: it is in no group"
                yield Diagnostic("VT499", message, device.wished_at)
            elif others:
                message = f"PCI device {device.address} is in one IOMMU group with {', '.join(others)}"
                hint = f"they go to '{guest.name}' together: pci: [{', '.join([*mine, *others])}]"
                yield Diagnostic("VT499", f"{message}, which would stay", device.wished_at, hints=(hint,))
