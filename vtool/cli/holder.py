"""The process that holds boards for somebody's own play: ``python -m vtool.cli.holder SOCKET PID``.

Ansible's first task starts it (``plugin_utils/holder.py`` of the collection). It says ``ready`` once it listens, and
ends, letting go of every board, when the process PID does: at the play's end, after Ctrl-C, when it is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vtool.base.once import once
from vtool.base.progress import Silent
from vtool.cli.common import image_paths, prepare, require_deployable, targets_of
from vtool.cli.difference import difference_lines
from vtool.deploy.deployment import Boards, boards
from vtool.deploy.holder import Request, listen
from vtool.deploy.tasks import failed
from vtool.diagnostics import VtoolError


class Holder:
    """The boards of each topology that a play names, read when its first task asks."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._boards = once(self._read)

    def answer(self, request: Request) -> Mapping[str, Any]:
        """Do what a task asks for; what goes wrong is what the task says."""
        try:
            return self._boards(json.dumps(request["source"], sort_keys=True)).answer(request)
        except VtoolError as error:
            return failed(error)
        except Exception:  # a bug ends its task, not the hold on the boards
            return {"failed": True, "msg": f"a bug in vtool: {traceback.format_exc()}"}

    def _read(self, text: str) -> Boards:
        source = json.loads(text)
        overlays = [Path(path) for path in source.get("overlays", ())]
        prepared = prepare(Path(source["topology"]), overlays, source.get("set", ()))
        require_deployable(prepared)
        inventory = Path(source["inventory"]) if source.get("inventory") else None
        targets = targets_of(prepared, argparse.Namespace(inventory=inventory))
        # Images are made when the first is asked for, and no sooner: only a deploy wants any.
        made = once(lambda: image_paths(prepared, [plan for plan, _ in targets], Silent()))

        def image_path(reference: str) -> Path:
            return made()(reference)

        held = self._stack.enter_context(boards(prepared.topology.name, targets, image_path, Silent()))
        held.work = replace(held.work, describe=lambda found: list(difference_lines(prepared.document, found)))
        return held


def main(socket: str, process: str) -> int:
    """Hold boards until a process ends."""
    watched = os.pidfd_open(int(process))
    with contextlib.ExitStack() as stack, listen(Path(socket), Holder(stack).answer):
        print("ready", flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads any more
        os.dup2(1, 2)
        select.select([watched], [], [])
    Path(socket).with_suffix(".start").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
