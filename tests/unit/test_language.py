"""Several files and options become one document: what is merged, what variables make, where it all stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vtool.diagnostics import Diagnostic, Span, VtoolError, format_diagnostic
from vtool.model.validate import validate
from vtool.reading.language import interpolate, load_topology, merge
from vtool.reading.source import Document, load, parse

ROOT = Path(__file__).resolve().parents[2]
SPLIT = ROOT / "tests" / "language" / "split.yaml"


def document(text: str, name: str = "a.yaml") -> Document:
    return parse(text, Path(name))


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / next(iter(files))


def found_in(path: Path, *settings: str, overlays: tuple[Path, ...] = ()) -> list[Diagnostic]:
    with pytest.raises(VtoolError) as caught:
        load_topology(path, overlays, settings)
    return list(caught.value.diagnostics)


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["a: 1", "b: 2"], {"a": 1, "b": 2}),
        (["a: 1", "a: 2"], {"a": 2}),
        (["a: {b: 1, c: 2}", "a: {c: 3, d: 4}"], {"a": {"b": 1, "c": 3, "d": 4}}),
        (["a: [1, 2]", "a: [3]"], {"a": [3]}),
        (["a: [1, 2]", "a: {b: 1}"], {"a": {"b": 1}}),
        (["a: {b: 1}", "a: x"], {"a": "x"}),
        (["a: {b: 1, c: 2}", "a: {b: ~}"], {"a": {"c": 2}}),
        (["a: 1\nb: 2", "a: ~"], {"b": 2}),
        (["a: 1", "a: ~", "a: 3"], {"a": 3}),
        (["b: 1", "a: ~"], {"b": 1, "a": None}),
        (["a: ~"], {"a": None}),
        (["a: [{b: 1}]", "a: [~]"], {"a": [None]}),
    ],
)
def test_merge(texts: list[str], value: Any) -> None:
    merged = merge([document(text) for text in texts])
    assert merged.value == value and list(merged.value) == list(value)


def test_merged_values_stand_where_they_were_written() -> None:
    merged = merge([document("a:\n  b: 1\n  c: [x]\n", "one"), document("a: {b: 2, d: 3}\n", "two")])
    one, two = Path("one"), Path("two")
    assert merged.span(("a", "c", 0)) == Span(one, 3, 7, 3, 8)
    assert merged.span(("a", "b")) == Span(two, 1, 8, 1, 9)
    assert merged.span(("a", "b"), key=True) == Span(two, 1, 5, 1, 6)
    assert merged.span(("a", "d")) == Span(two, 1, 14, 1, 15)
    assert merged.span(("a",), key=True) == Span(one, 1, 1, 1, 2)
    replaced = merge([merged, document("a: 7\n", "three")])
    assert set(replaced.values) == {(), ("a",)} and set(replaced.keys) == {("a",)}


@pytest.mark.parametrize(
    ("variables", "text", "value"),
    [
        ("x: 4", "${x}", 4),
        ("x: true", "${x}", True),
        ("x: '4'", "${x}", "4"),
        ("x: 4", "'${x}'", 4),
        ("x: 4", "a${x}b", "a4b"),
        ("x: 0x10", "a ${x}", "a 16"),
        ("x: false", "a ${x}", "a false"),
        ("x: a\n  y-1_z: b", "${x}${y-1_z}", "ab"),
        ("x: a", "$${x} ${x}", "${x} a"),
        ("x: a", "$x $$ ${x} {x}", "$x $$ a {x}"),
        ("x: $${y}\n  y: a", "'${x}${y}'", "${y}a"),
        ("x: ${y}\n  y: 7", "${x}", 7),
        ("x: ${y}KiB\n  y: 7", "['${x}', {a: '${y}'}]", ["7KiB", {"a": 7}]),
    ],
)
def test_variables(variables: str, text: str, value: Any) -> None:
    filled = interpolate(document(f"variables:\n  {variables}\na: {text}\n")).value
    assert filled == {"a": value} and type(filled["a"]) is type(value)


@pytest.mark.parametrize("text", ["a: [${x}]", "a: {b: ${x}}", "a: [b, ${x}y]"])
def test_a_variable_between_brackets_wants_quotes(text: str) -> None:
    with pytest.raises(VtoolError) as caught:
        document(text)
    (found,) = caught.value.diagnostics
    assert found.code == "VT101" and found.hints == ('between [ ] or { } write "${name}" with quotes',)


def test_keys_have_no_variables() -> None:
    assert interpolate(document("variables: {x: 1}\n'${x}': ${x}\n")).value == {"${x}": 1}


def test_a_wrong_value_of_a_variable_is_shown_with_its_definition(tmp_path: Path) -> None:
    path = written(tmp_path, {"t.yaml": SPLIT.read_text().replace("guest_cpus: 1", "guest_cpus: 0")})
    written(tmp_path, {f"parts/{part.name}": part.read_text() for part in SPLIT.parent.glob("parts/*")})
    with pytest.raises(VtoolError) as caught:
        validate(load_topology(path))
    (found,) = caught.value.diagnostics
    assert format_diagnostic(found).replace(str(tmp_path), "") == (
        "/parts/board.yaml:11:11: error[VT203]: 0 is too small; the least is 1\n"
        "    11 |     cpus: ${guest_cpus}\n"
        "       |           ^^^^^^^^^^^^^\n"
        "   /t.yaml:10:15: variable 'guest_cpus' is defined here"
    )


def test_one_file_or_several_is_the_same_topology() -> None:
    one = validate(load_topology(ROOT / "topology" / "examples" / "kvm-pool.yaml"))
    several = load_topology(SPLIT)
    assert validate(several) == one and several.warnings == ()
    assert several.span(("devices", "disk0", "type")).path.name == "pool.yaml"
    assert several.span(()).path == several.path == SPLIT


def test_files_without_the_language_are_read_as_ever() -> None:
    for path in (ROOT / "topology" / "examples").glob("*.yaml"):
        plain, read = load(path), load_topology(path)
        assert (read.value, read.values, read.keys) == (plain.value, plain.values, plain.keys)


def test_each_file_counts_once_where_it_is_first_named(tmp_path: Path) -> None:
    files = {"t.yaml": "include: [a.yaml, sub/b.yaml]\n", "a.yaml": "include: [sub/../c.yaml]\nx: a\n"}
    files |= {"sub/b.yaml": "include: [../c.yaml]\ny: b\n", "c.yaml": "x: c\ny: c\nz: c\n"}
    assert load_topology(written(tmp_path, files)).value == {"x": "a", "y": "b", "z": "c"}


def test_overlays_then_settings_come_last(tmp_path: Path) -> None:
    path = written(tmp_path, {"t.yaml": "x: 1\ny: 1\nz: 1\nw: 1\n", "o.yaml": "include: [p.yaml]\ny: 2\nz: 2\n"})
    written(tmp_path, {"p.yaml": "y: 3\nw: 3\n"})
    read = load_topology(path, (tmp_path / "o.yaml",), ("z=4", "v.u=[a, 5]", "z=6", "x="))
    assert read.value == {"y": 2, "z": 6, "w": 3, "v": {"u": ["a", 5]}}
    assert read.span(()).path == path
    assert read.span(("z",)) == Span(Path("<--set>"), 3, 3, 3, 4)
    assert read.span(("v", "u", 1)) == Span(Path("<--set>"), 2, 9, 2, 10)
    assert read.span(("v", "u"), key=True) == Span(Path("<--set>"), 2, 3, 2, 4)


def test_settings_reach_variables(tmp_path: Path) -> None:
    path = written(tmp_path, {"t.yaml": "variables: {x: 1}\na: ${x}\n"})
    assert load_topology(path, (), ("variables.x=true",)).value == {"a": True}
    assert [d.code for d in load_topology(path, (), ("variables.y=1",)).warnings] == ["VT112"]


@pytest.mark.parametrize(
    ("setting", "code", "column"),
    [
        ("a", "VT109", 1),
        ("=1", "VT109", 1),
        ("a..b=1", "VT109", 1),
        ("a=1\nb", "VT109", 1),
        ("a=\udcff", "VT109", 1),
        ("a=#x", "VT109", 1),
        (".".join("a" * 21) + "=1", "VT109", 1),
        ("include=[x]", "VT109", 1),
        ("a={b: 1", "VT101", 8),
        ("a={b: 1, b: 2}", "VT103", 10),
        ("a=!!str x", "VT105", 3),
        ("version=2", "VT205", 9),
        ("a=${b}", "VT110", 3),
    ],
)
def test_settings_that_cannot_be_read(setting: str, code: str, column: int, tmp_path: Path) -> None:
    path = written(tmp_path, {"t.yaml": "a: 0\n"})
    (found,) = found_in(path, "z=1", setting)
    assert found.code == code and found.span is not None
    assert (str(found.span.path), found.span.line, found.span.column) == ("<--set>", 2, column)
    assert setting.isprintable() is False or f"     2 | {setting}\n" in format_diagnostic(found)


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({"t.yaml": "include: [a.yaml]", "a.yml": ""}, "VT106", "cannot include 'a.yaml': no such file or directory"),
        ({"t.yaml": "include: [/a.yaml]"}, "VT106", "the included path '/a.yaml' is absolute"),
        ({"t.yaml": "include: [.]"}, "VT106", "cannot include '.': it is a directory, not a file"),
        (
            {"t.yaml": "include: [a.yaml]", "a.yaml": "include: [b.yaml]", "b.yaml": "include: [a.yaml]"},
            "VT107",
            "'a.yaml' includes itself: a.yaml -> b.yaml -> a.yaml",
        ),
        (
            {"t.yaml": "include: [0.yaml]"} | {f"{n}.yaml": f"include: [{n + 1}.yaml]" for n in range(12)},
            "VT107",
            "files include each other more than 10 deep",
        ),
        ({"t.yaml": "include: [a.yaml]", "a.yaml": "[]"}, "VT200", "the file must be a mapping of keys to values"),
        ({"t.yaml": "include: [a.yaml]", "a.yaml": ""}, "VT102", "the file is empty"),
        ({"t.yaml": "version: 2"}, "VT205", "this file is version 2, this vtool reads 1"),
    ],
)
def test_files_that_cannot_be_merged(files: dict[str, str], code: str, words: str, tmp_path: Path) -> None:
    (found,) = found_in(written(tmp_path, files))
    assert (found.code, found.message) == (code, words) and found.span is not None


def test_a_circle_shows_its_way(tmp_path: Path) -> None:
    files = {"t.yaml": "include: [a.yaml]", "a.yaml": "include: [b.yaml]", "b.yaml": "x: 1\ninclude: [a.yaml]"}
    (found,) = found_in(written(tmp_path, files))
    assert str(found.span).removeprefix(str(tmp_path)) == "/b.yaml:2:11"
    assert [(label.span.path.name, label.span.line) for label in found.labels] == [("a.yaml", 1)]


def test_faults_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    files = {"t.yaml": "include: [a.yaml, x.yaml, b.yaml]\nc: 1\nc: 2\n", "a.yaml": "{", "b.yaml": "version: 9"}
    main = written(tmp_path, files)
    assert sorted(d.code for d in found_in(main)) == ["VT101", "VT103", "VT106", "VT205"]
    main.write_text("include: [a.yaml, x.yaml, b.yaml]\n")
    assert {d.code for d in found_in(main, "z")} == {"VT109", "VT101", "VT205", "VT106"}


def test_a_named_overlay_that_is_missing_is_vt100(tmp_path: Path) -> None:
    path = written(tmp_path, {"t.yaml": "a: 0\n"})
    (found,) = found_in(path, overlays=(tmp_path / "no.yaml",))
    assert found.code == "VT100" and "no.yaml" in found.message
