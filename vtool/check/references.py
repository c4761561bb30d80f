"""Rules on names: everything that is named exists, and stands in the right relation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vtool.check.context import Context
from vtool.check.driver_domains import why_not_served
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, Label, nearest
from vtool.diagnostics.codes import rule
from vtool.files.regular import fault_of
from vtool.model.partial import known_names
from vtool.model.topology import OF_THE_BOARD, POOL_USES, Kvm, Role, Xen
from vtool.model.types import is_name
from vtool.model.validate import is_path, known_facts
from vtool.reading.source import KeyPath


@rule(
    "VT301",
    what="something that is named does not exist",
    why="A reference that leads nowhere would be found on the board, late.",
    example="frontend: fe1, with no such domain",
    fix="Correct the name, or add what is missing.",
)
def facts_are_there(context: Context) -> Iterator[Diagnostic]:
    """A facts file that is named exists, and is a file."""
    for name, board in context.topology.boards.items():
        if name not in context.facts:
            path = ("boards", name, "facts")
            fault = fault_of(context.document.path.parent / board.facts) if is_path(board.facts) else None
            if fault is None:
                yield _unknown(context, "facts file", board.facts, path, dict.fromkeys(known_facts()))
            else:
                yield context.find("VT301", f"facts file '{board.facts}' cannot be used: {fault}", path)


@rule("VT301")
def boards_exist(context: Context) -> Iterator[Diagnostic]:
    """A domain's board exists."""
    return _exist(context, "domains", "board", "board", context.topology.boards)


@rule("VT301")
def owners_exist(context: Context) -> Iterator[Diagnostic]:
    """A region's owner exists."""
    return _exist(context, "regions", "owner", "domain", context.topology.domains)


@rule("VT301")
def frontends_exist(context: Context) -> Iterator[Diagnostic]:
    """A device's frontend exists."""
    return _exist(context, "devices", "frontend", "domain", context.topology.domains)


@rule("VT301")
def backends_exist(context: Context) -> Iterator[Diagnostic]:
    """A device's backend exists."""
    return _exist(context, "devices", "backend", "domain", context.topology.domains)


@rule("VT301")
def regions_exist(context: Context) -> Iterator[Diagnostic]:
    """A device's region exists."""
    return _exist(context, "devices", "region", "region", context.topology.regions)


@rule("VT301")
def borrowers_exist(context: Context) -> Iterator[Diagnostic]:
    """The borrowers of a region exist."""
    domains = context.topology.domains
    for name, region in context.topology.regions.items():
        for index, borrower in enumerate(region.borrowers):
            if borrower not in domains:
                yield _unknown(context, "domain", borrower, ("regions", name, "borrowers", index), domains)


@rule("VT301")
def addressees_exist(context: Context) -> Iterator[Diagnostic]:
    """Whom a region has an address for exists."""
    domains = context.topology.domains
    for name, region in context.topology.regions.items():
        for domain in region.addresses:
            if is_name(domain) and domain not in domains:
                yield _unknown(context, "domain", domain, ("regions", name, "addresses", domain), domains)


@rule("VT301")
def event_channels_name_domains(context: Context) -> Iterator[Diagnostic]:
    """Both ends of an event channel exist."""
    for name, channel in context.topology.event_channels.items():
        for index, end in enumerate(channel.between):
            if end not in context.topology.domains:
                path = ("event_channels", name, "between", index)
                yield _unknown(context, "domain", end, path, context.topology.domains)


def _exist(context: Context, table: str, key: str, what: str, there: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Yield a finding for every entry of a table of the topology whose key names nothing that is there."""
    for name, entry in getattr(context.topology, table).items():
        named = getattr(entry, key)
        if named is not None and named not in there:
            yield _unknown(context, what, named, (table, name, key), there)


def _unknown(context: Context, what: str, name: str, path: KeyPath, table: Mapping[str, Any]) -> Diagnostic:
    names = known_names(table)
    hints = nearest(name, names) or ((f"there are: {', '.join(names)}",) if names else ())
    return context.find("VT301", f"{what} '{name}' does not exist", path, hints=hints)


@rule(
    "VT302",
    what="a domain does not name its board",
    why="With several boards there is no telling where it belongs.",
    example="two boards, a domain without board",
    fix="Add board.",
)
def domains_have_a_board(context: Context) -> Iterator[Diagnostic]:
    """With several boards, every domain says on which it is."""
    if len(context.topology.boards) > 1:
        for name, domain in context.topology.domains.items():
            if domain.board is None:
                message = f"domain '{name}' must name its board, because there are several"
                hint = f"add `board:` with one of {', '.join(context.topology.boards)}"
                place: KeyPath = ("domains", name)
                yield context.find("VT302", message, place, key=True, hints=(hint,), blames=((*place, "board"),))


@rule(
    "VT303",
    what="a board has no control domain, or two",
    why="Exactly one domain owns the hardware: dom0 under Xen, the host under KVM.",
    example="no domain with role: control",
    fix="Give one domain role: control.",
)
def one_control_domain(context: Context) -> Iterator[Diagnostic]:
    """Every board has exactly one domain with ``role: control``."""
    for board in context.topology.boards:
        controls = [n for n, d in context.domains_on(board) if d.role is Role.CONTROL]
        if not controls:
            message = f"board '{board}' has no control domain"
            hint = "give one domain `role: control`: dom0 under Xen, the host under KVM"
            roles: list[KeyPath] = [("domains", name, "role") for name, _ in context.domains_on(board)]
            yield context.find("VT303", message, ("boards", board), key=True, hints=(hint,), blames=roles)
        for extra in controls[1:]:
            message = f"board '{board}' has a second control domain '{extra}', beside '{controls[0]}'"
            yield context.find("VT303", message, ("domains", extra), key=True, blames=(("domains", extra, "role"),))


@rule("VT378")
def pools_of_cpus_exist(context: Context) -> Iterator[Diagnostic]:
    """The CPU pool of a domain exists on its board."""
    for name, domain in context.topology.domains.items():
        hypervisor = context.hypervisor_of(name)
        if domain.cpupool is not None and isinstance(hypervisor, Xen) and domain.cpupool not in hypervisor.cpupools:
            message = f"CPU pool '{domain.cpupool}' does not exist on board '{context.board_of[name]}'"
            pools = known_names(hypervisor.cpupools)
            hint = f"there are: {', '.join(pools)}" if pools else "declare it under hypervisor.cpupools"
            yield context.find("VT378", message, ("domains", name, "cpupool"), hints=(hint,))


@rule("VT400")
def regions_are_of_one_board(context: Context) -> Iterator[Diagnostic]:
    """Who has a region is on one board."""
    for name, region in context.topology.regions.items():
        members = context.members_of(region)
        for index, borrower in enumerate(region.borrowers):
            first, board = context.board_of.get(members[0]), context.board_of.get(borrower)
            if board is not None and first is not None and board != first:
                message = f"region '{name}' of '{members[0]}' on board '{first}' is lent to '{borrower}' on '{board}'"
                path: KeyPath = ("regions", name, "borrowers", index)
                label = Label(context.span("domains", borrower, "board"), f"'{borrower}' is on '{board}'")
                blames = (path, ("regions", name, "owner"))
                yield context.find("VT400", message, path, labels=(label,), blames=blames)


@rule("VT400")
def borrowers_are_others(context: Context) -> Iterator[Diagnostic]:
    """A region is lent to others than its owner, to each once."""
    for name, region in context.topology.regions.items():
        for index, borrower in enumerate(region.borrowers):
            path: KeyPath = ("regions", name, "borrowers", index)
            if borrower == region.owner:
                message = f"region '{name}' is lent to its own owner '{borrower}'"
                yield context.find("VT400", message, path, blames=(path, ("regions", name, "owner")))
            elif borrower in region.borrowers[:index]:
                yield context.find("VT400", f"region '{name}' is lent to '{borrower}' twice", path)


@rule("VT400")
def regions_have_an_owner(context: Context) -> Iterator[Diagnostic]:
    """A region has an owner, unless Xen itself owns it."""
    for name, region in context.topology.regions.items():
        if region.owner is None and (not context.is_static_shared(region) or region.use in POOL_USES):
            message = f"region '{name}' needs an `owner`"
            hint = "only shared-memory between dom0less guests of Xen can belong to Xen itself"
            place: KeyPath = ("regions", name)
            blames = ((*place, "owner"), (*place, "borrowers"))
            yield context.find("VT400", message, place, key=True, hints=(hint,), blames=blames)


@rule(
    "VT304",
    what="a domain has no memory",
    why="Guests and a Xen dom0 get a fixed amount.",
    example="a guest without memory",
    fix="Add memory, for example 256MiB.",
)
def memory_is_given(context: Context) -> Iterator[Diagnostic]:
    """Guests and a Xen dom0 say how much memory they get."""
    for name, domain in context.topology.domains.items():
        is_xen = isinstance(context.hypervisor_of(name), Xen)
        if domain.memory is None and (domain.role is Role.GUEST or is_xen):
            message = f"domain '{name}' needs `memory`"
            yield context.find("VT304", message, ("domains", name), key=True, hints=("memory: 256MiB",))


@rule(
    "VT305",
    what="a device's two ends are not two domains of one board",
    why="The backend serves another domain, and memory is shared on one board only.",
    example="frontend: fe0 and backend: fe0",
    fix="Name the domain that serves the device.",
)
def ends_differ(context: Context) -> Iterator[Diagnostic]:
    """A device's backend is another domain than its frontend, on the same board."""
    for name, device in context.topology.devices.items():
        path = ("devices", name, "backend")
        if device.backend == device.frontend:
            message = f"device '{name}' has domain '{device.backend}' as both its backend and its frontend"
            hint = "the backend is the domain that serves the device, usually the control domain"
            yield context.find("VT305", message, path, hints=(hint,))
            continue
        boards = context.board_of.get(device.frontend), context.board_of.get(device.backend)
        if None not in boards and boards[0] != boards[1]:
            message = f"device '{name}' has its frontend on board '{boards[0]}', its backend on '{boards[1]}'"
            yield context.find("VT305", message, path)


@rule(
    "VT306",
    what="one end of a device has a role that is not supported",
    why=(
        "Only guests are served, by the control domain; under Xen a guest (a driver domain) can serve PV disks and "
        "networks, too."
    ),
    example="backend: fe1, a guest, of a virtio device",
    fix="Let the control domain serve the device.",
)
def backend_is_control(context: Context) -> Iterator[Diagnostic]:
    """Guests are the frontends; the control domain serves, or under Xen a guest (a driver domain) PV devices."""
    for name, device in context.sound_devices():
        if device.backend == device.frontend or device.type == "ivshmem":
            continue
        if context.topology.domains[device.frontend].role is Role.CONTROL:
            message = f"the frontend of device '{name}' is a control domain; this version of vtool serves guests only"
            ends = [("devices", name, "frontend"), ("devices", name, "backend")]
            yield context.find("VT306", message, ("devices", name, "frontend"), blames=ends)
            continue
        if isinstance(context.hypervisor_of(device.frontend), Xen) and device.transport is Transport.MMIO:
            continue  # VT385 says why
        if device.data_path.traits.carries_data:
            continue  # VT351 says where its ends can be
        why = why_not_served(context, device)
        if context.by_a_guest(device) and why:
            message = f"the backend of device '{name}' is the guest '{device.backend}', which cannot serve it: {why}"
            yield context.find("VT306", message, ("devices", name, "backend"))


@rule(
    "VT307",
    what="a domain has a setting that is not supported for its role",
    why=(
        "A setting without effect would mislead. A control domain runs from the board's disk; a KVM host has all "
        "CPUs and memory."
    ),
    example="`ready` of a control domain",
    fix="Leave it out.",
)
def settings_are_used(context: Context) -> Iterator[Diagnostic]:
    """A setting that would have no effect is refused."""
    for name, domain in context.topology.domains.items():
        if domain.role is not Role.CONTROL:
            for key in (key for key in ("kernel", "ramdisk") if getattr(domain, key) == OF_THE_BOARD):
                message = f"`{key}: {OF_THE_BOARD}` of the guest '{name}': what the board runs is its control domain's"
                yield context.find("VT307", message, ("domains", name, key), hints=("a file of that name is ./board",))
            continue
        unused = dict.fromkeys(("ready", "ready_timeout_s"), "it boots from the board's root file system")
        unused |= dict.fromkeys(("access", "proof"), "vtool is on the board already, and always asks it")
        if isinstance(context.hypervisor_of(name), Kvm):
            unused |= dict.fromkeys(("cpus", "memory"), "under KVM the host has what the board has")
        for key in unused.keys() & domain.model_fields_set:
            message = f"`{key}` of the control domain '{name}' is not supported: {unused[key]}"
            yield context.find("VT307", message, ("domains", name, key), key=True, hints=(f"leave out `{key}`",))


NAMES = (
    facts_are_there,
    boards_exist,
    owners_exist,
    borrowers_exist,
    addressees_exist,
    frontends_exist,
    backends_exist,
    regions_exist,
    event_channels_name_domains,
    pools_of_cpus_exist,
)
"""What names something that is not there; what else that would be wrong with is not known."""
RELATIONS = (
    domains_have_a_board,
    one_control_domain,
    ends_differ,
    borrowers_are_others,
    regions_are_of_one_board,
    regions_have_an_owner,
)
"""What has no place in the whole."""
ENDS = (backend_is_control,)
"""Who cannot be an end of a device."""
