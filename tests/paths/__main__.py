"""``python -m tests.paths``: deploy every example to one emulated board in turn, and print what each data path showed.

The table has a line a device: how many bytes came out the same on the other side, what its backend could reach,
whether all of it is proven; then a line a way that vtool refuses, with the reason. ``--record`` writes what was
proven, and with which versions, to ``vtool/proven.json``, which `vtool paths` tells; with ``--newer``, which takes
newer releases, as one of those that it was also proven with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.integration.conftest import EXAMPLES, Bench
from vtool.data_paths import HYPERVISORS, rows
from vtool.data_paths.facts import Transport
from vtool.deploy.proof import Row
from vtool.deploy.proof.steps import REACH
from vtool.model.combinations import Combination, Suite, combination_requested, installed
from vtool.model.topology import Role
from vtool.model.validate import validate
from vtool.reading.language import load_topology
from vtool.report.paths import ALSO, BACKEND, GUEST, PROVEN, choices_of, why_not
from vtool.report.summary import proof_lines, table

KERNEL, SUITE = "vtool:linux-7.3", Suite.TRIXIE_BACKPORTS
VMM = "/usr/bin/qemu-system-aarch64"
KEYS = ("hypervisor", "data_path", "type", "transport", "program", BACKEND)
HEAD = ("path", "hypervisor", "device", "bytes checked", "reach observed", "verdict")


def main() -> int:
    """Deploy and print; return 0 when everything was proven."""
    parser = argparse.ArgumentParser(prog="python -m tests.paths", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="EXAMPLE", help="only this one (repeatable)")
    parser.add_argument("--record", action="store_true", help=f"write what was proven to {PROVEN.name}")
    parser.add_argument("--newer", action="store_true", help=f"with {KERNEL} and Debian {SUITE.value}")
    arguments = parser.parse_args()
    examples = [EXAMPLES / f"{name}.yaml" for name in arguments.only] or sorted(EXAMPLES.glob("*.yaml"))
    bench = Bench(Path(tempfile.mkdtemp(prefix="vt-")))
    found: list[tuple[tuple[str, ...], dict[str, Any]]] = []
    try:
        for example in examples:
            of_example = list(run(bench, example, *(newer(example) if arguments.newer else ())))
            found += of_example
            if arguments.record:
                entries = [entry for _, entry in of_example if entry]
                record_also(entries) if arguments.newer else record(entries)
    finally:
        subprocess.run(bench.command("board", "power", "off"), env=bench.environment, capture_output=True)
        shutil.rmtree(bench.folder)
    refused = [
        (row.key, hypervisor, "", "", "", f"refused: {reason}")
        for row in rows()
        for hypervisor in HYPERVISORS
        if (reason := why_not(row, hypervisor))
    ]
    print("\n".join(table([HEAD, *(line for line, _ in found), *refused], indent="")))
    return 0 if all(line[-1] == "proven" for line, _ in found) else 1


def newer(example: Path, *, board: bool = True, guests: bool = True) -> list[str]:
    """Return the options that give domains of an example the newer kernel, and a board under KVM the newer Debian."""
    topology, said = validate(load_topology(example)), list[str]()
    said += [
        f"boards.{name}.hypervisor.suite={SUITE.value}"
        for name, b in topology.boards.items()
        if b.hypervisor.kind == "kvm"
    ]
    for name, domain in topology.domains.items():
        if board if domain.role is Role.CONTROL else guests:
            said.append(f"domains.{name}.kernel={KERNEL}")
    return [word for one in said for word in ("--set", one)]


def run(bench: Bench, example: Path, *options: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield a line and an entry for the record for each device of a topology; no entry for what is not proven."""
    topology = validate(load_topology(example))
    done = subprocess.run(
        bench.command("deploy", example, *options, "--format", "json"),
        env=bench.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    (report,) = json.loads(done.stdout or "[{}]")
    rows = report.get("rows", [])
    print(f"{example.stem}: exit code {done.returncode}")
    print("\n".join(proof_lines([Row(**row) for row in rows])), flush=True)
    hypervisor = next(iter(topology.boards.values())).hypervisor.kind
    for name, device in topology.devices.items():
        if device.type == "iommu":
            continue  # it carries no data: the devices behind it do
        of_device = [row for row in rows if row["subject"] in (f"device {name}", f"backend of {name}")]
        checked = sum(row["bytes_checked"] for row in of_device)
        reach = next((row["seen"] for row in of_device if row["what"] == REACH or " can reach of " in row["what"]), "")
        mapped = (row for row in rows if row["subject"] in (f"backend of {device.frontend}", f"backend of {name}"))
        reach = reach or next((f"maps {row['seen']}" for row in mapped if row["proven"]), "")
        missing = [row["what"] for row in of_device if not row["proven"]]
        well = done.returncode == 0 and of_device and checked and not missing
        verdict = "proven" if well else f"NOT PROVEN: {', '.join(missing) or report.get('failure') or 'no data'}"
        asked = combination_requested(hypervisor, device)
        line = (asked.data_path.value, hypervisor, f"{name} ({device.type}, {asked})", str(checked), reach, verdict)
        entry = (
            {**choices_of(asked), "bytes_checked": checked, "reach": reach, **versions(bench, asked)} if well else {}
        )
        if entry and device.transport is Transport.XENBUS and topology.domains[device.backend].role is Role.GUEST:
            entry[BACKEND] = GUEST
        yield line, entry


def versions(bench: Bench, requested: Combination) -> dict[str, Any]:
    """Return today's date, and the versions that the board names of what takes part."""
    asked = {"Linux": "uname -r", "Xen": "xl info | sed -n 's/^xen_version *: //p'"}
    if requested.hypervisor == "kvm":
        asked |= {"QEMU": f"{VMM} --version | sed -n 's/.*version \\([^ ]*\\).*/\\1/p'"}
        del asked["Xen"]
    program = installed(requested.program)
    if program is not None and program.executable != VMM:
        # What vtool builds is part of the generation.
        found = f"ls /var/lib/vtool/current/domains/*/{Path(program.executable).name} 2>/dev/null"
        # Debian 13's passt says it to a terminal alone: it ends without writing out what it has for a pipe.
        told = "[ ! -x $P ] || script -qc \"$P --version\" /dev/null | tr -d '\\r'"
        told = f"P=$({found} | head -n 1); P=${{P:-{program.executable}}}; {told}"
        # Of a ring between guests the board has none.
        asked[requested.program.value] = f"{told} | grep -oE '(^| )[0-9][^ ]*' | head -n 1"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: said for name, command in asked.items() if (said := bench.ssh(command).strip())},
    }


def record(entries: list[dict[str, Any]]) -> None:
    """Put entries into the record, in place of earlier ones of the same choices."""
    every = (*json.loads(PROVEN.read_text()), *entries)
    by_choices: dict[tuple[str, ...], dict[str, Any]] = {}
    for entry in every:
        choices = tuple(entry.get(key, "") for key in KEYS)
        also = by_choices.get(choices, {}).get(ALSO)
        by_choices[choices] = {**entry, **({ALSO: also} if also else {})}
    PROVEN.write_text(json.dumps([by_choices[key] for key in sorted(by_choices)], indent=2) + "\n")


def record_also(entries: list[dict[str, Any]]) -> None:
    """Say of entries of the record what they were proven with as well; what it said of that Linux goes."""
    every = json.loads(PROVEN.read_text())
    for entry in entries:
        (of,) = (one for one in every if all(one.get(key) == entry.get(key) for key in KEYS))
        with_these = {key: entry[key] for key in ("date", "versions")}
        also = {other["versions"]["Linux"]: other for other in of.get(ALSO, [])} | {
            entry["versions"]["Linux"]: with_these
        }
        of[ALSO] = [also[linux] for linux in sorted(also)]
    PROVEN.write_text(json.dumps(every, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
