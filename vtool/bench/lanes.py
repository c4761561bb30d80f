"""Boards that stand for those of a topology: each lane has one for every board, and measures on them alone.

Enter at ``lanes_of``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from vtool.base.records import record
from vtool.bench.cells import Planned


@record
class Lane:
    """Boards that measure together; ``stands`` has the inventory's name of what stands for each of a topology's."""

    stands: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return the names of its boards."""
        return " and ".join(self.stands.values())

    @property
    def boards(self) -> frozenset[str]:
        """Return its boards, as the inventory names them."""
        return frozenset(self.stands.values())


def boards_of(planned: Planned) -> list[str]:
    """Return the boards of all variants that can be, as their topologies name them."""
    return list(dict.fromkeys(board.name for ready in planned.ready.values() for board in ready.plan.boards))


def lanes_of(boards: Iterable[str], standing_for: Callable[[str], Sequence[str]]) -> list[Lane]:
    """Return as many lanes as there are boards for, none in two of them; ``standing_for`` names those of a board."""
    offered = {board: list(standing_for(board)) for board in boards}
    lanes: list[Lane] = []
    used: set[str] = set()
    while offered:
        stands: dict[str, str] = {}
        for board, names in offered.items():
            free = [name for name in names if name not in used]
            if not free:
                return lanes
            stands[board] = free[0]
            used.add(free[0])
        lanes.append(Lane(stands))
    return lanes
