"""What all units share: the target that groups them, the users they run as, and what keeps a trial safe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vtool.plan.types import BOARD_FOLDER, PROGRAM, BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill

TRIAL_S = 480
"""How long a generation may run unconfirmed, in seconds, beside the time that its guests have to get ready."""


def render(board: BoardPlan) -> Iterator[Artifact]:
    """``vtool.target``, the sysusers file, the generator of units, and the units of trial and return."""
    names = {
        "units/vtool.target": "vtool.target",
        "units/vtool-booted.service": "vtool-booted.service",
        "units/vtool-revert.service": "vtool-revert.service",
        "units/vtool-revert.timer": "vtool-revert.timer",
        "unit-generator": "unit-generator",
        "sysusers.conf": "sysusers.conf",
    }
    trial_s = TRIAL_S + board.ready_timeout_s
    for name, template in names.items():
        text = fill(f"systemd/{template}.j2", board=board, folder=BOARD_FOLDER, program=PROGRAM, trial_s=trial_s)
        yield Artifact(Place.GENERATION, name, Kind.TEXT, text, ("boards", board.name))


def with_extras(board: BoardPlan, artifacts: Iterable[Artifact]) -> Iterator[Artifact]:
    """Yield artifacts, units with what the user adds to them: at their end, where a drop-in's settings count, too."""
    for artifact in artifacts:
        text = artifact.content
        for extra in board.units_not_checked:
            if artifact.place is Place.GENERATION and artifact.name == f"units/{extra.unit}":
                text += "\n".join(("", f"# The user's own, not checked by vtool:\n[{extra.section}]", *extra.lines, ""))
        yield artifact if text is artifact.content else replace(artifact, content=text)
