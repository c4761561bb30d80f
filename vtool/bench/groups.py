"""What is compared with each other, and so has to run on one board; how that is spread over several boards.

Enter at ``groups_of`` and ``spread``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vtool.base.records import record
from vtool.bench.estimates import Times
from vtool.results.records import Cell
from vtool.results.run_folder import RunRead


@record
class Group:
    """Cells that are compared with each other: a baseline, those that have it, and those that have one of these."""

    cells: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the name of its first cell."""
        return self.cells[0]


def groups_of(cells: Iterable[Cell]) -> list[Group]:
    """Return the groups of cells that can be, in their order; a cell that is compared with nothing is alone in one."""
    can_be = {cell.id: cell for cell in cells if not cell.faults}
    group_of = {name: {name} for name in can_be}
    for cell in can_be.values():
        if cell.baseline in can_be:
            both = group_of[cell.id] | group_of[cell.baseline]
            group_of |= dict.fromkeys(both, both)
    place = {name: number for number, name in enumerate(can_be)}
    whole = {frozenset(group) for group in group_of.values()}
    return sorted((Group(tuple(sorted(one, key=place.__getitem__))) for one in whole), key=lambda one: place[one.name])


def spread(
    groups: Iterable[Group], places: Sequence[str], times: Times, fixed: Mapping[str, str]
) -> dict[str, list[Group]]:
    """Return what each place measures: the longest groups first, each where that is over first.

    A place deploys a variant once a round for all of its groups. ``fixed`` has the place of groups that began there, by
    their names.
    """
    given = list(groups)
    found: dict[str, list[Group]] = {place: [] for place in places}
    seconds = dict.fromkeys(places, 0.0)
    deployed: dict[str, dict[tuple[int, str], float]] = {place: {} for place in places}
    needs = {group.name: times.deployments(group.cells) for group in given}
    takes = {group.name: times.repetitions(group.cells) for group in given}

    def over(place: str, group: Group) -> float:
        more = (needed for one, needed in needs[group.name].items() if one not in deployed[place])
        return seconds[place] + takes[group.name] + sum(more)

    def begun(group: Group) -> bool:
        return fixed.get(group.name) in found

    for group in sorted(given, key=lambda one: (not begun(one), -takes[one.name] - sum(needs[one.name].values()))):
        place = fixed[group.name] if begun(group) else min(places, key=lambda one: over(one, group))
        seconds[place] = over(place, group)
        deployed[place] |= needs[group.name]
        found[place].append(group)
    order = {group.name: number for number, group in enumerate(given)}
    return {place: sorted(mine, key=lambda one: order[one.name]) for place, mine in found.items()}


def began_on(group: Group, was: RunRead) -> set[str]:
    """Return the boards that repetitions of a group which count were measured on."""
    mine = [one for cell in group.cells for one in was.sound(cell)]
    return {was.environments[one.environment].board for one in mine if one.environment is not None}
