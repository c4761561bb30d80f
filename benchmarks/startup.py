"""How long vtool takes from the shell's prompt and back, as a multiple of importing its two libraries.

    make bench            (or: python -m benchmarks.startup [--runs 15])

Whole processes with bytecode caches, in turn; of each the least seconds of processor time (user and system) of
all runs, which other work on the machine disturbs least. The first run of each fills the caches and is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys

from vtool.base.rooms import room

LIBRARIES = ("-c", "import pydantic, yaml; pydantic.BaseModel")
TOPOLOGY = room("topology") / "examples" / "kvm-pool.yaml"
VTOOL = ("-m", "vtool.cli.main")
COMMANDS = {
    "libraries": LIBRARIES,
    "--help": (*VTOOL, "--help"),
    "validate": (*VTOOL, "validate", str(TOPOLOGY)),
    "plan": (*VTOOL, "plan", str(TOPOLOGY)),
}


def processor_seconds(arguments: tuple[str, ...]) -> float:
    """Return the processor time of one interpreter with these arguments, which has to succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    rounds = [{name: processor_seconds(command) for name, command in COMMANDS.items()} for _ in range(runs + 1)]
    least = {name: min(seconds[name] for seconds in rounds[1:]) for name in COMMANDS}
    print(f"{'':<10} {'seconds':>9} {'ratio':>7}")
    for name, seconds in least.items():
        print(f"{name:<10} {seconds:>9.3f} {seconds / least['libraries']:>7.2f}")


if __name__ == "__main__":
    main()
