"""``python -m tests.survey [--merge | --lint [--codes VT842,...]] FOLDER...``: see the modules beside."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.survey.findings import survey_findings
from tests.survey.merges import merges_of
from tests.survey.trees import results_of, survey

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.survey")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--lint", action="store_true", help="lint the trees instead of planning on them")
    parser.add_argument("--merge", action="store_true", help="merge as a deploy does, under Xen and KVM, and lint")
    parser.add_argument("--codes", default="", help="with --lint: list the findings of these codes")
    parser.add_argument("--xen", action="store_true", help="with --lint: as trees of boards that Xen is to boot on")
    arguments = parser.parse_args()
    if arguments.lint:
        codes = arguments.codes.split(",") if arguments.codes else ()
        sys.exit(0 if survey_findings(arguments.folders, codes, xen=arguments.xen) else 1)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if survey(arguments.folders, Path(folder), merges_of if arguments.merge else results_of) else 1)
