"""Devices of the board that guests have: the board leaves them alone, and a driver of the guest has them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.steps import TREE, Proof, in_domain, on_board, same_digest, shows
from vtool.plan.types import KvmGuest, PassthroughNode, XenBootGuest, XenGuest

_DRIVERS = (
    'for L in /sys/bus/*/devices/*/of_node; do case "$(readlink -f "$L")" in {tree}{node}) D=${{L%/of_node}}; '
    '[ ! -e "$D/driver" ] || {{ D=$(readlink "$D/driver"); echo "${{D##*/}}"; }};; esac; done'
)
"""Prints the drivers of a node's devices; ``node`` is a shell pattern."""


class Driven(Judge):
    """A step says the name of a driver."""

    name = "driven"
    step: str

    def judge(self, results: Results) -> Verdict:
        """Look whether there is one."""
        said, why = value_of(results, self.step)
        return Verdict("a driver", said or "none", bool(said), why)


class Grouped(Judge):
    """A step says an IOMMU group and the devices in it that are no bridges: all are ``together`` one guest's."""

    name = "grouped"
    step: str
    together: tuple[str, ...]

    def judge(self, results: Results) -> Verdict:
        """Look whether there is a group, and another one's device in it."""
        said, why = value_of(results, self.step)
        group, _, members = (said or "").partition(":")
        proven = bool(group) and bool(members.split()) and set(members.split()) <= set(self.together)
        return Verdict(f"a group of {', '.join(self.together)}", said or "none", proven, why)


def passed_to(guest: XenGuest | XenBootGuest, control: str) -> Iterator[Proof]:
    """Return what has to be shown of the devices that a guest has of the board."""
    for index, node in enumerate(guest.passthrough):
        subject, identity = f"device {node.path}", f"{guest.name}-{index}"
        left = _DRIVERS.format(tree=TREE, node=node.path)
        # Xen writes so into dom0's tree (xen/arch/arm/domain_build.c write_properties).
        status = f"tr -d '\\0' <{TREE}{node.path}/status"
        alone = on_board(f"left-{identity}", f'S=$({status}); D=$({left}); echo "${{S:-okay}}, ${{D:-no driver}}"')
        yield shows(subject, f"'{control}' leaves it alone", alone, "disabled, no driver")
        what = f"a driver of '{guest.name}' has it"
        if isinstance(guest, XenGuest):
            asked = in_domain(guest.name, f"driven-{identity}", _DRIVERS.format(tree=TREE, node=_in_guest(node)))
            yield Proof(subject, what, (asked,), Driven(step=asked["id"]))
        elif guest.says_drivers:
            line = f"DOM{guest.domain_id}: .*vtool: {_in_guest(node).replace('*', '[^ ]*')} has driver "
            said = f"xl dmesg | grep -a '{line}' | tail -n 1 | tr -d '\\r' | sed 's/.* has driver //'"
            told = on_board(f"driven-{identity}", said)
            yield Proof(subject, what, (told,), Driven(step=told["id"]))


def _in_guest(node: PassthroughNode) -> str:
    """Return where a node is in its guest's tree, with a star for an address that is not known."""
    base = node.path.rpartition("/")[2].partition("@")[0]
    return f"/passthrough/{node.device.node.name if node.device else f'{base}@*'}"


def pci_of(guest: KvmGuest) -> Iterator[Proof]:
    """Return what has to be shown of the PCI devices that a guest of KVM has of the board."""
    for device in guest.pci:
        subject, identity = f"device {device.address}", f"{guest.name}-{device.guest_device}"
        here, there = (f"/sys/bus/pci/devices/{name}" for name in (device.address, device.guest_device))
        left = on_board(f"left-{identity}", f'D=$(readlink {here}/driver); echo "${{D##*/}}"')
        yield shows(subject, "no driver of the board has it", left, "vfio-pci")
        group = f"{here}/iommu_group"
        members = f"for M in {group}/devices/*; do grep -q ^0x0604 $M/class || echo ${{M##*/}}; done"
        confined = on_board(f"group-{identity}", f'G=$(readlink {group}) && echo "${{G##*/}}:" $({members})')
        together = tuple(one.address for one in guest.pci)
        yield Proof(subject, "its IOMMU group", (confined,), Grouped(step=confined["id"], together=together))
        kinds = [f"cat {where}/vendor {where}/device {where}/class | sha256sum" for where in (here, there)]
        of_board, of_guest = on_board(f"kind-{identity}", kinds[0]), in_domain(guest.name, f"seen-{identity}", kinds[1])
        what = f"vendor, device and class, as '{guest.name}' sees them"
        yield same_digest(subject, what, of_board, of_guest, 0)
        asked = in_domain(guest.name, f"driven-{identity}", f'D=$(readlink {there}/driver); echo "${{D##*/}}"')
        yield Proof(subject, f"a driver of '{guest.name}' has it", (asked,), Driven(step=asked["id"]))
