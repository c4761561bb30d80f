"""``python -m tests.chaos``: break deploys on purpose, one after the other, on emulated boards and on an sshd.

``--on both`` is vtool's own emulated board and the sshd; ``foreign`` is one whose system nobody made for vtool.

The same seed chooses the same faults, requests and moments; what the machine does in between is its own. The table has
a line a fault: when it struck, what ran afterwards (the generation of before, or the new one), how long it took.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos import boards, sshd
from tests.chaos.boards import Subject
from tests.chaos.faults import FAULTS, Fault, strike_at
from tests.chaos.outcome import Broken, Outcome
from tests.integration.conftest import Bench, takes_ctrl_c
from vtool.report.summary import table

EMULATED = {"board": boards.own, "foreign": boards.foreign}
LINES, AFTER_S = 10, 12.0
"""A strike comes after so many lines of a deploy's progress at most, and so many seconds later at most."""


def main() -> int:
    """Break deploys; return 0 when both came through all of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--on", choices=(*EMULATED, "sshd", "both"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--faults", type=int, default=200, help="how many; of both, nine of ten on the sshd (default 200)"
    )
    parser.add_argument("--only", type=int, action="append", default=[], help="only this number (repeatable)")
    arguments = parser.parse_args()
    on_sshd = {"sshd": arguments.faults, "both": arguments.faults * 9 // 10}.get(arguments.on, 0)
    on_board = arguments.faults - on_sshd
    outcomes: list[Outcome] = []
    if on_sshd:
        outcomes += sshd.run(arguments.seed, arguments.only or range(1, on_sshd + 1))
    if on_board:
        folder = Path(tempfile.mkdtemp(prefix="vt-"))
        subject = EMULATED.get(arguments.on, boards.own)(folder)
        bench = subject.bench
        try:
            outcomes += run(subject, arguments.seed, arguments.only or range(1, on_board + 1))
        finally:
            subprocess.run(
                bench.command("board", "power", "off", bench.board), env=bench.environment, capture_output=True
            )
            shutil.rmtree(folder)
    broken = [outcome for outcome in outcomes if outcome.broken]
    print(f"\nseed {arguments.seed}: {len(outcomes)} faults, {len(broken)} that the board did not come through")
    rows = [("on", "fault", "times", "before", "new", "broken")]
    for on, fault in dict.fromkeys((outcome.on, outcome.fault) for outcome in outcomes):
        of = [outcome for outcome in outcomes if (outcome.on, outcome.fault) == (on, fault)]
        runs = [sum(outcome.runs == what for outcome in of) for what in ("before", "new")]
        rows.append((on, fault, *map(str, (len(of), *runs, sum(bool(outcome.broken) for outcome in of)))))
    print("\n".join(table(rows, indent="")))
    return 1 if broken else 0


def run(subject: Subject, seed: int, numbers: Iterable[int]) -> Iterator[Outcome]:
    """Yield an outcome a fault on an emulated board, each printed as it comes."""
    topology = subject.bench.folder / "topology.yaml"
    topology.write_text(subject.topology)
    if not subject.bench.deploy(topology)["proven"]:
        raise SystemExit("the first deploy, without a fault, is not proven")
    for number in numbers:
        # A fault of its own generator, so that one can be replayed without those before it.
        fault, rng = order(seed)[(number - 1) % len(FAULTS)], Random(f"{seed} {number}")
        yield Outcome(subject.bench.board, number, fault.name).measure(partial(one, subject, topology, rng, fault))


def order(seed: int) -> list[Fault]:
    """Return every kind of fault once, in this seed's order."""
    faults = list(FAULTS)
    Random(seed).shuffle(faults)
    return faults


def one(subject: Subject, topology: Path, rng: Random, fault: Fault, outcome: Outcome) -> None:
    """Break one deploy, look at the board, deploy plainly."""
    bench = subject.bench
    number, reboots = outcome.number, rng.random() < 0.5
    words = f"    bootargs: chaos={number}\n" if reboots else ""
    text = subject.topology.replace("    memory: 256MiB\n", f"    memory: {128 + 2 * (number % 60)}MiB\n")
    good = text.replace("    role: control\n", f"    role: control\n{words}")
    after = "    role: control\n" if "bootargs" in fault.request else "  fe0:\n"
    bad = subject.deadly if fault.dies else text.replace(after, after + fault.request)
    outcome.request = "reboot" if reboots or "bootargs" in fault.request or fault.dies else "switch"
    before = truth(bench)
    outcome.moment, code = broken_deploy(bench, topology, bad if fault.request or fault.dies else good, fault, rng)
    bench.vtool("board", "up", bench.board)
    seen = settled(bench, before)
    outcome.runs = "before" if seen["running"] == before["running"] else "new"
    if outcome.runs == "before" and code == 0:
        raise Broken("the deploy said that it did, and what was there before runs")
    if outcome.runs == "new" and fault.fails:
        raise Broken(f"{seen['running']} runs, which cannot work")
    topology.write_text(good)
    report = bench.deploy(topology)
    if not (report["proven"] and report["confirmed"]):
        raise Broken(f"a plain deploy afterwards is not proven: {report['failure']}")
    if truth(bench)["good"] != report["generation"]:
        raise Broken("what was proven is not what boots")


def broken_deploy(bench: Bench, topology: Path, text: str, fault: Fault, rng: Random) -> tuple[str, int]:
    """Deploy with a fault; return its moment and the deploy's exit code. Broken when that is as it must not be."""
    topology.write_text(text)
    line, after_s = rng.randrange(LINES), rng.uniform(0, AFTER_S)
    with (
        fault.around(bench, rng) if fault.around else contextlib.nullcontext(),
        subprocess.Popen(
            bench.command("deploy", topology),
            env=bench.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            preexec_fn=takes_ctrl_c,  # noqa: PLW1509 - no threads
        ) as deploy,
    ):
        moment = strike_at(bench, deploy, fault.strike, line, after_s) if fault.strike else "all the while"
        assert deploy.stderr is not None
        said = deploy.stderr.read()
        code = deploy.wait(900)
    if "Traceback" in said:
        raise Broken(f"a traceback: {said[-2000:]}")
    if fault.fails and code == 0:
        raise Broken("a deploy that cannot work said it did")
    return moment, code


def truth(bench: Bench) -> dict[str, Any]:
    """Return what a board says without vtool's own program: what runs, what boots, what is damaged."""
    script = r"""
    running=$(readlink /run/vtool-current); echo "running ${running##*/}"
    booted=$(grep -o 'vtool.generation=[0-9a-f]*' /proc/cmdline); echo "booted ${booted#*=}"
    state=$(dd if=/dev/vda bs=512 skip=2040 count=1 2>/dev/null | tr -d '\0')
    echo "$state" | sed -n 's/^vtool_good=/good /p; s/^vtool_trial=/trial /p'
    echo "generation $(cat "$running/generation.json")"
    """
    lines = [line.split(" ", 1) for line in bench.ssh(script).splitlines()]
    said = {"good": "", "trial": "", **{line[0]: line[1] for line in lines if len(line) == 2}}
    generation = json.loads(said.pop("generation", "") or "null")
    if generation is None:
        return {**said, "damaged": []}
    paths = {
        f"/var/lib/vtool/generations/{said['running']}/{file['name']}"
        if file["place"] == "generation"
        else f"/boot/vtool/{generation['boot_set']}/{file['name']}": file["sha256"]
        for file in generation["files"]
    }
    sums = bench.ssh("xargs sha256sum 2>&1 || true", "\n".join(paths).encode())
    seen = {name: digest for digest, _, name in (line.partition("  ") for line in sums.splitlines())}
    return {**said, "damaged": sorted(path.rsplit("/", 1)[-1] for path in paths if seen.get(path) != paths[path])}


def settled(bench: Bench, before: dict[str, Any]) -> dict[str, Any]:
    """Return the truth once the board is at rest; Broken when it is no whole generation, or status says otherwise."""
    seen = truth(bench)
    done = subprocess.run(
        bench.command("status", bench.folder / "topology.yaml", "--format", "json"),
        env=bench.environment,
        capture_output=True,
        text=True,
    )
    if not done.stdout:
        raise Broken(f"status says nothing of the board: {done.stderr}")
    told = json.loads(done.stdout)[bench.board]
    said = (told["deployed"] or {}).get("generation", "")
    if said != seen["running"]:
        raise Broken(f"status says that {said or 'nothing'} runs, the board runs {seen['running'] or 'nothing'}")
    if told["confirmed"] != (seen["good"] == seen["running"]):
        raise Broken(f"status says confirmed {told['confirmed']}, the boot state has {seen['good']}")
    if set(told["damaged"]) < set(seen["damaged"]):
        raise Broken(f"status names {told['damaged']} as damaged, these are: {seen['damaged']}")
    if not seen["running"]:
        raise Broken("the board runs none of vtool's generations")
    return seen


if __name__ == "__main__":
    sys.exit(main())
