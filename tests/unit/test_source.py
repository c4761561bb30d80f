"""Reading YAML: what stays text, what becomes a number, and where everything is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from vtool.diagnostics import Diagnostic, Span, VtoolError
from vtool.reading.source import load, parse


def value_of(text: str, folder: Path) -> Any:
    path = folder / "a.yaml"
    path.write_text(text)
    return load(path).value


def faults_of(data: str | bytes, folder: Path) -> list[Diagnostic]:
    path = folder / "a.yaml"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(VtoolError) as caught:
        load(path)
    return list(caught.value.diagnostics)


@pytest.mark.parametrize(
    "text",
    [
        "52:54:00:12:34:56",
        "00:01.0",
        "010",
        "0o17",
        "0b1",
        "no",
        "on",
        "Yes",
        "TRUE",
        "1e3",
        "4.20",
        ".inf",
        "2026-11-23",
        "12:30",
        "0xz",
        "0x_1",
        "_1",
        "+1",
        "=",
        "9" * 65,
    ],
)
def test_what_stays_text(text: str, tmp_path: Path) -> None:
    assert value_of(f"a: {text}\n", tmp_path) == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x4000_0000", 0x4000_0000),
        ("0xFf", 255),
        ("0", 0),
        ("-3", -3),
        ("1_000", 1000),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  1", "1\n"),
    ],
)
def test_what_becomes_a_number_or_a_word(text: str, value: Any, tmp_path: Path) -> None:
    found = value_of(f"a: {text}\n", tmp_path)["a"]
    assert found == value and type(found) is type(value)


def test_every_value_and_key_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a:\n  b: [x, 0x10]\nc: &one {d: 'q'}\ne: *one\n")
    document = load(path)
    assert document.value == {"a": {"b": ["x", 16]}, "c": {"d": "q"}, "e": {"d": "q"}}
    places = {
        ("a", "b", 1): (2, 10, 14),
        ("a", "b"): (2, 6, 15),
        ("c", "d"): (3, 13, 16),
        ("e", "d"): (3, 13, 16),
    }
    for way, (line, column, end) in places.items():
        assert document.span(way) == Span(path, line, column, line, end)
    assert document.span(("a", "b"), key=True) == Span(path, 2, 3, 2, 4)


def test_what_is_not_there_has_the_place_of_what_is_around_it(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a:\n  b: 1\n")
    document = load(path)
    assert document.span(("a", "zz")) == document.span(("a",)) == Span(path, 2, 3, 3, 1)
    assert document.span(("a", "b", 7, "y")) == document.span(("a", "b"))
    assert document.span(("zz",)) == document.span(())


def test_windows_line_ends_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n")
    document = load(path)
    assert document.value == {"a": 1, "b": {"c": 2}}
    assert document.span(("b", "c")).line == 3


def test_all_faults_are_reported_each_once(tmp_path: Path) -> None:
    found = faults_of("a: 1\na: 2\n<<: {}\n1: x\nb: !!int 3\nc: &c !x y\nd: *c\n", tmp_path)
    assert [(d.code, d.span.line) for d in found if d.span] == [
        ("VT103", 2),
        ("VT104", 3),
        ("VT104", 4),
        ("VT105", 5),
        ("VT105", 6),
    ]
    (label,) = found[0].labels
    assert (label.span.line, label.message) == (1, "'a' stands here first")


@pytest.mark.parametrize(
    ("data", "line", "column", "words"),
    [
        (b'a: 1\nb: "x\x01"\n', 2, 6, "the character U+0001 is not text"),
        (b"a: 1\r\nb: \xc2\x80\r\n", 2, 4, "the character U+0080 is not text"),
        (b'a: 1\nb: "\\uD800"\n', 2, 4, "the character U+D800 is not text"),
        (b'a: 1\nb: "\\e[2J"\n', 2, 4, "the character U+001B is not text"),
        (b'a: 1\nbc: "x\\UFFFFFFFF"\n', 2, 9, "an escape names no character"),
        (b'a: 1\nbc: "x\\U00110000"\n', 2, 9, "an escape names no character"),
        (b"a: 1\nb: \xff\n", 2, 4, "the file is not UTF-8 text"),
        (b"a: 1\n---\nb: 1\n", 2, 1, "a second document begins here; a file holds one"),
        (b"a: *x\n", 1, 4, "'*' and a name stand for what has '&' and that name above"),
        (b"a: &a [*a]\n", 1, 4, "the file is nested more than 50 levels deep"),
    ],
)
def test_the_place_of_a_fault(data: bytes, line: int, column: int, words: str, tmp_path: Path) -> None:
    (found,) = faults_of(data, tmp_path)
    assert found.code == "VT101" and words in found.message
    assert found.span is not None and (found.span.line, found.span.column) == (line, column)


NESTED = {
    "lists": lambda levels: "a: " + "[" * (levels - 1) + "]" * (levels - 1) + "\n",
    "lists that nothing closes": lambda levels: "a: " + "[" * (levels - 1),
    "mappings": lambda levels: "".join(f"{' ' * level}a:\n" for level in range(levels)),
    "mappings in braces": lambda levels: "{a: " * levels + "}" * levels + "\n",
    "read by PyYAML alone": lambda levels: "a: " + "[" * (levels - 1) + "]" * (levels - 1) + " # ?\n",
    "with a tag": lambda levels: "a: " + "[" * (levels - 1) + "!x " + "]" * (levels - 1) + "\n",
}


@pytest.mark.parametrize(
    ("form", "levels"),
    # A hundred thousand mappings, each indented by one more, are more than any file that is read.
    [(form, levels) for form in NESTED for levels in (53, 999, 1001, 100_000) if form != "mappings" or levels < 2000],
)
def test_what_is_nested_too_deeply_is_told_alike(form: str, levels: int, tmp_path: Path) -> None:
    """Up to a thousand levels libyaml's binding composes them; beyond, Python's limit on calls stops it."""
    (found,) = faults_of(NESTED[form](levels), tmp_path)
    shallow = faults_of(NESTED[form](53), tmp_path)
    assert (found.code, found.message) == ("VT101", "the file is nested more than 50 levels deep")
    assert [found.span] == [fault.span for fault in shallow]  # at the first node that is too deep


@pytest.mark.parametrize("form", ["lists", "mappings", "mappings in braces", "read by PyYAML alone"])
def test_fifty_levels_are_read(form: str, tmp_path: Path) -> None:
    assert list(value_of(NESTED[form](50), tmp_path)) == ["a"]


def test_aliases_that_unfold_without_end_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (found,) = faults_of("\n".join(lines), tmp_path)
    assert found.message == "the file unfolds to more than 400000 values"


@pytest.mark.parametrize("data", ["", "# nothing\n", "---\n...\n"])
def test_an_empty_file_is_vt102(data: str, tmp_path: Path) -> None:
    if data.startswith("---"):
        assert value_of(data, tmp_path) is None
    else:
        assert [d.code for d in faults_of(data, tmp_path)] == ["VT102"]


def test_files_that_cannot_be_read_are_vt100(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (4 << 20) + b"#")
    for path, words in ((tmp_path / "gone.yaml", "no such file"), (tmp_path, "is a directory"), (large, "4 MiB")):
        with pytest.raises(VtoolError) as caught:
            load(path)
        (found,) = caught.value.diagnostics
        assert found.code == "VT100" and found.span is None and words in found.message


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("a: [1, 2", 9, "',' or ']' is missing before this"),
        ("a: {b c: d", 11, "',' or '}' is missing before this"),
        ("a: }", 4, "nothing is open that this would close"),
        ("a: 'x", 6, "a quote is not closed"),
        ("a: @x", 4, "a text cannot begin with this character without quotes"),
        ("a: b: c", 5, "a ':' cannot stand here without quotes around the text"),
        ("a: 'x' y", 8, "only an end of line can stand after a text in quotes"),
        ("a: - b", 4, "an entry of a list cannot stand here"),
        ("a: & 1", 5, "a name is missing after '&' or '*'; a text that begins so needs quotes"),
        ("a: |x", 5, "only an end of line can stand after '|' or '>'"),
        ('a: "\\q"', 6, "no escape that YAML knows"),
        ("%YAML 3.0\n---\na: 1", 1, "vtool's files have no directives"),
        ("a: !x!y z", 4, "a tag is not used here"),
        ("{a: b}}", 7, "nothing is open that this would close"),
    ],
)
def test_what_is_no_yaml_is_said_in_plain_words(text: str, column: int, words: str) -> None:
    with pytest.raises(VtoolError) as caught:
        parse(text, Path("t.yaml"))
    (found,) = caught.value.diagnostics
    assert (found.message, found.span and found.span.column) == (f"not valid YAML: {words}", column)


def test_no_word_of_pyyaml_reaches_a_user() -> None:
    ends = ("", "]", "}", "'", '"', ",", ":", "&", "*", "|", "!", "%", "@", "- ", "? ", "\\t", "...", "---", "{", "[")
    for begin in ("", "a: ", "a: [", "a: {", "- ", "a:\n  b: 1\n", "a: 'x' ", 'a: "', "a: &", "a: !"):
        for end in ends:
            try:
                parse(f"{begin}{end}x", Path("t.yaml"))
            except VtoolError as error:
                for found in error.diagnostics:
                    assert not re.search(r"expected|found |token|scalar|mapping|sequence|<|stream|block", found.message)
