"""Import every device tree below some folders, plan, render and merge a topology on each, and count what became of it.

    python -m tests.survey FOLDER...

Meant for whole kernels, such as Debian's linux-image-*-arm64 unpacked with ``dpkg-deb -x``. A tree that
states no RAM is tried again with some, so that nothing else hides behind that. On every board two domains
and two regions are planned under Xen; the overlay is merged into the tree by fdtoverlay, decoded and compared
with the plan, and nothing that was in the tree may have changed. Exit code 1 when anything but that or a
diagnostic came out.
"""

from __future__ import annotations

import subprocess
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from vtool.base.units import GIB, AddressRange
from vtool.board.dts import read_tree
from vtool.cli.common import prepare
from vtool.deploy.merged_tree import complete, differences
from vtool.diagnostics import Severity, VtoolError
from vtool.model.board_facts import BoardFacts, Source
from vtool.model.facts_import import import_facts, name_from
from vtool.model.validate import read_facts
from vtool.platform.devicetree import Node, Tree, read_blob
from vtool.render import render
from vtool.report.facts_yaml import facts_yaml
from vtool.report.summary import table

TOPOLOGY = """
version: 1
name: survey
boards: {b: {facts: ./facts.yaml, hypervisor: {kind: xen, image: xen, config: xen.config, cpupools: {p: {cpus: [0]}}}}}
domains:
  dom0: {role: control, memory: 64MiB, bootargs: console=hvc0}
  fe0: {start: dom0less, memory: 32MiB, xen: {static_memory: true}}
regions:
  own: {size: 2MiB, owner: dom0, use: shared-memory}
  ring: {size: 4MiB, owner: fe0, borrowers: [dom0], use: shared-memory}
event_channels: {bell: {between: [dom0, fe0]}}
"""
XEN_CONFIG = "# Xen/arm 4.20.4 Configuration\n" + "".join(
    f"CONFIG_{option}=y\n"
    for option in ("DOM0LESS_BOOT", "STATIC_MEMORY", "STATIC_SHM", "STATIC_EVTCHN", "BOOT_TIME_CPUPOOLS")
)
SOME_RAM = (AddressRange.of_size(0x4000_0000, GIB),)


def results_of(path: Path, work: Path) -> list[str]:
    """Return what importing one tree came to: ``facts``, codes, or the name of what it raised."""
    try:
        tree = read_tree(path)
        source = Source(tree="survey", file=path.name)
        for memory in ((), SOME_RAM):
            try:
                imported = import_facts(tree, name_from(path.stem), source, memory=memory)
                break
            except VtoolError as error:
                codes = [finding.code for finding in error.diagnostics]
                if "VT810" not in codes:
                    return [f"refused: {code}" for code in codes]
        (work / "facts.yaml").write_text(facts_yaml(imported.facts), encoding="utf-8")
        if read_facts(work / "facts.yaml").facts != imported.facts:
            return ["WRONG: what was written reads back as something else"]
        merged = merge(path, tree, imported.facts, work)
        found = ["facts", merged, *(f"warning: {warning.code}" for warning in imported.warnings)]
        return [*found, *(["facts after VT810, with --memory"] if memory else [])]  # noqa: TRY300
    except VtoolError as error:
        return [f"refused: {finding.code}" for finding in error.diagnostics]
    except Exception as error:  # what a survey is for
        traceback.print_exc()
        return [f"WRONG: {type(error).__name__}"]


def merge(path: Path, base: Tree, facts: BoardFacts, work: Path) -> str:
    """Plan a topology for the board, render it, merge it into the tree, and compare."""
    (work / "topology.yaml").write_text(TOPOLOGY)
    (work / "xen.config").write_text(XEN_CONFIG)
    blob = work / "base.dtb"
    blob.write_bytes(path.read_bytes())
    try:
        board = prepare(work / "topology.yaml").plan.boards[0]
        overlay = next(a for a in render(board).artifacts if a.name == "board.dts").content
        subprocess.run(["dtc", "-q", "-@", "-o", work / "o.dtbo"], input=overlay.encode(), check=True)
        command = ["fdtoverlay", "-i", blob, "-o", work / "merged.dtb", work / "o.dtbo"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"WRONG: fdtoverlay: {done.stderr.strip()[:60]}"
        merged = read_blob(complete((work / "merged.dtb").read_bytes(), board, base))
    except VtoolError as error:
        return f"not planned: {next(found.code for found in error.diagnostics if found.severity is Severity.ERROR)}"
    wrong = [*differences(merged, board), *changed(base.root, merged.root)]
    return f"WRONG: {wrong[0][:100]}" if wrong else "merged as planned"


def changed(before: Node, after: Node) -> Iterator[str]:
    """Yield what of the base tree is not in the merged one as it was."""
    for name, found in before.values.items():
        kept = after.values.get(name)
        if kept is None or kept != found:
            yield f"{before.path} {name} changed"
    for name, child in before.children.items():
        if name not in after.children:
            yield f"{child.path} is gone"
        else:
            yield from changed(child, after.children[name])


def survey(folders: list[Path], work: Path, results: Callable[[Path, Path], list[str]] = results_of) -> bool:
    """Print the table; return whether only facts and diagnostics came out."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.dtb"))
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    begin = time.monotonic()
    for path in paths:
        start = time.monotonic()
        for result in results(path, work):
            counts[result] += 1
            examples[result].append(path.name)
            seconds[result] += time.monotonic() - start
    rows = [("result", "trees", "seconds", "for example")]
    for result, count in counts.most_common():
        rows.append((result, str(count), f"{seconds[result]:.1f}", ", ".join(examples[result][:3])))
    print("\n".join(table(rows)))
    print(f"{len(paths)} trees in {time.monotonic() - begin:.1f} s")
    return not any(result.startswith("WRONG") for result in counts)
