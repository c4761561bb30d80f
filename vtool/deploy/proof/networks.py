"""Networks that the board does not reach its guests by, and bridges that are more than vtool's: what is seen instead.

A guest tells the address that it got; of one whose address is nobody's business the link is looked at, and frames are
counted on the board. Enter at ``network_rows``, ``of_silent_guest`` and ``bridges``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vtool.deploy.proof.echo import sent_back
from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.steps import Proof, counts, in_domain, network_io, on_board, shows
from vtool.model.devices.types.net import BY_DHCP, NO_ADDRESS
from vtool.plan.types import BoardPlan, Bridge, XenBootGuest, XenGuest, XenInterface

_LOOKS = 40
"""How often an address or frames are looked for, a second apart: a DHCP client asks again and again."""


def network_rows(
    subject: str, domain: str, identity: str, address: str, *, port: str, inside: str, direct: bool = False
) -> Iterator[Proof]:
    """Return what has to be shown of a guest's network: data where the board reaches its ``address``.

    ``port`` is the board's interface and ``inside`` the guest's, both as words of a shell. ``direct``: it is a macvtap
    interface, by which frames do not come back to the board that sends them.
    """
    if _is_fixed(address) and not direct:
        yield from network_io(subject, domain, identity, address)
        return
    if address == BY_DHCP:
        told = f"A=$(ip -4 -o address show dev {inside} | grep -o 'inet [0-9./]*' | cut -c 6-)"
        wait = f'n=0; until {told}; [ "$A" ] || [ $n -ge {_LOOKS} ]; do n=$((n+1)); sleep 1; done; echo $A'
        step = in_domain(domain, f"address-{identity}", wait, _LOOKS + 20)
        judge = AnAddress(step=step["id"])
        yield Proof(subject, "the address that it says it got by DHCP", (step,), judge)
    yield from _frames(subject, identity, address, port, direct=direct)


def of_silent_guest(subject: str, identity: str, address: str, port: str) -> Iterator[Proof]:
    """Return what has to be shown of the network of a guest whose shell nobody reaches."""
    if _is_fixed(address):
        yield sent_back(subject, identity, address)
    else:
        yield from _frames(subject, identity, address, port)


def _is_fixed(address: str) -> bool:
    return address not in (BY_DHCP, NO_ADDRESS)


def _frames(subject: str, identity: str, address: str, port: str, *, direct: bool = False) -> Iterator[Proof]:
    """Return the rows that a guest's interface has a link, and that frames came from it.

    Nobody makes a guest without an address send any: there that is told once it has.
    """
    carrier = on_board(f"carrier-{identity}", f"cat /sys/class/net/{port}/carrier")
    yield shows(subject, "its interface on the board has a link", carrier, "1")
    # What a guest sends, its tap or vif receives; a macvtap interface sends it on.
    counter = f"/sys/class/net/{port}/statistics/{'tx' if direct else 'rx'}_packets"
    look = f'n=0; until F=$(cat {counter}); [ "$F" != 0 ] || [ $n -ge {_LOOKS} ]; do n=$((n+1)); sleep 1; done; echo $F'
    sent = counts(
        subject, "frames that it sent, counted on the board", on_board(f"frames-{identity}", look, _LOOKS + 20)
    )
    yield replace(sent, if_used=address == NO_ADDRESS)


class AnAddress(Judge):
    """A step's output is an IPv4 address with its network's prefix, whichever."""

    name = "an-address"
    step: str

    def judge(self, results: Results) -> Verdict:
        """Read it."""
        seen, why = value_of(results, self.step)
        proven = re.fullmatch(r"([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}", seen or "") is not None
        return Verdict("an IPv4 address", seen or "none", proven, why)


def vif(guest: XenGuest | XenBootGuest, interface: XenInterface) -> str:
    """Return the board's interface of a PV network, as words of a shell."""
    number = guest.domain_id if isinstance(guest, XenBootGuest) else f"$(xl domid {guest.name})"
    return f"vif{number}.{interface.index}"


def bridges(board: BoardPlan) -> Iterator[Proof]:
    """Return what has to be shown of bridges that lead out of the board: what is in them, and who has the address."""
    for bridge in board.bridges:
        if not (bridge.existing or bridge.uplink):
            continue
        subject = f"bridge {bridge.name}"
        if bridge.uplink:
            yield _uplinked(subject, bridge)
        ports = list(_ports(board, bridge.name))
        inside = f"for P in {' '.join(ports)}; do [ ! -e /sys/class/net/{bridge.name}/brif/$P ] || echo $P; done"
        step = on_board(f"ports-{bridge.name}", f"{inside} | wc -l")
        yield shows(subject, "interfaces of guests that are in it", step, str(len(ports)))


def _uplinked(subject: str, bridge: Bridge) -> Proof:
    uplink = bridge.uplink
    own = f"ip -o address show dev {uplink} | grep -c -v ' fe80:'"
    step = on_board(
        f"uplink-{bridge.name}",
        f'echo "$(basename "$(readlink /sys/class/net/{uplink}/master)"), addresses left: $({own})"',
    )
    what = f"'{uplink}' is in it, and has left its addresses to it"
    return shows(subject, what, step, f"{bridge.name}, addresses left: 0")


def _ports(board: BoardPlan, bridge: str) -> Iterator[str]:
    taps = [device.tap for guest in board.kvm_guests for device in guest.devices]
    taps += [device.tap for guest in board.xen_guests for device in guest.virtio]
    taps += [device.tap for guest in board.xen_boot.guests for device in guest.virtio]
    yield from (tap.name for tap in taps if tap is not None and tap.bridge == bridge)
    for guest in board.xen_guests:
        mine = (one for one in guest.interfaces if one.bridge == bridge and one.backend is None)
        yield from (vif(guest, interface) for interface in mine)
    for built in board.xen_boot.guests:
        attached = (one.interface for one in built.attached if one.interface and one.interface.bridge == bridge)
        yield from (vif(built, interface) for interface in attached)
