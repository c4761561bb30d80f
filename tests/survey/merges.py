"""Merge planned topologies into every device tree below some folders as a deploy does, and lint what comes out.

    python -m tests.survey --merge FOLDER...

Two topologies a tree: under Xen (4.20.4) with guests that Xen builds, static memory, shared memory, a CPU pool and a
region; under KVM with a region. One row a result. Nothing that was in the tree may have changed, without exceptions;
lint may find nothing in the merged tree that it does not find in the base. A tree that states no RAM is planned for
with some. Exit code 1 when anything but that or a diagnostic came out.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from tests.survey.trees import SOME_RAM, TOPOLOGY, XEN_CONFIG, changed
from vtool.board.dts import read_blob_and_tree
from vtool.cli.common import prepare
from vtool.deploy.base_tree import fitted, refused
from vtool.deploy.merge import merge_host
from vtool.deploy.merged_tree import as_booted, new_faults
from vtool.diagnostics import Severity, VtoolError
from vtool.lint import lint
from vtool.model.board_facts import BoardFacts, Source
from vtool.model.facts_import import import_facts, name_from
from vtool.platform.devicetree import Tree, read_blob
from vtool.render.fragments import fragments
from vtool.report.facts_yaml import facts_yaml

KVM = """
version: 1
name: survey
boards: {b: {facts: ./facts.yaml, hypervisor: {kind: kvm}}}
domains: {host: {role: control}}
regions: {own: {size: 2MiB, owner: host, use: shared-memory}}
"""


def merges_of(path: Path, work: Path) -> list[str]:
    """Return what merging each topology into one tree came to."""
    try:
        blob, tree = read_blob_and_tree(path)
        facts = _facts(path, tree)
    except VtoolError as error:
        return [f"no facts: {found.code}" for found in error.diagnostics]
    (work / "facts.yaml").write_text(facts_yaml(facts), encoding="utf-8")
    (work / "xen.config").write_text(XEN_CONFIG)
    (work / "base.dtb").write_bytes(blob)
    found = []
    for kind, text in (("xen", TOPOLOGY), ("kvm", KVM)):
        (work / "topology.yaml").write_text(text)
        try:
            with redirect_stderr(StringIO()):  # warnings
                found += [f"{kind}: {result}" for result in _merge(tree, work)]
        except VtoolError as error:
            found += [f"{kind}: not planned or merged: {one}" for one in _codes(error)]
        except Exception as error:  # what a survey is for
            traceback.print_exc()
            found.append(f"{kind}: WRONG: {type(error).__name__}")
    return found


def _codes(error: VtoolError) -> list[str]:
    return sorted({finding.code for finding in error.diagnostics if finding.severity is Severity.ERROR})


def _facts(path: Path, tree: Tree) -> BoardFacts:
    source = Source(tree="survey", file=path.name)
    try:
        return import_facts(tree, name_from(path.stem), source).facts
    except VtoolError as error:
        if "VT810" not in {finding.code for finding in error.diagnostics}:
            raise
    return import_facts(tree, name_from(path.stem), source, memory=SOME_RAM).facts


def _merge(base: Tree, work: Path) -> Iterator[str]:
    board = fitted(prepare(work / "topology.yaml").plan.boards[0], base, "the tree")
    if errors := [finding for finding in refused(board, base) if finding.severity is Severity.ERROR]:
        raise VtoolError(errors)
    (work / "board.dts").write_text(next(iter(fragments(board))).text)
    blob = merge_host(work / "base.dtb", work / "board.dts", board)
    merged = read_blob(blob)
    if wrong := list(changed(base.root, merged.root)):
        yield f"WRONG: {wrong[0][:100]}"
    before = {(finding.code, finding.node.path) for finding in lint(base)[1]}
    for finding in lint(merged)[1]:
        if (finding.code, finding.node.path) not in before:
            yield f"lint finds {finding.code} ({finding.severity.value}) that the base has not"
    loaders: tuple[dict[str, int] | None, ...] = (None, {})
    for sizes in loaders:
        for fault in new_faults(base, read_blob(as_booted(blob, board, sizes)), board.xen_release):
            how = "" if sizes is None else ", as booted"
            yield f"for Xen{how}: {fault.code} ({fault.severity.value}): {fault.message.partition(': ')[2][:40]}"
    yield "merged"
