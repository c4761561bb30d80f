"""What the user adds to units: each lot goes to the unit of the domain, or to that of what serves the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.plan import types as plan
from vtool.plan.scope import BoardScope


def unit_extras(scope: BoardScope, guests: Sequence[plan.Guest]) -> tuple[plan.UnitExtra, ...]:
    """Decide which unit gets what. VtoolError VT437 for each device that no unit of its own serves."""
    found: list[plan.UnitExtra] = []
    for guest in guests:
        found += _of(guest.unit, ("domains", guest.name), scope.domains[guest.name].unit_extra)
    units = {device: unit for guest in guests for device, unit in plan.served_by(guest).items()}
    nowhere: list[Diagnostic] = []
    for name, device in scope.devices.items():
        if not device.unit_extra:
            continue
        if name in units:
            found += _of(units[name], ("devices", name), device.unit_extra)
        else:
            message = f"no unit of its own serves device '{name}': {device.program.value} is a part of something else"
            hint = f"`unit_extra` of '{device.frontend}' is for the unit that starts it"
            place = scope.document.span(("devices", name, "unit_extra"), key=True)
            nowhere.append(Diagnostic("VT437", message, place, hints=(hint,)))
    if nowhere:
        raise VtoolError(nowhere)
    return tuple(found)


def _of(unit: str, owner: tuple[str, str], extra: Mapping[Any, tuple[str, ...]]) -> Iterator[plan.UnitExtra]:
    for section, lines in extra.items():
        if lines:
            yield plan.UnitExtra(unit, section, lines, (*owner, "unit_extra", section))
