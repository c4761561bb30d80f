"""What all units share: the target that groups them, the users they run as, and what keeps a trial safe."""

from __future__ import annotations

from collections.abc import Iterator

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
