"""The language of topology files: includes, overlays, settings, variables, the version.

Owns how several files and options become one document in which every value keeps the place where it was
written. What comes out has no ``include`` and no ``variables``: one file or ten, what follows cannot tell.
Knows nothing of what other keys mean, nor of their types.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtool.base.records import record
from vtool.diagnostics import Diagnostic, Label, Severity, Span, VtoolError, in_order, nearest
from vtool.files.regular import open_regular, reason_of
from vtool.reading.failures import EmptyFile
from vtool.reading.source import Document, KeyPath, faultless, parse, read

VERSION = 1
"""The version of topology files that this vtool reads."""

VARIABLE_NAME = r"[a-z][a-z0-9_-]{0,30}"

SETTING_FILE = Path("<--set>")
"""The file of the places of settings: each is a line of it."""
_MAX_INCLUDES = 10
_MAX_SETTING_KEYS = 20
_MAX_REFERENCES = 20
_MAX_TEXT = 4096
_USE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")


def load_topology(path: Path, overlays: Sequence[Path] = (), settings: Sequence[str] = ()) -> Document:
    """Read a topology with everything it includes, then the overlays, then ``path.to.key=value`` settings.

    Raises VtoolError VT1xx, VT200 or VT205 with the place of each fault.
    """
    return faultless(read_topology(path, overlays, settings))


def read_topology(path: Path, overlays: Sequence[Path] = (), settings: Sequence[str] = ()) -> Document:
    """Read the same, faults and all. Raises VtoolError where nothing of the topology's own file can be read."""
    files = _Files()
    for top in (path, *overlays):
        files.read(top)
    for number, setting in enumerate(settings, 1):
        with files.collecting():
            files.documents.append(_read_setting(number, setting))
    own = next((document for document in files.documents if document.path == path), None)
    if own is None:
        raise VtoolError(in_order(files.faults))
    merged = merge(files.documents)
    return interpolate(
        replace(
            merged,
            path=path,
            values=merged.values if merged is own else {**merged.values, (): own.values[()]},
            faults=(*files.faults, *(fault for document in files.documents for fault in document.faults)),
            lacking=bool(files.faults) or any(path[:1] == ("include",) for path in merged.unsound),
        )
    )


@record
class _Including:
    """One step on the way to an included file: the file that includes, and where it says so."""

    real: str
    path: Path
    span: Span


@dataclass
class _Files:
    """The files of one topology in the order in which they are merged; each counts once, where it is first named."""

    documents: list[Document] = field(default_factory=list)
    faults: list[Diagnostic] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    @contextmanager
    def collecting(self, span: Span | None = None) -> Iterator[None]:
        """Keep the faults that are raised inside, so that others are found too."""
        try:
            yield
        except VtoolError as error:
            self.faults += [replace(found, span=found.span or span) for found in error.diagnostics]

    def read(self, path: Path, chain: tuple[_Including, ...] = ()) -> None:
        """Read what a file includes, then the file."""
        real = os.path.realpath(path)
        if real in self._known:
            return
        self._known.add(real)
        with self.collecting(chain[-1].span if chain else None):
            document = read(path)
            _check_form(document)
            includes = document.value.pop("include", [])
            if not isinstance(includes, list):
                hint = (f"write `include: [{includes}]`",) if isinstance(includes, str) else ()
                place = document.span(("include",))
                if ("include",) not in document.unsound:
                    self.faults.append(Diagnostic("VT108", "`include` is not a list of files", place, hints=hint))
                includes = []
            for index, entry in enumerate(includes):
                step = _Including(real, path, document.span(("include", index)))
                if ("include", index) in document.unsound:
                    continue
                with self.collecting(step.span):
                    self._include(entry, (*chain, step))
            self.documents.append(document)

    def _include(self, entry: Any, chain: tuple[_Including, ...]) -> None:
        place = chain[-1].span
        if not isinstance(entry, str) or not entry:
            raise VtoolError(Diagnostic("VT108", "an entry of `include` is not the path of a file", place))
        if Path(entry).is_absolute():
            hint = "write it as seen from the folder of this file; it may begin with ../"
            raise VtoolError(Diagnostic("VT106", f"the included path '{entry}' is absolute", place, hints=(hint,)))
        path = chain[-1].path.parent / entry
        real = os.path.realpath(path)
        around = next((index for index, step in enumerate(chain) if step.real == real), None)
        if around is not None:
            way = " -> ".join([*(step.path.name for step in chain[around:]), path.name])
            labels = tuple(Label(step.span, "included from here") for step in chain[around:-1])
            raise VtoolError(Diagnostic("VT107", f"'{path.name}' includes itself: {way}", place, labels))
        if len(chain) > _MAX_INCLUDES:
            message = f"files include each other more than {_MAX_INCLUDES} deep"
            raise VtoolError(Diagnostic("VT107", message, place))
        _check_file(entry, path, place)
        self.read(path, chain)


def _check_form(document: Document) -> None:
    if not isinstance(document.value, dict):
        raise VtoolError(Diagnostic("VT200", "the file must be a mapping of keys to values", document.span(())))
    version = document.value.get("version", VERSION)
    if type(version) is not int or version == VERSION:  # what is no number is said by the model
        return
    newer = version > VERSION
    message = f"this file is version {version}, this vtool reads {VERSION}"
    hint = "use a newer vtool" if newer else f"there is no such version: write `version: {VERSION}`"
    raise VtoolError(Diagnostic("VT205", message, document.span(("version",)), hints=(hint,)))


def _check_file(entry: str, path: Path, place: Span) -> None:
    """Refuse what is missing or no file, at the place that names it."""
    try:
        open_regular(path).close()
    except OSError as error:
        hints: tuple[str, ...] = ()
        if isinstance(error, FileNotFoundError):
            hints = (*nearest(path.name, _files_beside(path)), f"looked for at '{path}'")
        message = f"cannot include '{entry}': {reason_of(error)}"
        raise VtoolError(Diagnostic("VT106", message, place, hints=hints)) from None


def _files_beside(path: Path) -> list[str]:
    try:
        return sorted(file.name for file in path.parent.glob("*.yaml"))
    except OSError:
        return []


def _read_setting(number: int, setting: str) -> Document:
    """Read ``path.to.key=value`` as the document that holds nothing else; the value is YAML, empty is null."""
    way, equals, text = setting.partition("=")
    keys = way.split(".")
    column = len(way) + 2

    def place(begin: int, end: int) -> Span:
        return Span(SETTING_FILE, number, begin, number, end, setting if setting.isprintable() else ascii(setting))

    whole = place(1, len(setting) + 1)
    if not equals or not all(keys) or len(keys) > _MAX_SETTING_KEYS or not setting.isprintable():
        hint = "write --set path.to.key=value, for example --set domains.fe0.cpus=2"
        raise VtoolError(Diagnostic("VT109", "this is not a path of keys with a value", whole, hints=(hint,)))
    if keys[0] == "include":
        hint = "add the file with --overlay"
        raise VtoolError(Diagnostic("VT109", "`include` cannot be set", whole, hints=(hint,)))
    try:
        # Moved to where it stands in the option, so that its places are right.
        read = parse("\n" * (number - 1) + " " * (column - 1) + (text if text.strip() else "~"), SETTING_FILE)
    except EmptyFile:
        hint = "put quotes around a value that begins with #"
        raise VtoolError(Diagnostic("VT109", "there is no value", whole, hints=(hint,))) from None
    except VtoolError as error:
        raise VtoolError(
            replace(found, span=place(found.span.column, found.span.end_column) if found.span else whole)
            for found in error.diagnostics
        ) from None
    value = read.value
    values: dict[KeyPath, Span] = {}
    names: dict[KeyPath, Span] = {}
    begin = 1
    for index, key in enumerate(keys):
        values[tuple(keys[:index])] = whole
        names[tuple(keys[: index + 1])] = place(begin, begin + len(key))
        begin += len(key) + 1
    for own, places in ((values, read.values), (names, read.keys)):
        own |= {(*keys, *rest): place(span.column, span.end_column) for rest, span in places.items()}
    for key in reversed(keys):
        value = {key: value}
    document = Document(SETTING_FILE, value, values, names)
    _check_form(document)
    return document


def merge(documents: Sequence[Document]) -> Document:
    """Merge documents (at least one), the later over the earlier.

    Mappings merge key by key; of everything else the later value stands; null removes the key that an
    earlier document has. A mapping's place is where it was begun, any other value's where it was last written.
    """
    merged = documents[0]
    for later in documents[1:]:
        merge_two = _Merge(merged, later)
        value = merge_two.both(merged.value, later.value, ())
        merged = Document(
            merged.path, value, merge_two.values, merge_two.keys,
            unsound=merged.unsound | later.unsound, open=merged.open | later.open,
            rivals={**merged.rivals, **later.rivals},
        )  # fmt: skip
    return merged


class _Merge:
    """One document laid over another, with the places of what stands afterwards."""

    def __init__(self, earlier: Document, later: Document) -> None:
        self._earlier, self._later = earlier, later
        self.values: dict[KeyPath, Span] = {}
        self.keys: dict[KeyPath, Span] = {}

    def both(self, earlier: Any, later: Any, path: KeyPath) -> Any:
        """Merge two values that stand at one place."""
        if not isinstance(earlier, dict) or not isinstance(later, dict):
            return self._one(self._later, later, path)
        self._note(self._earlier, path)
        merged = {}
        for key, value in earlier.items():
            way = (*path, key)
            if key not in later:
                merged[key] = self._one(self._earlier, value, way)
            elif later[key] is not None:
                merged[key] = self.both(value, later[key], way)
        for key in later:
            if key not in earlier:
                merged[key] = self._one(self._later, later[key], (*path, key))
        return merged

    def _one(self, document: Document, value: Any, path: KeyPath) -> Any:
        for way, _ in _walk(value, path):
            self._note(document, way)
        return value

    def _note(self, document: Document, path: KeyPath) -> None:
        self.values[path] = document.values[path]
        if path in document.keys:
            self.keys[path] = document.keys[path]


def _walk(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value in a value, itself first, with its path."""
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in inner:
        yield from _walk(child, (*path, part))


def interpolate(document: Document) -> Document:
    """Put the values of ``variables`` where ``${name}`` stands, and take ``variables`` out.

    A value that is nothing but ``${name}`` becomes the variable's value with its type; in longer text it is
    written as text. ``$${`` stands for ``${``. Faults are VT110, VT111, VT113 or VT114; warns with VT112.
    """
    value = dict(document.value)
    variables = _Variables(document, value.pop("variables", {}))
    variables.resolve_all()
    notes: dict[KeyPath, tuple[Label, ...]] = {}

    def put(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: put(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [put(child, (*path, index)) for index, child in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        result, used = variables.fill(value, path)
        if used:
            notes[path] = tuple(Label(variables.place(name), f"variable '{name}' is defined here") for name in used)
        return result

    if _has_reference(value):
        value = put(value, ())
    faults = (*document.faults, *dict.fromkeys(variables.faults))
    unused = () if faults else tuple(variables.unused())  # one may be what is misspelt elsewhere
    return replace(
        document, value=value, notes=notes, warnings=unused, faults=faults, unsound=document.unsound | variables.unsound
    )


def _has_reference(value: Any) -> bool:
    """Whether `${` stands anywhere in a value; most topologies have none, and a large one need not be copied."""
    if isinstance(value, dict):
        return any(map(_has_reference, value.values()))
    if isinstance(value, list):
        return any(map(_has_reference, value))
    return isinstance(value, str) and "${" in value


class _Variables:
    """The variables of a topology; those that use others are resolved when they are first wanted.

    ``unsound`` are the places whose text could not be made, for a fault there or in a variable that it uses.
    """

    def __init__(self, document: Document, variables: Any) -> None:
        self.faults: list[Diagnostic] = []
        self.unsound: set[KeyPath] = set()
        self._document = document
        self._raw: Mapping[str, Any] = variables if isinstance(variables, dict) else {}
        self._values: dict[str, Any] = {}
        self._uses: dict[KeyPath, tuple[str, ...]] = {}
        self._chain: list[str] = []
        self._open = document.lacking or ("variables",) in document.unsound | document.open
        if not isinstance(variables, dict) and not self._open:
            self._open = True
            place = document.span(("variables",))
            self.faults.append(Diagnostic("VT114", "`variables` is not a mapping of names to values", place))
        for name, value in self._raw.items():
            if not re.fullmatch(VARIABLE_NAME, name):
                message = f"'{name}' is not a variable's name: a lower-case letter, then at most 30 of a-z, 0-9, _, -"
                self.faults.append(Diagnostic("VT114", message, document.span(("variables", name), key=True)))
            if (value is None or isinstance(value, dict | list)) and ("variables", name) not in document.unsound:
                self.unsound.add(("variables", name))
                message = f"variable '{name}' is not a text, a whole number, true or false"
                self.faults.append(Diagnostic("VT114", message, self.place(name)))
        self.unsound |= {path for path in document.unsound if path[:1] == ("variables",)}

    def place(self, name: str) -> Span:
        """Return where a variable's value stands."""
        return self._document.span(("variables", name))

    def resolve_all(self) -> None:
        """Find the faults of all, the unused too."""
        for name in self._raw:
            self._value(name)

    def unused(self) -> Iterator[Diagnostic]:
        """Yield a warning for every variable that no value needs, not even by way of another."""
        needed = [name for path, names in self._uses.items() if path[:1] != ("variables",) for name in names]
        used: set[str] = set()
        while needed:
            name = needed.pop()
            if name not in used:
                used.add(name)
                needed += self._uses.get(("variables", name), ())
        for name in self._raw:
            if name not in used:
                place = self._document.span(("variables", name), key=True)
                message = f"variable '{name}' is not used"
                yield Diagnostic("VT112", message, place, severity=Severity.WARNING)

    def fill(self, text: str, path: KeyPath) -> tuple[Any, tuple[str, ...]]:
        """Return what a text becomes, and the names it uses; faults are kept."""
        used: list[str] = []
        too_long = f"a text in which variables stand has more than {_MAX_TEXT} characters"
        if len(text) > _MAX_TEXT:
            self._fault("VT113", too_long, path)
            return "", ()

        def one(match: re.Match[str]) -> str:
            name = match.group(1)
            if match.group() == "$${":
                return "${"
            if name is None or not (name in self._raw or re.fullmatch(VARIABLE_NAME, name)):
                hint = "write ${name}, or $${ where the text is to have ${"
                message = f"'{match.group()[:40]}' is not the use of a variable"
                self._fault("VT113", message, path, hint)
            elif name not in self._raw and self._open:
                self.unsound.add(path)
            elif name not in self._raw:
                hints = nearest(name, self._raw) or (f"defined are: {', '.join(self._raw) or 'none'}",)
                self._fault("VT110", f"variable '{name}' is not defined", path, *hints)
            else:
                used.append(name)
                value = self._value(name)
                if ("variables", name) in self.unsound:
                    self.unsound.add(path)
                return str(value).lower() if isinstance(value, bool) else str(value)
            return ""

        filled: Any = _USE.sub(one, text)
        self._uses[path] = tuple(dict.fromkeys(used))
        if len(filled) > _MAX_TEXT:
            self._fault("VT113", too_long, path)
            filled = ""
        if len(used) == 1 and text == f"${{{used[0]}}}":
            filled = self._value(used[0])
        return filled, self._uses[path]

    def _fault(self, code: str, message: str, path: KeyPath, *hints: str) -> None:
        self.unsound.add(path)
        self.faults.append(Diagnostic(code, message, self._document.span(path), hints=hints))

    def _value(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        raw = self._raw[name]
        if not isinstance(raw, str) or "${" not in raw:
            self._values[name] = raw
            return raw
        if name in self._chain or len(self._chain) >= _MAX_REFERENCES:
            self._circle(name)
            return ""
        self._chain.append(name)
        filled, _ = self.fill(raw, ("variables", name))
        self._chain.pop()
        self._values.setdefault(name, filled)
        return self._values[name]

    def _circle(self, name: str) -> None:
        """Report variables that lead to themselves, or too far, once; they are empty from here on."""
        if name in self._chain:
            circle = self._chain[self._chain.index(name) :]
            message = f"variable '{name}' uses itself: {' -> '.join([*circle, name])}"
        else:
            circle = self._chain
            message = f"variables use each other more than {_MAX_REFERENCES} deep"
        labels = tuple(Label(self.place(other), f"variable '{other}' is defined here") for other in circle[1:])
        self.faults.append(Diagnostic("VT111", message, self.place(circle[0]), labels))
        for other in circle:
            self.unsound.add(("variables", other))
            self._values[other] = ""
