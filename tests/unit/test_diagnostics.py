"""Diagnostics as a person and as a program read them."""

from __future__ import annotations

import json
from pathlib import Path

from vtool.diagnostics import (
    Diagnostic,
    ExitCode,
    Label,
    Severity,
    Span,
    VtoolError,
    board_failed,
    format_diagnostic,
)


def test_the_text_of_a_finding_with_all_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "pair.yaml"
    path.write_text("regions:\n  vring0:\n    base: 0x40000000\n")
    span = Span(path, 3, 11, 3, 21)
    label = Label(Span(path, 2, 3, 2, 9), "'vring0' is here")
    found = Diagnostic("VT401", "it overlaps", span, (label,), ("leave it out",), ("tail of", "a console"))
    assert format_diagnostic(found).replace(str(tmp_path), "") == (
        "/pair.yaml:3:11: error[VT401]: it overlaps\n"
        "     3 |     base: 0x40000000\n"
        "       |           ^^^^^^^^^^\n"
        "   /pair.yaml:2:3: 'vring0' is here\n"
        "   hint: leave it out\n"
        "   | tail of\n"
        "   | a console"
    )


def test_a_span_of_several_lines_is_marked_to_the_end_of_its_first(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: [1,\n 2]\n")
    shown = format_diagnostic(Diagnostic("VT203", "wrong", Span(path, 1, 4, 2, 4), severity=Severity.WARNING))
    assert shown.splitlines()[0].endswith(": warning[VT203]: wrong")
    assert shown.splitlines()[1:] == ["     1 | a: [1,", "       |    ^^^"]


def test_places_that_cannot_be_shown_are_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"
    assert format_diagnostic(Diagnostic("VT203", "wrong", Span(gone, 1, 1, 1, 2))) == f"{gone}:1:1: error[VT203]: wrong"
    assert format_diagnostic(Diagnostic("VT602", "the board is off")) == "error[VT602]: the board is off"
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    assert format_diagnostic(Diagnostic("VT102", "empty", Span(empty, 1, 1, 1, 1))).count("\n") == 0


def test_the_data_of_a_finding_is_json() -> None:
    span = Span(Path("a.yaml"), 1, 2, 3, 4)
    data = json.loads(json.dumps(Diagnostic("VT401", "m", span, (Label(span, "l"),), ("h",), ("d",)).to_json()))
    place = {"file": "a.yaml", "line": 1, "column": 2, "end_line": 3, "end_column": 4}
    assert data == {
        "code": "VT401",
        "severity": "error",
        "message": "m",
        "place": place,
        "labels": [{"place": place, "message": "l"}],
        "hints": ["h"],
        "detail": ["d"],
    }
    assert Diagnostic("VT602", "off").to_json()["place"] is None


def test_an_error_carries_one_finding_or_all_and_whose_fault_it_is() -> None:
    one = Diagnostic("VT401", "first")
    both = VtoolError([one, Diagnostic("VT404", "second")])
    assert VtoolError(one).diagnostics == (one,)
    assert str(both) == "VT401: first; VT404: second"
    assert both.exit_code is ExitCode.TOPOLOGY_WRONG
    failed = board_failed("VT603", "no answer", hints=["look"], detail=["tail"])
    assert failed.exit_code is ExitCode.BOARD_FAILED
    assert (failed.diagnostics[0].hints, failed.diagnostics[0].detail) == (("look",), ("tail",))
