"""``vtool status``."""

from __future__ import annotations

import argparse
from typing import Any

from vtool.board.protocols import Board
from vtool.board.shell import open_shell
from vtool.cli.arguments import add_limit, add_topology
from vtool.cli.common import failures_data, prepare_arguments, print_failures, targets_of
from vtool.cli.output import add_format, print_json, print_lines
from vtool.deploy.asking import NOTHING, board_state, each_board
from vtool.diagnostics import ExitCode
from vtool.plan.types import BoardPlan
from vtool.report.summary import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_limit(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what is there; exit code 3 when it is not what the topology says."""
    prepared = prepare_arguments(arguments)
    targets = targets_of(prepared, arguments)
    states, failed = each_board(targets, lambda _, board: state_of(board))
    if arguments.format == "json":
        print_json(states | failures_data(failed))
    else:
        for plan, _ in targets:
            print_lines(_lines(plan, states[plan.name]) if plan.name in states else [f"board     {plan.name}  unknown"])
    print_failures(failed)
    name = prepared.topology.name
    as_planned = all(plan.name in states and _is_as_planned(name, plan, states[plan.name]) for plan, _ in targets)
    return ExitCode.OK.value if as_planned else ExitCode.BOARD_FAILED.value


def state_of(board: Board) -> dict[str, Any]:
    """Return the board's state; ``power`` says whether it is on at all."""
    power = "not made"
    if board.exists():
        with board.hold():
            if board.power.is_on():
                with open_shell(board) as shell:
                    return {"power": "on", **board_state(shell)}
        power = "off"
    return {"power": power, **NOTHING}


def _is_as_planned(topology: str, plan: BoardPlan, state: dict[str, Any]) -> bool:
    deployed = state["deployed"]
    return (
        deployed is not None
        and deployed["topology"] == topology
        and state["confirmed"]
        and not state["damaged"]
        and set(state["domains"]) == {guest.name for guest in plan.guests}
        and all(domain["running"] for domain in state["domains"].values())
        and all(backend["unit"] == "active" for backend in state["backends"].values())
    )


def _lines(plan: BoardPlan, state: dict[str, Any]) -> list[str]:
    rows = [("board", plan.name, f"power {state['power']}")]
    if state["power"] == "on" and "uptime_s" in state:
        system = f"Linux {state['kernel']}, hypervisor {_hypervisor(state)}, up {state['uptime_s']:.0f} s"
        rows.append(("system", plan.name, system))
    deployed = state["deployed"]
    told = f"'{deployed['topology']}', generation {deployed['generation']}" if deployed else "nothing"
    if deployed and not state["confirmed"]:
        told += f", not confirmed: any boot leads to {state['good'] or 'what the board came with'}"
    rows.append(("deployed", plan.name, told))
    if state["lock"]:
        rows.append(("held", plan.name, f"by {state['lock']['who']} since {state['lock']['since']}"))
    for name, domain in state["domains"].items():
        running = "running" if domain["running"] else "not running"
        rows.append(("domain", name, f"{running}, unit {domain['unit']}"))
    rows += [("backend", name, f"unit {backend['unit']}") for name, backend in state["backends"].items()]
    rows += [("drift", name, "is not what was deployed") for name in state["damaged"]]
    return list(table(rows, indent=""))


def _hypervisor(state: dict[str, Any]) -> str:
    return "xen" if state["hypervisor"] == "xen" else "kvm" if state["kvm"] else "none"
