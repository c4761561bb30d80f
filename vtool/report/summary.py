"""The summary a person reads after a deploy, and the plan as text and data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

from vtool.plan.types import BoardPlan, KvmGuest, Origin, Plan, XenBoot, XenGuest
from vtool.units import AddressRange, format_size


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yield rows as aligned columns; the last column is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        yield (indent + "  ".join([*cells, row[-1]])).rstrip()


def printable(text: str) -> str:
    """Replace what neither XML nor a terminal should get: control characters, lone surrogates (paths have them)."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the plan: every address with its origin, every interrupt, socket and unit."""
    for board in plan.boards:
        yield f"board {board.name}: {board.hypervisor} on {board.facts.description}"
        yield from table(list(_board_rows(board)))


def _board_rows(board: BoardPlan) -> Iterator[tuple[str, str, str]]:
    memory = format_size(board.control.memory_bytes) if board.control.memory_bytes else "all that is left"
    yield ("domain", board.control.name, f"control, {board.control.cpus} CPU(s), memory {memory}")
    for region in board.host_regions:
        where = f"host-physical {region.range}, {format_size(region.range.size_bytes)}"
        yield ("region", region.region, f"{where}, {region.origin.kind.value}: {region.origin.reason}")
    for guest in board.kvm_guests:
        yield from _kvm_rows(guest)
    for domain in board.xen_guests:
        yield from _xen_rows(domain)
    yield from _xen_boot_rows(board.xen_boot)
    for bridge in board.bridges:
        yield ("bridge", bridge.name, f"{bridge.address}, {bridge.unit}")


def _kvm_rows(guest: KvmGuest) -> Iterator[tuple[str, str, str]]:
    ram = f"RAM guest-physical {guest.ram} {format_size(guest.ram.size_bytes)} private"
    yield ("domain", guest.name, f"{guest.cpus} CPU(s), {ram}, {guest.unit}")
    for pool in guest.pools:
        where = f"guest-physical {pool.range}, {format_size(pool.range.size_bytes)} shared"
        yield ("region", pool.region, f"{where}, {pool.origin.kind.value}: {pool.origin.reason}")
    for disk in guest.devices:
        place = f"mmio slot {disk.slot} at {disk.mmio_base:#x}, spi_index {disk.spi_index}"
        yield ("device", disk.name, f"{place}, pool '{disk.pool.region}', {disk.socket}")
        yield ("backend", disk.name, f"qemu-storage-daemon on {disk.disk_path}, {disk.backend_unit}")


def _xen_rows(guest: XenGuest) -> Iterator[tuple[str, str, str]]:
    yield ("domain", guest.name, f"{guest.cpus} CPU(s), memory {format_size(guest.memory_bytes)}, {guest.unit}")
    for disk in guest.disks:
        yield ("device", disk.name, f"PV disk {disk.virtual_device} (grant map), blkback on {disk.disk_path}")
    for interface in guest.interfaces:
        ends = f"{interface.frontend_address} to {interface.backend_address}"
        yield (
            "device",
            interface.name,
            f"PV network (grant copy) {interface.mac}, {ends} on {interface.bridge}",
        )


def _xen_boot_rows(boot: XenBoot) -> Iterator[tuple[str, str, str]]:
    if boot.static_heap is not None:
        yield ("memory", "heap", f"host-physical {boot.static_heap.range}, {_origin(boot.static_heap.origin)}")
    for pool in boot.cpupools:
        yield ("cpupool", pool.name, f"CPUs {', '.join(map(str, pool.cpus))}, scheduler {pool.scheduler or 'default'}")
    for guest in boot.guests:
        ram = ", ".join(map(str, guest.ram))
        yield ("domain", guest.name, f"{guest.cpus} CPU(s), RAM guest-physical {ram}, started by Xen at boot")
        if guest.static_memory is not None:
            static = guest.static_memory
            yield ("memory", guest.name, f"host-physical {static.range}, {_origin(static.origin)}")
        for module in guest.modules:
            yield ("module", module.file, f"loaded in host-physical {module.window}")
    everybody = [("dom0", boot.shared, boot.event_channels)]
    everybody += [(guest.name, guest.shared, guest.event_channels) for guest in boot.guests]
    for name, views, ends in everybody:
        for view in views:
            host = f"host-physical {view.host}" if view.host else "host-physical anywhere"
            where = f"{host} ({_origin(view.host_origin)}), in '{name}' {view.inside} ({_origin(view.inside_origin)})"
            yield ("region", view.region, f"{where}, {view.role or 'shared by Xen'}")
        for end in ends:
            there = f"port {end.other_port} of '{end.other_domain}'"
            yield ("channel", end.channel, f"port {end.port} of '{name}' ({_origin(end.origin)}) to {there}")


def _origin(origin: Origin) -> str:
    return f"{origin.kind.value}: {origin.reason}"


def plan_data(value: Any) -> Any:
    """Return a plan (or any part of it) as plain data; ranges as base, end and size."""
    if isinstance(value, AddressRange):
        return {"base": value.base, "end": value.end, "size_bytes": value.size_bytes}
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return {name: plan_data(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, list | tuple):
        return [plan_data(item) for item in value]
    return value


def proof_lines(rows: Sequence[Any]) -> Iterator[str]:
    """Yield a line a row: proven or not, of what, what was seen, what was expected where it differs."""
    shown = []
    for row in rows:
        seen = row.seen if row.proven else f"expected {row.expected}; seen {row.seen}"
        shown.append(("proven" if row.proven else "FAILED", row.subject, row.what, seen))
    yield from table(shown)


def rows_data(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return proof rows as plain data."""
    return [asdict(row) for row in rows]
