"""What a page of 1,000 cells takes: seconds, peak memory, and how large it is.

    python -m benchmarks.report [--cells 1000] [--repetitions 6] [--runs 3]

The run is made up (tests/planned_runs.py) of KVM's topologies and of as many workloads as give the cells. Each page
is made by a process of its own; of its seconds the least of all runs is printed: whatever else runs adds to them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.planned_runs import synthetic

ROOT = Path(__file__).resolve().parents[1]
MATRIX = ROOT / "topology" / "matrices" / "kvm-paths.yaml"
AIMS = {"seconds": 5.0, "MiB": 300.0, "page, MiB": 3.0}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vtool-report-") as folder:
        matrix = matrix_of(Path(folder), arguments.cells)
        run = synthetic(Path(folder) / "run", matrix, repetitions=arguments.repetitions, most=arguments.cells)
        size = (run / "run.jsonl").stat().st_size
        print(f"{arguments.cells} cells, {arguments.repetitions} repetitions, run.jsonl {size / 2**20:.1f} MiB")
        for name, options in (("page", ["-o"]), ("CSV", ["--csv"]), ("Parquet", ["--parquet"])):
            file = Path(folder) / "out"
            found = [measured([str(run), *options, str(file)]) for _ in range(arguments.runs)]
            seconds, processor, mib = (min(column) for column in zip(*found, strict=True))
            said = {"seconds": seconds, "MiB": mib, "page, MiB": file.stat().st_size / 2**20}
            print(f"{name:<8} {seconds:6.2f} s ({processor:.2f} s of processor time) {mib:6.1f} MiB at most, "
                  f"{said['page, MiB']:.2f} MiB written")  # fmt: skip
            if name == "page":
                for what, most in AIMS.items():
                    outcome = "met" if said[what] <= most else "not met"
                    print(f"  aim: {what} at most {most:g}: {said[what]:.2f}, {outcome}")


def matrix_of(folder: Path, cells: int) -> Path:
    """Write the matrix of KVM's paths with at least so many cells; return its path."""
    import yaml

    said = yaml.safe_load(MATRIX.read_text())
    for base in said["topologies"].values():
        base["file"] = str((MATRIX.parent / base["file"]).resolve())
    points = -(-cells // len(said["topologies"]))
    depths = [2**n for n in range(8)]
    sizes = [f"{2**n}KiB" for n in range(2, 11)]
    disk = said["workloads"]["disk"]
    some = -(-points // (len(depths) * 4))
    disk |= {
        "pattern": ["randread", "randwrite", "read", "write"],
        "depth": depths,
        "block_size": sizes[: max(1, some)],
    }
    path = folder / "matrix.yaml"
    path.write_text(json.dumps(said))
    return path


def measured(words: list[str]) -> tuple[float, float, float]:
    """Make a page in a process of its own; return seconds, those of processor time, and peak memory in MiB."""
    begin = time.perf_counter()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "vtool.cli.main", "report", *words],
        {**os.environ, "PYTHONPATH": str(ROOT)},
    )
    _, status, used = os.wait4(process, 0)
    if status:
        sys.exit(f"vtool report ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
