"""What is wrong with a run folder, or with what reads it: the codes."""

from __future__ import annotations

import importlib.util

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.diagnostics.codes import declare

declare(
    "VT930",
    what="this is no run folder that vtool reads",
    why="Numbers of another format would be read as something else.",
    example="vtool compare of a folder whose run.jsonl begins with version 2",
    fix="Name a folder that vtool bench wrote; read it with the vtool that its first line names, or with a newer one.",
)
declare(
    "VT931",
    what="the run in this folder is another one",
    why="Numbers of two topologies or matrices in one folder could not be told apart.",
    example="vtool bench -o DIR again, after the topology was edited",
    fix="Measure into a new folder; vtool compare takes both.",
)
declare(
    "VT932",
    what="a line of a run folder is damaged",
    why="vtool writes whole lines and changes none; what cannot be read was changed by something else.",
    example="a run.jsonl with a line cut out of its middle",
    fix="Restore the file from a copy, or do what the hint says of such a line: some can be removed, some are needed.",
)
declare(
    "VT933",
    what="a run folder cannot be written",
    why="The disk is full, or the folder is not the user's.",
    example="no space left on device",
    fix="Make room, then start vtool bench again with the same folder: it goes on where it stopped.",
)
declare(
    "VT934",
    what="another vtool measures into this folder",
    why="Two processes would measure the same cells.",
    example="two vtool bench with the same -o",
    fix="Wait for the other one, or name another folder.",
)
declare(
    "VT935",
    what="the last line of a run folder is half written (warning)",
    why="vtool, its machine or the disk ended while it was written. All earlier lines are whole.",
    example="a run.jsonl without a line feed at its end",
    fix="Nothing: vtool bench keeps it in set-aside/ and measures that repetition again; others leave it out.",
)
declare(
    "VT936",
    what="the libraries that compare and report runs are not installed",
    why="They are large, and nothing else needs them: measuring does not.",
    example="vtool compare after a plain installation",
    fix="pip install 'vtool[bench]'",
)
declare(
    "VT937",
    what="runs have nothing that can be compared",
    why="That nothing got worse would be true of no measurement at all.",
    example="vtool compare of a run of disks and a run of networks",
    fix="Read the reasons; --across names in what runs may differ.",
)


def require_libraries(*names: str) -> None:
    """Refuse to go on without modules of ``vtool[bench]``, before any of them is imported. VtoolError VT936."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        hint = "pip install 'vtool[bench]'; in a clone of vtool: .venv/bin/pip install -e '.[bench]'"
        raise VtoolError(Diagnostic("VT936", f"not installed: {', '.join(missing)}", hints=(hint,)))
