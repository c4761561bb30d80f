"""The matrix as it is written: topologies, axes along which they vary, workloads, how often, compared with what.

Holds shape, and the rules that need nothing but the file. Enter at ``load_matrix``.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from vtool.base.records import record
from vtool.bench.workloads import Workload
from vtool.diagnostics import Diagnostic, Label, VtoolError, in_order, nearest
from vtool.diagnostics.codes import declare
from vtool.model.schema import schema_of
from vtool.model.types import Model, Name
from vtool.model.validate import validate_as
from vtool.reading.source import Document, load

MATRIX_VERSION = 1
TOPOLOGY_AXIS = "topology"
"""The axis that several topologies make."""

ValueName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+:-]{0,40}$",
        description="the name of a value: a letter or digit, then at most 40 letters, digits, and any of ._+:-",
    ),
]
FilePath = Annotated[
    str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$", description="a file, as seen from the matrix's folder")
]
Setting = Annotated[
    str, Field(min_length=3, pattern=r"^[^=\x00-\x1f\x7f]+=", description="path.to.key=value, as of `--set`")
]
KeyOfTopology = Annotated[
    str, Field(pattern=r"^[a-z_][A-Za-z0-9_.-]*$", description="the path of a key, as domains.fe0.cpus")
]


class Choice(Model):
    """What one value of an axis changes of the topology: files merged over it, then keys that are set.

    ``baseline`` has axes in which cells of this value are compared with another one than the matrix' baseline says.
    """

    overlays: tuple[FilePath, ...] = ()
    set: tuple[Setting, ...] = ()
    baseline: dict[Name, ValueName | int | bool] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _leave_out_no_baseline(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep the digest of a matrix that says none: a run of an earlier vtool goes on."""
        return {key: value for key, value in plain(self).items() if key != "baseline" or value}


class Base(Choice):
    """A topology's file, with what is changed of it alone."""

    file: FilePath


class Axis(Model):
    """One way in which the topology varies: a key with its values, or choices that each change what they say."""

    key: KeyOfTopology | None = None
    values: Annotated[tuple[ValueName | int | bool, ...], Field(min_length=1)] | None = None
    choices: Annotated[dict[ValueName, Choice], Field(min_length=1)] | None = None


class Matrix(Model):
    """The whole file. Every value of every axis is combined with every one of the others.

    ``topologies`` may be left out where the command line names them. ``baseline`` is what each cell is compared with:
    the cell that has these values, and else the same; a value may say another one for its cells.
    """

    version: Literal[1]
    name: Name
    topologies: Annotated[dict[ValueName, Base], Field(min_length=1)] | None = None
    axes: dict[Name, Axis] = Field(default_factory=dict)
    baseline: dict[Name, ValueName | int | bool] = Field(default_factory=dict)
    workloads: Annotated[dict[Name, Workload], Field(min_length=1)]
    repetitions: Annotated[int, Field(ge=1, le=1000)] = 3


@record
class Value:
    """One value of an axis, with what it changes; ``places`` say where each setting was written.

    ``baseline`` is what it says of that of its cells.
    """

    name: str
    settings: tuple[str, ...] = ()
    overlays: tuple[Path, ...] = ()
    places: tuple[tuple[str | int, ...], ...] = ()
    topology: Path | None = None
    baseline: tuple[tuple[str, str], ...] = ()


@record
class LoadedMatrix:
    """A matrix without fault: every axis with its values, the topologies first."""

    document: Document
    matrix: Matrix
    axes: dict[str, tuple[Value, ...]]
    baseline: dict[str, str]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what the matrix says, however it is written."""
        return digest_of({"matrix": self.plain, "topologies": [str(v.topology) for v in self.axes[TOPOLOGY_AXIS]]})

    @property
    def plain(self) -> dict[str, Any]:
        """Return the matrix as plain data."""
        return self.matrix.model_dump(mode="json")


def digest_of(value: Any) -> str:
    """Return the SHA-256 of plain data: of its JSON with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


declare(
    "VT940",
    what="a matrix has no topologies, or has them twice",
    why="What is measured has to be known; two lists could not be told apart in the results.",
    example="vtool bench --matrix FILE, where FILE has no `topologies`",
    fix="Name them in the file, or on the command line.",
)
declare(
    "VT941",
    what="an axis of a matrix is not one",
    why="An axis is a key with its values, or choices of which each says what it changes.",
    example="axes: {memory: {key: domains.fe0.memory}}",
    fix="Write `key` and `values`, or `choices`.",
)
declare(
    "VT945",
    what="the baseline of a matrix is none of its cells",
    why="There would be nothing to compare with.",
    example="baseline: {path: shared-rom}",
    fix="Use an axis and one of its values.",
)
declare(
    "VT946",
    what="two axes of a matrix set the same key",
    why="One of them would change nothing, and be shown as if it did.",
    example="two axes with key: domains.fe0.memory",
    fix="Make one axis of them.",
)


def matrix_schema() -> dict[str, Any]:
    """Return the JSON Schema of a matrix (draft 2020-12) as plain data."""
    return schema_of(Matrix)


def load_matrix(path: Path, topologies: tuple[Path, ...] = ()) -> LoadedMatrix:
    """Read a matrix; ``topologies`` are those of the command line. VtoolError VT1xx, VT2xx, VT940 to VT946."""
    document = load(path)
    return with_topologies(document, validate_as(Matrix, document), topologies)


def with_topologies(document: Document, matrix: Matrix, topologies: tuple[Path, ...]) -> LoadedMatrix:
    """Return a matrix with the values of its axes. VtoolError VT940, VT941, VT945, VT946."""
    findings = [*_topologies(document, matrix, topologies), *_axes(document, matrix)]
    if findings:
        raise VtoolError(in_order(findings))
    named = matrix.topologies or {}
    given = [Value(path.stem, topology=path) for path in topologies]
    given += [_value(document, name, base, ("topologies", name), base.file) for name, base in named.items()]
    axes = {TOPOLOGY_AXIS: tuple(given)}
    axes |= {name: tuple(_values(document, name, axis)) for name, axis in matrix.axes.items()}
    baseline = _texts(matrix.baseline)
    findings = [*_baselines(document, matrix, axes), *_same_keys(document, axes)]
    if findings:
        raise VtoolError(in_order(findings))
    return LoadedMatrix(document, matrix, axes, baseline)


def _topologies(document: Document, matrix: Matrix, topologies: tuple[Path, ...]) -> Iterator[Diagnostic]:
    if topologies and matrix.topologies:
        hint = "leave them out of one of both"
        span = document.span(("topologies",), key=True)
        yield Diagnostic("VT940", "the command line and the matrix both name topologies", span, hints=(hint,))
    if not topologies and not matrix.topologies:
        hint = "write `topologies: {name: {file: topology.yaml}}`, or name them on the command line"
        yield Diagnostic(
            "VT940", "neither the matrix nor the command line names a topology", document.span(()), hints=(hint,)
        )
    stems = [path.stem for path in topologies]
    for stem in sorted({stem for stem in stems if stems.count(stem) > 1}):
        hint = "name them in the matrix, each by a name of its own"
        yield Diagnostic("VT940", f"two topologies of the command line are named '{stem}'", None, hints=(hint,))


def _axes(document: Document, matrix: Matrix) -> Iterator[Diagnostic]:
    for name, axis in matrix.axes.items():
        span = document.span(("axes", name), key=True)
        if name == TOPOLOGY_AXIS:
            hint = "write them as `topologies`"
            yield Diagnostic("VT941", f"the axis '{TOPOLOGY_AXIS}' is that of the topologies", span, hints=(hint,))
        if (axis.key is None) != (axis.values is None) or (axis.key is None) == (axis.choices is None):
            message = f"axis '{name}' needs `key` and `values`, or `choices` and neither of them"
            yield Diagnostic("VT941", message, span)
            continue
        texts = [_text(value) for value in axis.values or ()]
        for index, text in enumerate(texts):
            if text in texts[:index]:
                place = document.span(("axes", name, "values", index))
                label = Label(document.span(("axes", name, "values", texts.index(text))), "it stands here first")
                yield Diagnostic("VT941", f"axis '{name}' has the value '{text}' twice", place, (label,))


def _values(document: Document, name: str, axis: Axis) -> Iterator[Value]:
    for index, value in enumerate(axis.values or ()):
        place = ("axes", name, "values", index)
        yield Value(_text(value), (f"{axis.key}={_text(value)}",), places=(place,))
    for of, choice in (axis.choices or {}).items():
        yield _value(document, of, choice, ("axes", name, "choices", of))


def _value(
    document: Document, name: str, choice: Choice, place: tuple[str | int, ...], file: str | None = None
) -> Value:
    folder = document.path.parent
    places = tuple((*place, "set", index) for index in range(len(choice.set)))
    overlays = tuple(folder / overlay for overlay in choice.overlays)
    return Value(name, choice.set, overlays, places, folder / file if file else None,
                 tuple(_texts(choice.baseline).items()))  # fmt: skip


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(values: Mapping[str, str | int | bool]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _baselines(document: Document, matrix: Matrix, axes: dict[str, tuple[Value, ...]]) -> Iterator[Diagnostic]:
    """Check the matrix' baseline, and what values say of theirs."""
    said: dict[tuple[str, ...], Mapping[str, str | int | bool]] = {("baseline",): matrix.baseline}
    said |= {("topologies", name, "baseline"): one.baseline for name, one in (matrix.topologies or {}).items()}
    for axis, values in matrix.axes.items():
        choices = (values.choices or {}).items()
        said |= {("axes", axis, "choices", name, "baseline"): one.baseline for name, one in choices}
    for place, baseline in said.items():
        yield from _baseline(document, axes, _texts(baseline), place)


def _baseline(
    document: Document, axes: dict[str, tuple[Value, ...]], baseline: dict[str, str], place: tuple[str, ...]
) -> Iterator[Diagnostic]:
    for name, value in baseline.items():
        if name not in axes:
            hints = nearest(name, axes) or (f"its axes: {', '.join(axes)}",)
            span = document.span((*place, name), key=True)
            yield Diagnostic("VT945", f"the matrix has no axis '{name}'", span, hints=hints)
        elif value not in (known := [one.name for one in axes[name]]):
            hints = nearest(value, known) or (f"its values: {', '.join(known)}",)
            message = f"axis '{name}' has no value '{value}'"
            yield Diagnostic("VT945", message, document.span((*place, name)), hints=hints)


def _same_keys(document: Document, axes: dict[str, tuple[Value, ...]]) -> Iterator[Diagnostic]:
    """Yield VT946 once for each pair of axes: of a key that both set, or of one inside the other's."""
    first: dict[str, tuple[str, tuple[str | int, ...]]] = {}
    told: set[tuple[str, str]] = set()
    for name, values in axes.items():
        mine = {
            setting.partition("=")[0]: place
            for v in values
            for setting, place in zip(v.settings, v.places, strict=True)
        }
        for key, place in mine.items():
            for other_key, (other, other_place) in first.items():
                inside = f"{key}.".startswith(f"{other_key}.") or f"{other_key}.".startswith(f"{key}.")
                if inside and (other, name) not in told:
                    told.add((other, name))
                    label = Label(document.span(other_place), f"axis '{other}' sets '{other_key}' here")
                    message = f"axis '{name}' sets '{key}', too"
                    yield Diagnostic("VT946", message, document.span(place), (label,))
        first |= {key: (name, place) for key, place in mine.items()}
