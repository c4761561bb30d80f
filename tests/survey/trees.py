"""Import every device tree below some folders and count what becomes of them, by reason and with its time.

    python -m tests.survey FOLDER...

Meant for whole kernels, such as Debian's linux-image-*-arm64 unpacked with ``dpkg-deb -x``. A tree that
states no RAM is tried again with some, so that nothing else hides behind that. Exit code 1 when
anything but a diagnostic came out.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path

from vtool.board.dts import read_tree
from vtool.diagnostics import VtoolError
from vtool.model.board_facts import Source
from vtool.model.facts_import import import_facts, name_from
from vtool.model.validate import read_facts
from vtool.report.facts_yaml import facts_yaml
from vtool.report.summary import table
from vtool.units import GIB, AddressRange

SOME_RAM = (AddressRange.of_size(1 << 40, GIB),)


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
        found = ["facts", *(f"warning: {warning.code}" for warning in imported.warnings)]
        return [*found, *(["facts after VT810, with --memory"] if memory else [])]  # noqa: TRY300
    except VtoolError as error:
        return [f"refused: {finding.code}" for finding in error.diagnostics]
    except Exception as error:  # what a survey is for
        traceback.print_exc()
        return [f"WRONG: {type(error).__name__}"]


def survey(folders: list[Path], work: Path) -> bool:
    """Print the table; tell whether only facts and diagnostics came out."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.dtb"))
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    begin = time.monotonic()
    for path in paths:
        start = time.monotonic()
        for result in results_of(path, work):
            counts[result] += 1
            examples[result].append(path.name)
            seconds[result] += time.monotonic() - start
    rows = [("result", "trees", "seconds", "for example")]
    for result, count in counts.most_common():
        rows.append((result, str(count), f"{seconds[result]:.1f}", ", ".join(examples[result][:3])))
    print("\n".join(table(rows)))
    print(f"{len(paths)} trees in {time.monotonic() - begin:.1f} s")
    return not any(result.startswith("WRONG") for result in counts)
