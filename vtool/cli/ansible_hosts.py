"""What Ansible's inventory plugin asks: the hosts of a topology, and how they are reached just now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtool.board.failures import BoardIsOff
from vtool.board.inventory import Inventory
from vtool.cli.common import prepare
from vtool.deploy.connection import connection_variables, jump_arguments
from vtool.render.ansible import Connection, Host, hosts_of


def reachable_hosts(
    topology: Path, overlays: Sequence[Path] = (), settings: Sequence[str] = (), inventory: Path | None = None
) -> tuple[Host, ...]:
    """Return the hosts of a topology; a board that is off, and what is behind it, is not reachable.

    Raises VtoolError with everything that is wrong with topology or inventory.
    """
    prepared = prepare(topology, overlays, settings)
    boards = Inventory(inventory)
    connections = {}
    for plan in prepared.plan.boards:
        try:
            target = boards.board(plan.name, plan.facts).ssh()
        except BoardIsOff:
            continue
        connections[plan.name] = Connection(connection_variables(target), jump_arguments(target))
    return hosts_of(prepared.topology, prepared.plan, connections)
