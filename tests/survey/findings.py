"""Lint every device tree below some folders and count what is found.

    python -m tests.survey --lint FOLDER...

One row a code and severity: findings, trees, and the first words of what is said, so that each kind can be judged.
``--codes VT842,VT845`` lists every finding of those instead; ``--xen`` judges each as the tree of a board for Xen.
Exit code 1 when a rule raised anything.
"""

from __future__ import annotations

import re
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from vtool.board.dts import read_tree
from vtool.lint import Finding, lint
from vtool.platform.xen_releases import NEWEST
from vtool.report.summary import table


def survey_findings(folders: Iterable[Path], codes: Collection[str] = (), *, xen: bool = False) -> bool:
    """Print the table; return whether every tree was read and judged."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.dtb"))
    findings: Counter[tuple[str, str]] = Counter()
    trees: dict[tuple[str, str], list[Path]] = defaultdict(list)
    with_any = failed = 0
    start = time.process_time()
    for path in paths:
        try:
            _, found = lint(read_tree(path), NEWEST if xen else None)
        except Exception:  # what a survey is for
            traceback.print_exc()
            failed += 1
            continue
        with_any += bool(found)
        for finding in found:
            key = (finding.code, kind_of(finding))
            if not findings[key] or trees[key][-1] != path:
                trees[key].append(path)
            findings[key] += 1
            if finding.code in codes:
                print(f"{path}: {finding.code} {finding.severity.value}: {finding.node.path}: {finding.message}")
    spent = time.process_time() - start
    if not codes:
        rows = [("code", "findings", "trees", "what", "for example")]
        for (code, what), count in sorted(findings.items()):
            rows.append((code, str(count), str(len(trees[code, what])), what, trees[code, what][0].stem))
        print("\n".join(table(rows)))
    print(f"{len(paths)} trees, {with_any} with findings, {spent:.1f} s of processor time")
    return not failed


def kind_of(finding: Finding) -> str:
    """Return severity and message with names and numbers left out: findings that say the same."""
    text = re.sub(r"'[^']*'", "'…'", finding.message)
    text = re.sub(r"\[0x[0-9a-f]+, 0x[0-9a-f]+\)", "[…)", text)
    text = re.sub(r"0x[0-9a-f]+|\b\d+(\.\d+)?\b", "N", text)
    return f"{finding.severity.value}: {text}"
