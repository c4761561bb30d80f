"""How long a deploy takes that finds nothing to do, on an emulated board: beside an older vtool, on the same board.

    python -m benchmarks.again [--against FOLDER] [--runs 5]

The topology is the example of a virtio pool on KVM, its guests run and are proven each time. Each vtool deploys its own
example first, which is not measured, and then again and again. Processor and disk are those of the emulation, so only
the ratio means something.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.checkouts import HERE

TOPOLOGY = Path("topology/examples/kvm-pool.yaml")


def deploy(checkout: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Deploy with a checkout's vtool; return its report of the board, with the wall seconds of the whole process."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "vtool.cli.main", "deploy", str(TOPOLOGY), "--format", "json"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    spent = time.monotonic() - begin
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}{done.stderr}\nthe deploy of {checkout} ended with {done.returncode}")
    return {**json.loads(done.stdout)[0], "process": spent}


def measured(checkout: Path, environment: dict[str, str], runs: int) -> float:
    """Return the median of deploys that change nothing."""
    deploy(checkout, environment)
    took = []
    for _ in range(runs):
        report = deploy(checkout, environment)
        if report["changed"] or not report["proven"]:
            raise SystemExit(f"a second deploy of {checkout} changed something, or is not proven")
        print(f"  {checkout}: {report['process']:.2f} {report['seconds']}", file=sys.stderr, flush=True)
        took.append(float(report["process"]))
    return statistics.median(took)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="an older checkout")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vtool-again-") as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"VTOOL_STATE": f"{folder}/state", "XDG_RUNTIME_DIR": folder}
        try:
            seconds = measured(HERE, environment, arguments.runs)
            print(f"{'a deploy again':16}{'seconds':>9}")
            print(f"{'this':16}{seconds:>9.2f}")
            if arguments.against:
                older = measured(arguments.against.resolve(), environment, arguments.runs)
                print(f"{'older':16}{older:>9.2f}{'':4}this / older {seconds / older:.2f}")
        finally:
            command = [sys.executable, "-m", "vtool.cli.main", "board", "power", "off"]
            subprocess.run(command, cwd=HERE, env=environment, capture_output=True, check=False)


if __name__ == "__main__":
    main()
