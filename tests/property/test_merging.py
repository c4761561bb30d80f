"""Merging and variables under any input: order of merging, places that exist, no other exception than VtoolError."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vtool.diagnostics import VtoolError
from vtool.reading.language import interpolate, load_topology, merge
from vtool.reading.source import Document, parse

quickly = settings(max_examples=100, deadline=None)
words = st.text("abcxyz", min_size=1, max_size=3)
values = st.recursive(
    words | st.integers(-9, 99) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(words, values, max_size=4)
pieces = st.sampled_from(
    [*"a:{}[],-&*!|>'\"#~ \n\t%@`", "\n  ", ": ", "a: ", "${", "${a}", "$${", "}", "include: ", "[t.yaml]", "a.yaml",
     "variables:\n  ", "b: ${a}\n  ", "a: ${b}\n", "version: 1\n", "1", "é", "\x00", "\u2028"]
)  # fmt: skip
texts = st.lists(pieces, max_size=30).map("".join)


def document(value: object, name: str) -> Document:
    return parse(yaml.safe_dump(value, sort_keys=False), Path(name))


def same(one: Document, other: Document) -> bool:
    return (one.value, one.values, one.keys) == (other.value, other.values, other.keys)


def removes(*values: object) -> bool:
    """Whether merging these in order replaces a whole mapping by something else, which removes its keys."""
    found = [value for value in values if isinstance(value, dict)]
    if not found:
        return False
    keys = {key for value in found for key in value}
    return len(found) < len(values) or any(removes(*(v[key] for v in found if key in v)) for key in keys)


@quickly
@given(mappings, mappings, mappings)
def test_merging_is_associative_where_nothing_is_removed(one: object, two: object, three: object) -> None:
    assume(not removes(one, two, three))
    a, b, c = (document(value, name) for name, value in (("a", one), ("b", two), ("c", three)))
    left, right = merge([merge([a, b]), c]), merge([a, merge([b, c])])
    assert left.value == right.value and left.values.keys() == right.values.keys()
    disjoint = [
        document({f"{name}-{key}": value for key, value in dict(found.value).items()} or {name: 1}, name)
        for name, found in (("a", a), ("b", b), ("c", c))
    ]
    a, b, c = disjoint
    assert same(merge([merge([a, b]), c]), merge([a, merge([b, c])]))
    backwards = merge([c, b, a])
    assert merge(disjoint).value == backwards.value
    assert {way: span for way, span in backwards.values.items() if way} == {
        way: span for way, span in merge(disjoint).values.items() if way
    }


@quickly
@given(mappings, mappings)
def test_what_is_merged_stands_where_its_text_is(one: object, two: object) -> None:
    written = {name: yaml.safe_dump(value, sort_keys=False) for name, value in (("a", one), ("b", two))}
    merged = merge([parse(text, Path(name)) for name, text in written.items()])
    for way, span in merged.values.items():
        value = merged.value
        for part in way:
            value = value[part]
        if not isinstance(value, dict | list):
            line = written[span.path.name].splitlines()[span.line - 1]
            assert yaml.safe_load(line[span.column - 1 : span.end_column - 1]) == value
    for way, span in merged.keys.items():
        assert written[span.path.name].splitlines()[span.line - 1][span.column - 1 : span.end_column - 1] in (
            way[-1],
            f"'{way[-1]}'",
        )


@quickly
@given(mappings, st.dictionaries(words, words | st.integers(0, 9) | st.booleans(), max_size=3))
def test_values_without_variables_stay(value: dict[str, object], variables: dict[str, object]) -> None:
    value.pop("variables", None)
    filled = interpolate(document({**value, "variables": variables}, "a"))
    assert filled.value == value
    assert [finding.code for finding in filled.warnings] == ["VT112"] * len(variables)


@settings(max_examples=300, deadline=None)
@given(texts, texts, texts)
def test_any_text_is_read_or_refused_with_a_place(top: str, other: str, setting: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, included = Path(folder, "t.yaml"), Path(folder, "a.yaml")
        path.write_text("include: [a.yaml]\n" + top)
        included.write_text(other)
        try:
            load_topology(path, (), (setting,) if setting else ())
        except VtoolError as error:
            for found in error.diagnostics:
                assert found.span is not None, found
                lines = {path: path.read_text(), included: included.read_text()}.get(found.span.path, found.span.text)
                assert lines is not None, found
                if found.span.text is None:  # line ends as YAML counts them, and the line after the last
                    assert found.span.line <= len(lines.splitlines()) + 1, found
