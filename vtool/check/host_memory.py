"""Rules on host memory at places that the user fixed: it is RAM, free, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import AddressRange, align_up, format_size
from vtool.check.context import Context
from vtool.check.shares import Share, largest_first, listed
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.host_requests import STATIC_HEAP_ALIGNMENT, HostRequest, host_requests, places_for
from vtool.model.topology import Role, Xen
from vtool.reading.source import KeyPath


def fixed_requests(context: Context, board: str) -> Iterator[tuple[HostRequest, AddressRange]]:
    """Yield everything that the user placed in the memory of a board, and where."""
    declared, facts = context.topology.boards[board], context.facts[board].facts
    for request in host_requests(context.lookup, board, declared, facts, fixed_only=True):
        if request.fixed is not None:
            yield request, request.fixed


@rule(
    "VT401",
    what="a region overlaps something",
    why="Two owners of one page corrupt each other.",
    example="address: 0x4000_0000, where the boot loader loads images",
    fix="Leave address out and let vtool choose.",
)
@rule("VT403")
@rule(
    "VT404",
    what="a region lies outside RAM",
    why="There is nothing to share there; Xen even crashes on it.",
    example="address: 0x2_0000_0000 on a board with 3GiB",
    fix="Leave address out and let vtool choose.",
)
def fixed_places_are_free(context: Context) -> Iterator[Diagnostic]:
    """What is fixed in host memory lies in RAM, outside carve-outs and each other."""
    for board, loaded in context.facts.items():
        memory = loaded.facts.memory
        placed: list[tuple[HostRequest, AddressRange]] = []
        for request, where in fixed_requests(context, board):
            if where.base % request.unit:
                # Of regions the rule on their alignment says it.
                if request.place[0] != "regions":
                    message = f"{request.what}: {where.base:#x} is not a multiple of {format_size(request.unit)}"
                    yield context.find("VT403", message, request.address_place)
                continue
            if not memory.has(where):
                message = f"{request.what} {where} is not inside the RAM of board '{board}'"
                label = Label(loaded.document.span(("ram",), key=True), f"its RAM: {', '.join(map(str, memory.banks))}")
                hint = _elsewhere(context, board, request)
                yield context.find("VT404", message, request.address_place, labels=(label,), hints=(hint,))
                continue
            for index, carve in enumerate(loaded.facts.carve_outs):
                if where.overlaps(carve.range):
                    message = f"{request.what} {where} overlaps carve-out '{carve.name}' {carve.range}: {carve.reason}"
                    label = Label(loaded.document.span(("carve_outs", index, "name")), f"'{carve.name}' is here")
                    yield _overlap(context, board, request, message, label)
            for other, its_place in placed:
                if where.overlaps(its_place):
                    message = f"{request.what} {where} overlaps {other.what} {its_place}"
                    label = Label(context.span(*other.address_place), "which is here")
                    yield _overlap(context, board, request, message, label)
            placed.append((request, where))


@rule(
    "VT450",
    what="a fixed address leaves no room for what Linux reserves itself",
    why="A board's CMA has a size, an alignment and ranges to lie in; without it drivers of the board fail.",
    example="address: 0x9000_0000 in the only range of linux,cma",
    fix="Leave out the address, and vtool keeps that room; or fix another one.",
)
@rule(
    "VT452",
    what="a fixed address is where firmware may be (warning)",
    why="A kernel's source tree does not know what firmware reserves at the ends of RAM.",
    example="address: 0xbe00_0000 on an i.MX8MM of 2GiB, where OP-TEE lies",
    fix="Import facts from the running board, or fix an address away from both ends.",
)
def fixed_places_leave_room(context: Context) -> Iterator[Diagnostic]:
    """What is fixed leaves room for what the kernel places itself, and is not where firmware may be."""
    for board, loaded in context.facts.items():
        facts, earlier = loaded.facts, list[AddressRange]()
        for request, where in fixed_requests(context, board):
            for floating in facts.memory.crowded_out(where, *earlier):
                index = facts.memory.floating.index(floating)
                label = Label(
                    loaded.document.span(("dynamic_reservations", index)), "which Linux places itself at boot"
                )
                message = f"{request.what} {where} leaves no room for {floating}"
                hint = _elsewhere(context, board, request)
                yield context.find("VT450", message, request.address_place, labels=(label,), hints=(hint,))
            for end in facts.ends_of_ram:
                if where.overlaps(end):
                    message = (
                        f"{request.what} {where} is at an end of RAM {end}, where firmware may be: the facts of board "
                        f"'{board}' are a source tree's, which does not know it"
                    )
                    known = "facts of the running board know it: vtool board import --ssh HOST -o FILE"
                    at, hints = request.address_place, (known, _elsewhere(context, board, request))
                    yield context.find("VT452", message, at, hints=hints, severity=Severity.WARNING)
                    break
            earlier.append(where)


@rule(
    "VT817",
    what="a planned region would not be reserved by Linux",
    why=(
        "It drops the whole of /reserved-memory when that node's form differs from the root's; vtool changes nothing "
        "of it."
    ),
    example="a region for a base tree whose /reserved-memory has no ranges",
    fix="Give the node the root's cells and an empty ranges; the tree's maker has to know why it was not so.",
)
def regions_would_be_reserved(context: Context) -> Iterator[Diagnostic]:
    """Linux reads the /reserved-memory of a board on which regions are set aside."""
    for board, loaded in context.facts.items():
        ignored = loaded.facts.device_tree.reserved_memory_ignored
        for name, region in context.lookup.regions_on[board].items() if ignored else ():
            owner = context.lookup.domains_on[board].get(region.owner or "")
            if owner and owner.role is Role.CONTROL and not context.is_static_shared(region):
                message = f"Linux would not reserve '{name}': it ignores /reserved-memory of board '{board}', which has"
                label = Label(loaded.document.span(("device_tree", "reserved_memory_ignored")), "the facts say so here")
                yield context.find("VT817", f"{message} {ignored}", ("regions", name), key=True, labels=(label,))


@rule(
    "VT451",
    what="a reservation of the board finds no room (warning)",
    why="Its size, alignment and ranges leave no place in the RAM that the facts state; drivers that want it fail.",
    example="a CMA of 576MiB with a range of 256MiB of RAM",
    fix="Correct the facts, or the board's device tree; boards with more RAM need facts that say so.",
)
def reservations_can_be_met(context: Context) -> Iterator[Diagnostic]:
    """What the kernel is to place itself finds room on the board, before anything is planned."""
    for board, loaded in context.facts.items():
        memory = loaded.facts.memory
        for floating in memory.settled()[1]:
            message = f"Linux finds no room on board '{board}' for {floating}, whatever is planned"
            label = Label(loaded.document.span(("dynamic_reservations", memory.floating.index(floating))), "here")
            path = ("boards", board, "facts")
            yield context.find("VT451", message, path, labels=(label,), severity=Severity.WARNING)


def _overlap(context: Context, board: str, request: HostRequest, message: str, label: Label) -> Diagnostic:
    hint = _elsewhere(context, board, request)
    return context.find("VT401", message, request.address_place, labels=(label,), hints=(hint,))


def _elsewhere(context: Context, board: str, request: HostRequest) -> str:
    """Return a hint where something could go: the first free place above its own, or the last there is."""
    others = [where for other, where in fixed_requests(context, board) if other.key != request.key]
    facts, address = context.facts[board].facts, request.address or 0
    free = places_for(request, facts, facts.memory, others)
    above = next((where for where in free if where.base > address), free[-1] if free else None)
    hint = f"leave out `{request.address_place[-1]}` and let vtool choose"
    return f"{hint}, or write {above.base:#x}, where it is free" if above else hint


@rule(
    "VT398",
    what="a static heap is too small for the domains",
    why="Xen allocates nothing outside of it then, and panics at boot: Failed to allocate requested dom0 memory.",
    example="static_heap: {size: 128MiB} beside a dom0 of 768MiB",
    fix="Give it the memory of dom0 and of every guest without static memory, and some for Xen.",
)
@rule("VT403")
def static_heaps_have_room(context: Context) -> Iterator[Diagnostic]:
    """With a static heap, Xen takes the memory of every domain that has no static memory from it."""
    for board, declared in context.topology.boards.items():
        heap = declared.hypervisor.static_heap if isinstance(declared.hypervisor, Xen) else None
        if heap is None:
            continue
        shares = largest_first(
            Share(f"'{name}'", domain.memory, ("domains", name, "memory"))
            for name, domain in context.domains_on(board)
            if domain.memory is not None and not domain.has_static_memory
        )
        needed = sum(share.amount for share in shares)
        path: KeyPath = ("boards", board, "hypervisor", "static_heap", "size")
        if heap.size < needed:
            message = (
                f"the static heap of board '{board}' has {format_size(heap.size)}, and Xen takes from it the "
                f"{format_size(needed)} of domains without static memory: {listed(shares)}"
            )
            label = Label(context.span(*shares[0].path), f"{shares[0].who} takes the largest share")
            hint = f"make it {format_size(align_up(needed, STATIC_HEAP_ALIGNMENT))}, "
            hint += "or give guests that Xen builds `static_memory`; dom0 can have none"
            yield context.find("VT398", message, path, labels=(label,), hints=(hint,))
        elif heap.size % STATIC_HEAP_ALIGNMENT:
            message = f"the static heap has {format_size(heap.size)}, not a multiple of 64KiB"
            hint = f"the next is {format_size(align_up(heap.size, STATIC_HEAP_ALIGNMENT))}"
            yield context.find("VT403", message, path, hints=(hint,))
