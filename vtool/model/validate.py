"""From documents to topologies and facts, whole or as far as they are right."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from vtool.base.records import record
from vtool.base.rooms import room
from vtool.diagnostics import Diagnostic, VtoolError, in_order
from vtool.model.board_facts import BoardFacts
from vtool.model.partial import Unsound, derived, known
from vtool.model.shape import shape_of
from vtool.model.topology import Topology
from vtool.reading.source import Document, read

ModelType = TypeVar("ModelType", bound=BaseModel)


@record
class LoadedFacts:
    """A board's facts with the file they come from, so that a rule can point into it."""

    facts: BoardFacts
    document: Document


def validate(document: Document) -> Topology:
    """Check the shape of a topology. Raises VtoolError with every VT2xx finding."""
    return validate_as(Topology, document)


def known_facts() -> list[str]:
    """Return the names of the facts files vtool ships."""
    return sorted(path.stem for path in _facts_folder().glob("*.yaml"))


def load_facts(name: str) -> LoadedFacts:
    """Read ``topology/boards/<name>.yaml``. Raises VtoolError VT1xx or VT2xx."""
    return read_facts(_facts_folder() / f"{name}.yaml")


def read_facts(path: Path) -> LoadedFacts:
    """Read a facts file; one that many boards share is read once. Raises VtoolError VT1xx or VT2xx."""
    loaded, findings = _facts_in(path)
    if loaded is None or findings:
        raise VtoolError(findings)
    return loaded


def _facts_in(path: Path) -> tuple[LoadedFacts | None, tuple[Diagnostic, ...]]:
    """Read a facts file as far as it is right. Raises VtoolError VT1xx where nothing can be said of it."""
    try:
        about = path.stat()
    except OSError:
        return _read_facts(path)  # which says what is wrong with it
    return _read_facts(path, about.st_ino, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read_facts(path: Path, *_as_it_is: int) -> tuple[LoadedFacts | None, tuple[Diagnostic, ...]]:
    document = read(path)
    facts, findings = shape_of(BoardFacts, document)
    return LoadedFacts(facts, document) if facts else None, tuple(in_order((*document.faults, *findings)))


def facts_of(document: Document, topology: Topology) -> tuple[dict[str, LoadedFacts], list[Diagnostic]]:
    """Read the facts of every board, shipped ones by name, others beside the topology; return what is wrong, too.

    Left out is what does not exist (rule VT301 says so).
    """
    shipped = known_facts()
    found: dict[str, LoadedFacts] = {}
    lost: list[str] = []
    findings: list[Diagnostic] = []
    for name, board in known(topology.boards).items():
        try:
            path = _facts_file(document, board.facts, shipped)
            loaded, wrong = _facts_in(path) if path is not None else (None, ())
        except Unsound:
            lost.append(name)
            continue
        except VtoolError as error:
            span = document.span(("boards", name, "facts"))
            loaded, wrong = None, tuple(replace(one, span=one.span or span) for one in error.diagnostics)
        findings += wrong
        if loaded is not None:
            found[name] = loaded
        elif wrong:
            lost.append(name)
    return derived(topology.boards, found, lost), list(dict.fromkeys(findings))


def _facts_file(document: Document, reference: str, shipped: Sequence[str]) -> Path | None:
    """Return the file that a reference to facts means, None when there is none."""
    if reference in shipped:
        return _facts_folder() / f"{reference}.yaml"
    path = document.path.parent / reference
    return path if is_path(reference) and path.is_file() else None


def is_path(reference: str) -> bool:
    """Whether a reference to facts is a file beside the topology, not a name."""
    return "/" in reference or reference.endswith(".yaml")


def _facts_folder() -> Path:
    return room("topology") / "boards"


def validate_as(model: type[ModelType], document: Document) -> ModelType:
    """Check a document's shape against a model; all findings in one VtoolError."""
    checked, findings = shape_of(model, document)
    findings = in_order((*document.faults, *findings))
    if findings or checked is None:
        raise VtoolError(findings)
    return checked
