"""Text to values, each with its place: YAML read the way this field needs it.

Only whole decimal numbers, 0x numbers, true/false and null are not strings: a MAC address, a PCI
address, ``010``, ``no`` and ``4.20`` stay what was typed. A repeated key is an error with both places.
Tags, merge keys, and characters that no text holds are refused: what is returned is as plain as JSON.
What is wrong in one place hides nothing of the others: ``read`` and ``read_text`` return the rest with the faults.
How several files become one topology is ``vtool.reading.language``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml
from yaml import CBaseLoader
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.resolver import BaseResolver

from vtool.base.records import record
from vtool.diagnostics import Diagnostic, Label, Span, VtoolError, in_order
from vtool.files.regular import read_regular, reason_of
from vtool.reading.failures import EmptyFile

KeyPath = tuple[str | int, ...]
"""The way to a value: keys and list indexes from the root."""
Rival = tuple[Any, Mapping[KeyPath, "Span"], Mapping[KeyPath, "Span"]]
"""One of the values of a repeated key, with the places of the values and keys in it."""

_MAX_NODES = 400_000
_MAX_BYTES = 4 << 20
_DECIMAL = re.compile(r"^-?(0|[1-9][0-9_]*)$")
_HEXADECIMAL = re.compile(r"^0x[0-9a-fA-F][0-9a-fA-F_]*$")
_MAX_DEPTH = 50
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
"""Controls but tab and line feed, lone surrogates, odd line ends: ``"\\e"`` would reach a terminal."""
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""The line ends that YAML knows."""
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


@record
class Document:
    """A value and the place of everything in it; all of one file, or of several that were merged.

    ``notes`` says more about the places of some values (the variables that made them); ``warnings`` are
    what was found while reading and did not stop it. ``faults`` are what is wrong: of the values at the places
    in ``unsound`` nothing is known, in the mappings at the places in ``open`` there may be more keys than there are,
    and in all of them if ``lacking``: a file of several could not be read. ``rivals`` are the values of a repeated key,
    by its place, where they disagree: each may be wrong in itself.
    """

    path: Path
    value: Any
    values: Mapping[KeyPath, Span]
    keys: Mapping[KeyPath, Span]
    notes: Mapping[KeyPath, tuple[Label, ...]] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()
    faults: tuple[Diagnostic, ...] = ()
    unsound: frozenset[KeyPath] = frozenset()
    open: frozenset[KeyPath] = frozenset()
    lacking: bool = False
    rivals: Mapping[KeyPath, tuple[Rival, ...]] = field(default_factory=dict)

    def span(self, path: KeyPath, *, key: bool = False) -> Span:
        """Return the place of a value (or of its key); of the nearest thing around it if it is not there."""
        while path:
            table = self.keys if key else self.values
            if path in table:
                return table[path]
            if path in self.keys:
                return self.keys[path]
            path, key = path[:-1], False
        return self.values[()]


def load(path: Path) -> Document:
    """Read a YAML file that has no fault. Raises VtoolError VT1xx with the place of each one."""
    return faultless(read(path))


def parse(text: str, path: Path) -> Document:
    """Read YAML text that stands in a file and has no fault. Raises VtoolError VT1xx with the place of each one."""
    return faultless(read_text(text, path))


def faultless(document: Document) -> Document:
    """Return a document if nothing in it is wrong. Raises VtoolError with its faults."""
    if document.faults:
        raise VtoolError(in_order(document.faults))
    return document


def read(path: Path) -> Document:
    """Read a YAML file, faults and all. Raises VtoolError VT100 to VT102 where nothing can be said of the rest."""
    return read_text(_text_of(path), path)


def read_text(text: str, path: Path) -> Document:
    """Read YAML text that stands in a file, faults and all. Raises VtoolError VT101 or VT102 as ``read`` does."""
    node, tags = _compose(path, text)
    if node is None:
        raise EmptyFile(Diagnostic("VT102", "the file is empty", _start_of(path)))
    reader = _Reader(path, tags, has_aliases="&" in text)
    value = reader.read(node, ())
    faults = tuple(dict.fromkeys(reader.faults))  # an alias shows the same fault again
    return Document(
        path, value, reader.values, reader.keys,
        faults=faults, unsound=frozenset(reader.unsound), open=frozenset(reader.open),
        rivals={way: tuple(rivals) for way, rivals in reader.rivals.items()},
    )  # fmt: skip


def _text_of(path: Path) -> str:
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise VtoolError(Diagnostic("VT100", f"cannot read '{path}': {reason_of(error)}")) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        span = Span(path, line, column, line, column + 1)
        raise VtoolError(Diagnostic("VT101", "the file is not UTF-8 text", span)) from None


def _compose(path: Path, text: str) -> tuple[yaml.Node | None, Mapping[yaml.Node, str]]:
    """Parse the text; return its root node, and the tag of every node that has one written out."""
    if (wrong := yaml.reader.Reader.NON_PRINTABLE.search(text)) is not None:
        raise VtoolError(_no_text(wrong.group(), _place_in(path, text, wrong.start())))
    if not _READ_OTHERWISE.search(text):
        # What is wrong, and where, the other loader says; too deep for libyaml's binding is too deep for it, too.
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            # What has no tag and no anchor is composed by libyaml's binding, too, in a third of the time.
            return (
                _composed(_FastLoader(text))
                if "!" in text or "&" in text
                else (CBaseLoader(text).get_single_node(), {})
            )
    loader = _Loader(text)
    try:
        return _composed(loader)
    except _TooDeepError as error:
        raise VtoolError(_too_deep(path, error.line, error.column)) from None
    except yaml.YAMLError as error:
        raise VtoolError(_yaml_fault(path, text, error)) from None
    except (ValueError, OverflowError):  # PyYAML lets these out of an escape such as "\\UFFFFFFFF"
        mark = loader.get_mark()
        span = Span(path, mark.line + 1, mark.column + 1, mark.line + 1, mark.column + 2)
        message = "not valid YAML: an escape names no character"
        raise VtoolError(Diagnostic("VT101", message, span)) from None


def _composed(loader: _Loader | _FastLoader) -> tuple[yaml.Node | None, Mapping[yaml.Node, str]]:
    try:
        return loader.get_single_node(), loader.tags
    finally:
        loader.dispose()


class _TooDeepError(yaml.YAMLError):
    """A node is nested too deeply; raised before the composer, which calls itself, runs into Python's own limit."""

    def __init__(self, node: yaml.Event) -> None:
        super().__init__()
        mark = node.start_mark
        self.line, self.column = (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Noting(Composer):
    """Composes nodes without resolving plain words, and notes the tags that are written out."""

    tags: dict[yaml.Node, str]
    _depth = -1

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[attr-defined] # of the parser that is mixed in
        tag = None if isinstance(event, yaml.AliasEvent) else event.tag
        self._depth += 1
        is_key = isinstance(parent, yaml.MappingNode) and index is None
        if self._depth > _MAX_DEPTH and not is_key:
            raise _TooDeepError(event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and tag is not None:
            self.tags[node] = tag
        return node


class _Loader(_Noting, yaml.BaseLoader):
    """Reads with PyYAML's own parser, whose words for faults are shown."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tags = {}


class _FastLoader(_Noting, CParser, BaseResolver):
    """Reads with libyaml's parser, which takes a tenth of the time."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.tags = {}


_READ_OTHERWISE = re.compile(r"[\t?\ufeff]|[^\n]\Z")
"""Where libyaml takes what PyYAML's own parser does not, or sees another place; found by comparing mutated files."""


def _too_deep(path: Path, line: int, column: int) -> Diagnostic:
    place = Span(path, line, column, line, column + 1)
    return Diagnostic("VT101", f"the file is nested more than {_MAX_DEPTH} levels deep", place)


def _no_text(character: str, span: Span) -> Diagnostic:
    return Diagnostic("VT101", f"the character U+{ord(character):04X} is not text", span)


def _place_in(path: Path, text: str, index: int) -> Span:
    """Return the place of the character at an index."""
    lines = _LINE_END.split(text[:index])
    return Span(path, len(lines), len(lines[-1]) + 1, len(lines), len(lines[-1]) + 2)


def _start_of(path: Path) -> Span:
    return Span(path, 1, 1, 1, 1)


def _yaml_fault(path: Path, text: str, error: yaml.YAMLError) -> Diagnostic:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    problem = " ".join(part for part in parts if part)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    hints = ("YAML is indented with spaces, never with tabs",) if "\\t" in problem else ()
    if "${" in _LINE_END.split(text)[line - 1][max(0, column - 2) : column]:
        hints = ('between [ ] or { } write "${name}" with quotes',)
    what = next(
        (words for pattern, words in _WHAT_PYYAML_MEANS if re.search(pattern, problem)), "this cannot stand here"
    )
    message = f"not valid YAML: {what}"
    return Diagnostic("VT101", message, Span(path, line, column, line, column + 1), hints=hints)


_WHAT_PYYAML_MEANS = (
    (r"\\t", "a tab cannot stand here"),
    (r"could not find expected ':'", "a key without ':'"),
    (r"cannot start any token", "a text cannot begin with this character without quotes"),
    (r"sequence entries are not allowed", "an entry of a list cannot stand here"),
    (r"mapping keys are not allowed", "a key cannot stand here"),
    (r"mapping values are not allowed", "a ':' cannot stand here without quotes around the text"),
    (r"undefined tag handle", "a tag is not used here"),
    (r"directive|YAML document|tag handle", "vtool's files have no directives"),
    (r"scanning an (anchor|alias)", "a name is missing after '&' or '*'; a text that begins so needs quotes"),
    (r"block scalar", "only an end of line can stand after '|' or '>'"),
    (r"escape", "no escape that YAML knows"),
    (r"end of stream|document separator", "a quote is not closed"),
    (
        r"undefined alias",
        "'*' and a name stand for what has '&' and that name above; a text that begins so needs quotes",
    ),
    (r"duplicate anchor", "two values have '&' with the same name"),
    (r"another document", "a second document begins here; a file holds one"),
    (r"flow sequence.*expected ','", "',' or ']' is missing before this"),
    (r"flow mapping.*expected ','", "',' or '}' is missing before this"),
    (r"block (collection|mapping).*'<scalar>'", "only an end of line can stand after a text in quotes"),
    (r"found '[\]}]'", "nothing is open that this would close"),
    (r"node content", "a value is missing before this"),
    (r"block (collection|mapping)", "this is indented neither as what stands above nor as a part of it"),
    (r"tag", "a tag is not used here"),
    (r"document start", "something stands after the end"),
)
"""What PyYAML's findings say, in words of people who know no parsers."""


class _Reader:
    """Turns nodes into values, noting places and collecting faults."""

    def __init__(self, path: Path, tags: Mapping[yaml.Node, str], *, has_aliases: bool) -> None:
        self.path = path
        self.tags = tags
        self.has_aliases = has_aliases
        self.values: dict[KeyPath, Span] = {}
        self.keys: dict[KeyPath, Span] = {}
        self.faults: list[Diagnostic] = []
        self.unsound: set[KeyPath] = set()
        self.open: set[KeyPath] = set()
        self.rivals: dict[KeyPath, list[Rival]] = {}
        self._count = 0
        self._line = 0

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return a node's value; aliases are followed, up to a limit on what they unfold to."""
        self._count += 1
        if self._count > _MAX_NODES:
            message = f"the file unfolds to more than {_MAX_NODES} values"
            raise VtoolError(Diagnostic("VT101", message, self._span(node)))
        if len(path) > _MAX_DEPTH:
            place = self._span(node)
            raise VtoolError(_too_deep(self.path, place.line, place.column))
        self.values[path] = self._span(node)
        if not self._is_plain(node):
            self.unsound.add(path)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, index)) for index, child in enumerate(self._each(node.value))]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node)

    def _is_plain(self, node: yaml.Node) -> bool:
        """Whether a node has no tag and its text no characters that are none; note it otherwise."""
        if node in self.tags:
            tag = self.tags[node].replace("tag:yaml.org,2002:", "!!")
            hint = "write the value without it; quotes make a text of anything"
            message = f"the tag '{tag}' is not used here"
            self.faults.append(Diagnostic("VT105", message, self._span(node), hints=(hint,)))
            return False
        wrong = _NO_TEXT.search(node.value) if isinstance(node, yaml.ScalarNode) else None
        if wrong is not None:
            self.faults.append(_no_text(wrong.group(), self._span(node)))
        return wrong is None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, Span] = {}
        for key_node, value_node in self._each(node.value):
            place = self._span(key_node)
            key = self._key(key_node, place)
            if key is None:
                self.open.add(path)
                continue
            way = (*path, key)
            if key in found:
                label = Label(first[key], f"'{key}' stands here first")
                message = f"the key '{key}' is repeated"
                self.faults.append(Diagnostic("VT103", message, place, (label,)))
                found[key] = self._again(found[key], value_node, way)
                continue
            first[key] = self.keys[way] = place
            found[key] = self.read(value_node, way)
        return found

    def _each(self, parts: list[Any]) -> Iterator[Any]:
        """Yield the parts of a node; what is read is let go of, unless an alias may show it again.

        The nodes of a large file take more memory than all that comes of them.
        """
        if self.has_aliases:
            yield from parts
            return
        parts.reverse()
        while parts:
            yield parts.pop()

    def _key(self, node: yaml.Node, span: Span) -> str | None:
        """Return a key; None where there is none, which is noted."""
        if not isinstance(node, yaml.ScalarNode):
            self.faults.append(Diagnostic("VT104", "a key must be a plain word", span))
            return None
        if not self._is_plain(node):
            return None
        key = str(node.value)
        if not isinstance(_scalar(node), str) or not key.isprintable():
            message = f"the key {_shortened(key)} is not a word"
            self.faults.append(Diagnostic("VT104", message, span))
            return None
        if key == "<<" and not node.style:
            self.faults.append(Diagnostic("VT104", "merge keys are not supported", span, hints=("write the keys out",)))
            return None
        return key

    def _again(self, value: Any, node: yaml.Node, path: KeyPath) -> Any:
        """Read the value of a repeated key; return what stands in either, unsound where they disagree."""
        values, keys = self.values, self.keys
        self.values, self.keys = {}, {}
        other = self.read(node, path)
        more, self.values, self.keys = (self.values, self.keys), values, keys

        def both(one: Any, two: Any, way: KeyPath) -> Any:
            if isinstance(one, dict) and isinstance(two, dict):
                return one | {key: both(one[key], two[key], (*way, key)) if key in one else two[key] for key in two}
            if type(one) is not type(two) or one != two:
                self.unsound.add(way)
                first = (one, _under(way, self.values), _under(way, self.keys))
                self.rivals.setdefault(way, [first]).append((two, _under(way, more[0]), _under(way, more[1])))
            return one

        result = both(value, other, path)
        for known, further in ((self.values, more[0]), (self.keys, more[1])):
            for way, span in further.items():
                known.setdefault(way, span)
        return result

    def _span(self, node: yaml.Node) -> Span:
        start, end = node.start_mark, node.end_mark
        # What stands on one line shares one number: a large file has hundreds of thousands of places.
        if start.line + 1 != self._line:
            self._line = start.line + 1
        end_line = self._line if end.line == start.line else end.line + 1
        return Span(self.path, self._line, start.column + 1, end_line, end.column + 1)


def _under(way: KeyPath, places: Mapping[KeyPath, Span]) -> Mapping[KeyPath, Span]:
    return {path: span for path, span in places.items() if path[: len(way)] == way}


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 70 else f"{text[:35]!r}..."


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style:  # None or empty where nothing is quoted
        return text
    if text in _WORDS:
        return _WORDS[text]
    # Python refuses to read numbers of more than 4300 digits; nobody means one.
    if len(text) <= 64 and (_DECIMAL.match(text) or _HEXADECIMAL.match(text)):
        return int(text.replace("_", ""), 0)
    return text
