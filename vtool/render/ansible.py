"""The hosts and groups of an Ansible inventory: boards, and guests that are reached through their board.

One computation for two readers: ``vtool render`` writes it as a file, the inventory plugin
(``inventory/ansible_collections``) adds how the boards themselves are reached. A control domain is no host of
its own: it is the system that answers on the board.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from vtool.model.devices import Device, NetworkDevice
from vtool.model.lookup import Lookup
from vtool.model.topology import Role, Topology
from vtool.plan.types import BoardPlan, Plan

FILE_NAME = "inventory.yaml"
_SSH_PORT = 22
_FIXED_GROUPS = ("kvm", "xen", "control", "frontend", "backend", "reachable")
_TAKEN = frozenset({"all", "ungrouped", "localhost", *_FIXED_GROUPS})
_HEADER = """\
# vtool: '{name}' for Ansible. Boards are reached by their names, as your ssh configuration or variables of
# your own (ansible_host, ansible_user) say; the hosts of `reachable` through their boards. Holds no secrets.
"""


@dataclass(frozen=True)
class Connection:
    """How a board is reached: Ansible's variables for it, and ssh's words that lead to what is behind it."""

    variables: Mapping[str, Any]
    jump: str


@dataclass(frozen=True)
class Host:
    """A host with its groups and variables, complete."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any]


def hosts_of(topology: Topology, plan: Plan, connections: Mapping[str, Connection]) -> tuple[Host, ...]:
    """Return every board and guest, boards first; ``connections`` are of the boards that can be reached."""
    lookup = Lookup(topology)
    boards = [_host(topology, lookup, board, board.control.name, connections) for board in plan.boards]
    guests = [
        _host(topology, lookup, board, name, connections)
        for board in plan.boards
        for name, domain in lookup.domains_on[board.name].items()
        if domain.role is Role.GUEST
    ]
    return (*boards, *guests)


def group_of_board(board: str) -> str:
    """Return a board's group; groups take no hyphens, and names have no underscores that could clash."""
    return f"board_{board.replace('-', '_')}"


def render_inventory(topology: Topology, plan: Plan) -> str:
    """Write the inventory as YAML; boards are reached by name, guests by ``ProxyJump``."""
    by_name = {board.name: Connection({}, f"-o ProxyJump={board.name}") for board in plan.boards}
    hosts: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    for host in hosts_of(topology, plan, by_name):
        hosts[host.name] = dict(host.variables)
        for group in host.groups:
            groups.setdefault(group, []).append(host.name)
    children = {group: {"hosts": dict.fromkeys(groups[group])} for group in sorted(groups)}
    data = {"all": {"hosts": hosts, "children": children}}
    return _HEADER.format(name=plan.name) + yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=110)


class _Dumper(yaml.CSafeDumper):
    """YAML without aliases, and with nothing where a group only names a host."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


_Dumper.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", ""))


def _host(
    topology: Topology, lookup: Lookup, board: BoardPlan, name: str, connections: Mapping[str, Connection]
) -> Host:
    is_board = topology.domains[name].role is Role.CONTROL
    devices = lookup.devices_of[name]
    ends = {role for d in devices.values() for role in ("frontend", "backend") if getattr(d, role) == name}
    roles = [*(["control"] if is_board else []), *sorted(ends, reverse=True)]
    connection = connections.get(board.name)
    connected: Mapping[str, Any] | None = connection.variables if connection else None
    if not is_board and connection is not None:
        connected = _behind(connection.jump, board, name, devices)
    variables = {
        "vtool_topology": topology.name,
        "vtool_board": board.name,
        "vtool_domain": name,
        "vtool_hypervisor": board.hypervisor,
        "vtool_roles": roles,
        "vtool_reachable": connected is not None,
        "vtool_addresses": [str(address) for address, _ in _networks(board.control.name, devices, name)],
        "vtool_regions": list(_regions(topology, board, name)),
        "vtool_devices": [_device(n, d, name) for n, d in devices.items()],
        **(connected or {}),
    }
    unique = board.name if is_board else name
    if not is_board and (name in _TAKEN or name in topology.boards):
        unique = f"{name}.{board.name}"  # no name has a full stop
    groups = (board.hypervisor, *roles, group_of_board(board.name), *(["reachable"] if connected is not None else []))
    return Host(unique, groups, variables)


def _behind(jump: str, board: BoardPlan, name: str, devices: Mapping[str, Device]) -> Mapping[str, Any] | None:
    """Return Ansible's variables for a guest behind its board, None when ssh does not lead there."""
    place = _sshd(board.control.name, devices, name)
    if place is None:
        return None
    address, port = place
    # Addresses of guests repeat from board to board, so ssh keeps their keys by name.
    words = f"{jump} -o HostKeyAlias={name}.{board.name}"
    return {"ansible_host": address, "ansible_port": port, "ansible_ssh_common_args": words}


def _networks(
    control: str, devices: Mapping[str, Device], domain: str
) -> Iterator[tuple[ipaddress.IPv4Interface, bool]]:
    """Yield a domain's addresses, each once, and whether its board is in the same network."""
    seen = set()
    for device in devices.values():
        if not isinstance(device, NetworkDevice):
            continue
        network = device.network
        own = network.fixed_address if device.frontend == domain else network.backend_address
        if own and own not in seen:
            seen.add(own)
            here = bool(network.backend_address or network.existing or network.uplink)
            through = device.frontend == domain and device.backend == control and here
            yield ipaddress.IPv4Interface(own), through


def _sshd(control: str, devices: Mapping[str, Device], domain: str) -> tuple[str, int] | None:
    """Return where the board finds a guest's sshd: an address on its bridge, or its own port that leads to 22."""
    for address, through in _networks(control, devices, domain):
        if through:
            return str(address.ip), _SSH_PORT
    for device in devices.values():
        if isinstance(device, NetworkDevice) and device.frontend == domain and device.backend == control:
            for pair in device.network.forward_tcp:
                port, inside = map(int, pair.split(":"))
                if inside == _SSH_PORT:
                    return "127.0.0.1", port
    return None


def _regions(topology: Topology, board: BoardPlan, domain: str) -> Iterator[dict[str, Any]]:
    places = dict(_places(board))
    for name, region in topology.regions.items():
        if domain != region.owner and domain not in region.borrowers:
            continue
        found: dict[str, Any] = {"name": name, "use": region.use.value, "size_bytes": region.size}
        found["as"] = "owner" if domain == region.owner else "borrower"
        if (domain, name) in places:
            found["address"] = f"{places[domain, name]:#x}"
        yield found


def _places(board: BoardPlan) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield where a domain sees a region: (domain, region) and its physical address."""
    for region in board.host_regions:
        yield (board.control.name, region.region), region.range.base
    for view in board.xen_boot.shared:
        yield (board.control.name, view.region), view.inside.base
    for guest in board.guests:
        for seen in guest.views:
            yield (guest.name, seen.region), seen.inside.base


def _device(name: str, device: Device, domain: str) -> dict[str, Any]:
    role, other = ("frontend", device.backend) if device.frontend == domain else ("backend", device.frontend)
    return {
        "name": name,
        "type": device.type,
        "as": role,
        "other": other,
        "program": device.program.value,
        "transport": device.transport.value,
        "data_path": device.data_path.value,
    }
