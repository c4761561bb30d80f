"""How long vtool takes from the shell's prompt and back, as a multiple of importing its two libraries.

    make bench            (or: python -m benchmarks.startup [--runs 15] [--against FOLDER])

With an older checkout (``git worktree add --detach FOLDER COMMIT``) both are measured in turns, with the same Python
and libraries, and the last column is this one's time as a multiple of that one's.

Whole processes with bytecode caches, in turn; of each the least seconds of processor time (user and system) of
all runs, which other work on the machine disturbs least. The first run of each fills the caches and is not counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.checkouts import HERE, measured

LIBRARIES = ("-c", "import pydantic, yaml; pydantic.BaseModel")
TOPOLOGY = Path("topology", "examples", "kvm-pool.yaml")
VTOOL = ("-m", "vtool.cli.main")
COMMANDS = {
    "libraries": LIBRARIES,
    "--help": (*VTOOL, "--help"),
    "validate": (*VTOOL, "validate", str(TOPOLOGY)),
    "plan": (*VTOOL, "plan", str(TOPOLOGY)),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="an older checkout, measured in turns with this")
    arguments = parser.parse_args()
    checkouts = [HERE, *([arguments.against.resolve()] if arguments.against else [])]
    rounds = [
        {(name, at): measured(words, at).seconds for name, words in COMMANDS.items() for at in checkouts}
        for _ in range(arguments.runs + 1)
    ]
    least = {key: min(seconds[key] for seconds in rounds[1:]) for key in rounds[0]}
    print(f"{'':<10} {'seconds':>9} {'ratio':>7}" + (f" {'older':>9} {'to it':>7}" if arguments.against else ""))
    for name in COMMANDS:
        seconds, *older = (least[name, at] for at in checkouts)
        print(f"{name:<10} {seconds:>9.3f} {seconds / least['libraries', HERE]:>7.2f}", end="")
        print("".join(f" {other:>9.3f} {seconds / other:>7.2f}" for other in older))


if __name__ == "__main__":
    main()
