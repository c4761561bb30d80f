"""The process that ``benchmarks.fleet`` measures as vtool: what ``vtool deploy`` does until a generation lies there.

    python -m benchmarks.push TOPOLOGY INVENTORY

Prints the seconds of each phase of each board, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vtool.base.progress import Silent
from vtool.deploy.play import playing


def main(topology: Path, inventory: Path) -> None:
    """Push to every board of the topology."""
    with playing("deploy", Silent(), tags="push") as play:
        from vtool.cli.common import image_paths, prepare, targets_of

        prepared = prepare(topology)
        targets = targets_of(prepared, argparse.Namespace(inventory=inventory))
        images = image_paths(prepared, [plan for plan, _ in targets], Silent())
        reports = play.on(prepared.topology.name, targets, images)
        for report in reports:
            if report.failure:
                raise report.failure
            if report.rebooted:
                raise SystemExit(f"board {report.board.name} wants a reboot")
        print(json.dumps({report.board.name: report.seconds for report in reports}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
