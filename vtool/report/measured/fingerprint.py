"""What runs were measured on: facts that all environments share, and those that differ, by value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vtool.base.records import record
from vtool.report.measured.cells import names_of, variant_names
from vtool.results.run_folder import RunRead

Fact = str | int | float | bool | None


@record
class Piece:
    """A piece of a value's text; ``differs``: not all values of this fact have it."""

    text: str
    differs: bool


@record
class Value:
    """A value of a fact, and where it was seen."""

    pieces: tuple[Piece, ...]
    where: tuple[str, ...]


@record
class Differing:
    """A fact with several values."""

    name: str
    values: tuple[Value, ...]


@record
class Fingerprint:
    """All facts of all environments: ``same`` in every one, and ``differing``; by name."""

    environments: int
    same: tuple[tuple[str, str], ...]
    differing: tuple[Differing, ...]


def fingerprint(runs: Sequence[RunRead]) -> Fingerprint:
    """Return what all the runs were measured on."""
    environments: list[tuple[str, Mapping[str, Fact]]] = []
    for run, name in zip(runs, names_of([run.run for run in runs]), strict=True):
        variants, cells = variant_names(run.run), run.cells
        used: dict[str, dict[str, None]] = {}
        for one in run.repetitions:
            if one.environment is not None:
                used.setdefault(one.environment, {})[variants[cells[one.cell].variant]] = None
        for identity, environment in run.environments.items():
            prefix = f"{name}: " if len(runs) > 1 else ""
            where = prefix + (", ".join(used.get(identity, ())) or "no repetition")
            environments.append((where, environment.facts))
    names = dict.fromkeys(name for _, facts in environments for name in facts)
    same: list[tuple[str, str]] = []
    differing: list[Differing] = []
    for name in names:
        values: dict[str, dict[str, None]] = {}
        for where, facts in environments:
            values.setdefault(_words(facts.get(name)), {})[where] = None
        if len(values) == 1:
            same.append((name, next(iter(values))))
        else:
            differing.append(Differing(name, tuple(_marked(values))))
    return Fingerprint(len(environments), tuple(same), tuple(differing))


def _words(fact: Fact) -> str:
    return "not known" if fact is None else str(fact)


def _marked(values: Mapping[str, Iterable[str]]) -> Iterable[Value]:
    """Yield values with the words marked that not all have."""
    shared = set.intersection(*(set(text.split()) for text in values))
    for text, where in values.items():
        pieces: list[Piece] = []
        for word in text.split():
            differs = word not in shared
            if pieces and pieces[-1].differs is differs:
                pieces[-1] = Piece(f"{pieces[-1].text} {word}", differs)
            else:
                pieces.append(Piece(word, differs))
        yield Value(tuple(pieces), tuple(where))
