"""The run folder: what is written is read again, whatever ended the writer, and nothing is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vtool.bench.run_folder import open_run
from vtool.diagnostics import VtoolError, format_diagnostic
from vtool.files.json_text import place_of
from vtool.results.records import (
    RECORD,
    Better,
    Clock,
    Ended,
    Environment,
    Metric,
    Moved,
    Repetition,
    Run,
    Session,
    Void,
    records_schema,
)
from vtool.results.run_folder import RunRead, read_run

ROOT = Path(__file__).resolve().parents[2]
NOON = "2026-11-30T12:00:00.000Z"
DIGEST = "0" * 64


def a_run(**changes: Any) -> Run:
    variants = [{"id": "path=pool", "axes": {"path": "pool"}, "topology": "t.yaml", "digest": DIGEST}]
    cells = [{"id": f"path=pool/{name}@disk0", "variant": "path=pool", "workload": name} for name in ("read", "write")]
    workloads = [{"id": name, "tool": "fio", "parameters": {"depth": 1}} for name in ("read", "write")]
    said = {
        "record": "run", "format": "vtool-bench", "version": 1, "id": "r1", "name": "n", "created": NOON,
        "vtool": "0.1.0", "command": ["vtool", "bench"], "matrix": {}, "matrix_digest": DIGEST, "repetitions": 2,
        "axes": {"path": ["pool"]}, "baseline": {}, "variants": variants, "workloads": workloads, "cells": cells,
    }  # fmt: skip
    run = RECORD.validate_json(json.dumps(said | changes))
    assert isinstance(run, Run)
    return run


def a_repetition(number: int = 1, cell: str = "path=pool/read@disk0", **changes: Any) -> Repetition:
    record = Repetition(
        cell=cell, number=number, session=1, clock=Clock.REAL, started=NOON, seconds=1.5,
        metrics=(Metric(name="throughput", unit="B/s", value=1e6, better=Better.HIGHER),),
    )  # fmt: skip
    return record.model_copy(update=changes)


def codes(caught: pytest.ExceptionInfo[VtoolError]) -> list[str]:
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", a_run()) as folder:
        folder.append(Session(number=1, started=NOON, vtool="0.1.0", command=("vtool",)))
        raw = folder.keep_raw("path=pool/read@disk0", "1.fio.json", b"{}")
        assert raw is not None
        folder.append(a_repetition(raw=(raw,)))
        folder.append(Ended(session=1, at=NOON, how="complete"))
    read = read_run(tmp_path / "r")
    assert read.run == a_run() and read.sound("path=pool/read@disk0") == (a_repetition(raw=(raw,)),)
    assert (read.folder / raw.path).read_bytes() == b"{}"
    assert read.missing() == [("path=pool/write@disk0", 1), ("path=pool/read@disk0", 2), ("path=pool/write@disk0", 2)]
    assert not read.warnings and not (tmp_path / "r" / "reserve").exists()


def test_the_schema_checked_in_is_the_records_and_takes_what_is_written(tmp_path: Path) -> None:
    checked_in = json.loads((ROOT / "docs/reference/bench-format.schema.json").read_text())
    assert checked_in == records_schema(), "run `vtool schema --of run -o docs/reference/bench-format.schema.json`"
    with open_run(tmp_path / "r", a_run()) as folder:
        folder.append(a_repetition())
    for line in (tmp_path / "r" / "run.jsonl").read_text().splitlines():
        Draft202012Validator(checked_in).validate(json.loads(line))


def test_the_page_names_every_record() -> None:
    page = (ROOT / "docs/reference/bench-format.md").read_text()
    names = [definition["properties"]["record"]["const"] for definition in records_schema()["$defs"].values()
             if "record" in definition.get("properties", {})]  # fmt: skip
    assert len(names) == 7 and all(f"| `{name}` |" in page for name in names)


@settings(deadline=None)  # it waits for the disk
@given(st.integers(0, 400))
def test_a_line_cut_anywhere_is_set_aside(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    where = tmp_path_factory.mktemp("run")
    with open_run(where, a_run()) as folder:
        folder.append(a_repetition())
        folder.append(a_repetition(2))
    records = where / "run.jsonl"
    whole = records.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    left = whole[: last + 1 + cut % (len(whole) - last - 1)]
    records.write_bytes(left)
    read = read_run(where)
    assert len(read.repetitions) == 1 and [found.code for found in read.warnings] == ["VT935"]
    assert records.read_bytes() == left, "reading changes nothing"
    with open_run(where, a_run()) as folder:
        assert folder.set_aside is not None and (where / folder.set_aside).read_bytes() == left[last:]
        folder.append(a_repetition(2))
    assert records.read_bytes() == whole


def test_zeros_that_a_power_cut_leaves_are_set_aside(tmp_path: Path) -> None:
    with open_run(tmp_path, a_run()):
        pass
    with (tmp_path / "run.jsonl").open("ab") as file:
        file.write(bytes(4096))
    with open_run(tmp_path, a_run()) as folder:
        assert folder.set_aside is not None
    assert read_run(tmp_path).run == a_run()


def test_a_first_line_that_was_not_finished_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text('{"record": "ru')
    with pytest.raises(VtoolError) as caught:
        read_run(tmp_path)
    assert codes(caught) == ["VT930"]
    with open_run(tmp_path, a_run()) as folder:
        assert (tmp_path / str(folder.set_aside)).read_text() == '{"record": "ru'
    assert read_run(tmp_path).run == a_run()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    with open_run(tmp_path, a_run()) as folder:
        folder.append(a_repetition())
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write('{"record": "repetition"\n' + a_repetition(cell="no such cell").model_dump_json() + "\n")
    for use in (lambda: read_run(tmp_path), lambda: open_run(tmp_path, a_run()).__enter__()):
        with pytest.raises(VtoolError) as caught:
            use()
        assert codes(caught) == ["VT932", "VT932"]
        assert [found.span.line for found in caught.value.diagnostics if found.span] == [3, 4]


@pytest.mark.parametrize(
    "first",
    ['{"format": "vtool-bench", "version": 2, "vtool": "9.0"}', "[]", "[" * 100_000, "no JSON", '{"version": 1}'],
)
def test_a_folder_of_another_version_is_refused(tmp_path: Path, first: str) -> None:
    (tmp_path / "run.jsonl").write_text(first + "\n")
    for use in (lambda: read_run(tmp_path), lambda: open_run(tmp_path, a_run()).__enter__()):
        with pytest.raises(VtoolError) as caught:
            use()
        assert codes(caught) == ["VT930"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]
    assert (tmp_path / "run.jsonl").read_text() == first + "\n"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(VtoolError) as caught, open_run(tmp_path, a_run()):
        pass
    assert codes(caught) == ["VT930"] and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matrix_digest": "1" * 64}, "matrix"),
        ({"repetitions": 3}, "repetitions"),
        ({"variants": [{"id": "path=pool", "axes": {}, "topology": "t", "digest": "1" * 64}]}, "has changed"),
        ({"variants": [{"id": "path=pool", "axes": {}, "topology": "t", "digest": DIGEST, "plans": {"b": DIGEST}}]},
         "planned in another way"),
        ({"variants": [{"id": "new", "axes": {}, "topology": "t", "digest": DIGEST}]}, "no variant 'new'"),
    ],
)  # fmt: skip
def test_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with open_run(tmp_path, a_run()) as folder:
        folder.append(a_repetition())
    before = (tmp_path / "run.jsonl").read_bytes()
    with pytest.raises(VtoolError, match=words) as caught, open_run(tmp_path, a_run(**changes)):
        pass
    assert codes(caught) == ["VT931"] and (tmp_path / "run.jsonl").read_bytes() == before


def test_one_process_writes(tmp_path: Path) -> None:
    with open_run(tmp_path, a_run()), pytest.raises(VtoolError) as caught, open_run(tmp_path, a_run()):
        pass
    assert codes(caught) == ["VT934"]
    with open_run(tmp_path, a_run()):
        pass


def test_raw_files_are_never_overwritten(tmp_path: Path) -> None:
    with open_run(tmp_path, a_run()) as folder:
        paths = [raw.path for content in (b"1", b"2") if (raw := folder.keep_raw("c", "1.json", content))]
    assert [(tmp_path / path).read_bytes() for path in paths] == [b"1", b"2"]


def test_what_goes_on_with_another_board_counts_from_there_on(tmp_path: Path) -> None:
    moved = Moved(cells=("path=pool/read@disk0",), session=1, at=NOON, before="a", after="b", why="a is lost")
    with open_run(tmp_path / "r", a_run()) as folder:
        for record in (a_repetition(), a_repetition(cell="path=pool/write@disk0"), moved, a_repetition(2)):
            folder.append(record)
    read = read_run(tmp_path / "r")
    assert read.moved == (moved,) and read.superseded == (a_repetition(),)
    assert read.sound("path=pool/read@disk0") == (a_repetition(2),) and len(read.repetitions) == 2
    assert read.missing() == [("path=pool/read@disk0", 1), ("path=pool/write@disk0", 2)]
    assert read.attempts()["path=pool/read@disk0", 1] == 1
    path = tmp_path / "r" / "run.jsonl"
    path.write_bytes(path.read_bytes() + b"{")
    (warning,) = read_run(tmp_path / "r").warnings
    assert warning.span is not None and warning.span.line == 6


def test_void_repetitions_are_missing_and_counted(tmp_path: Path) -> None:
    with open_run(tmp_path, a_run()) as folder:
        folder.append(a_repetition(void=Void.DISTURBED))
        folder.append(a_repetition(attempt=2))
    read = read_run(tmp_path)
    assert read.attempts() == {("path=pool/read@disk0", 1): 2}
    assert [one.attempt for one in read.sound("path=pool/read@disk0")] == [2]


FILL = """
    from pathlib import Path
    from tests.unit.test_run_folder import a_repetition, a_run
    from vtool.bench.run_folder import open_run
    from vtool.diagnostics import VtoolError
    where, written = Path("FOLDER") / "run", 0
    try:
        with open_run(where, a_run(repetitions=10**6)) as folder:
            while True:
                raw = folder.keep_raw("c", "raw", bytes(30_000))
                written += 1
                folder.append(a_repetition(written, raw=(raw,) if raw else ()))
    except VtoolError as error:
        from vtool.results.run_folder import read_run
        read = read_run(where)
        whole = all((where / raw.path).stat().st_size == raw.bytes for one in read.repetitions for raw in one.raw)
        print(error.diagnostics[0].code, written == len(read.repetitions), whole, read.torn, error)
"""


def test_a_full_disk_is_named_and_the_last_repetition_is_kept(tmp_path: Path) -> None:
    script = textwrap.dedent(FILL).replace("FOLDER", str(tmp_path))
    mounted = f'mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c "$1"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", script],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.startswith("VT933 True True b'' VT933: cannot write into"), done.stdout + done.stderr
    assert "no space left on device; what was measured until now is in it" in done.stdout


def test_a_run_is_plain_data() -> None:
    read = RunRead(Path("x"), a_run())
    assert list(read.cells) == ["path=pool/read@disk0", "path=pool/write@disk0"]
    assert list(read.workloads) == ["read", "write"] and list(read.variants) == ["path=pool"]


def test_what_is_no_run_folder_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VtoolError, match=f"there is no '{tmp_path}/run.jsonl'"):
        read_run(tmp_path)
    (tmp_path / "run.jsonl").mkdir()
    with pytest.raises(VtoolError, match=r"run\.jsonl' cannot be read: "):
        read_run(tmp_path)


def test_a_run_that_an_earlier_vtool_wrote_is_read(tmp_path: Path) -> None:
    first, *others = (ROOT / "docs/explanation/data/kvm-again/run.jsonl").read_text().splitlines()
    of_run = {key: value for key, value in json.loads(first).items() if key != "called_from"}
    (tmp_path / "run.jsonl").write_text("\n".join([json.dumps(of_run), *others, ""]))
    run = read_run(tmp_path)
    assert run.repetitions and run.run.called_from == "" and run.file("t.yaml") == Path("t.yaml")


# -- what a damaged line costs, and what may be done about it


def whole_run(folder: Path) -> list[str]:
    """Write a run with a line of every kind, and return its lines."""
    environment = Environment(id="e" * 64, board="board0", clock=Clock.REAL, facts={"kernel.release": "6.12"})
    deployment = {"record": "deployment", "variant": "path=pool", "board": "board0", "session": 1, "started": NOON,
                  "seconds": 1.0}  # fmt: skip
    moved = {"record": "moved", "cells": ["path=pool/write@disk0"], "session": 1, "at": NOON, "before": "a",
             "after": "b", "why": "lost"}  # fmt: skip
    with open_run(folder, a_run()) as opened:
        opened.append(Session(number=1, started=NOON, vtool="0.1.0", command=("vtool",)))
        opened.append(environment)
        opened.append(RECORD.validate_json(json.dumps(deployment)))
        opened.append(a_repetition(environment=environment.id))
        opened.append(a_repetition(2, environment=environment.id))
        opened.append(RECORD.validate_json(json.dumps(moved)))
        opened.append(Ended(session=1, at=NOON, how="complete"))
    return (folder / "run.jsonl").read_text().splitlines()


REMOVABLE = ("session", "deployment", "repetition", "ended")


def test_the_advice_of_a_damaged_line_works(tmp_path: Path) -> None:
    """Of each kind: one error, and doing what it says makes a folder that is read and gone on with."""
    lines = whole_run(tmp_path / "r")
    kinds = [json.loads(line)["record"] for line in lines]
    assert set(kinds) == {"run", "session", "environment", "deployment", "repetition", "moved", "ended"}
    for number, kind in enumerate(kinds):
        damaged = lines[number][:-1]
        written = [*lines[:number], damaged, *lines[number + 1 :]]
        (tmp_path / "r/run.jsonl").write_text("".join(f"{one}\n" for one in written))
        with pytest.raises(VtoolError) as caught:
            read_run(tmp_path / "r")
        (found,) = caught.value.diagnostics
        if kind == "run":
            assert found.code == "VT930"
            continue
        (hint,) = found.hints
        assert found.code == "VT932" and hint.startswith("restore the file from a copy"), kind
        left = [*lines[:number], *lines[number + 1 :]]
        if kind == "environment":
            assert f'("environment":"{"e" * 64}")' in hint
            left = [one for one in left if f'"environment":"{"e" * 64}"' not in one]
        assert ("remove the line" in hint) is (kind in (*REMOVABLE, "environment")), kind
        if kind in (*REMOVABLE, "environment"):
            (tmp_path / "r/run.jsonl").write_text("".join(f"{one}\n" for one in left))
            read = read_run(tmp_path / "r")
            assert len(read.missing()) == 2 + len([one for one in lines if "repetition" in one[:25]]) - len(
                [one for one in left if "repetition" in one[:25]]
            )
            with open_run(tmp_path / "r", a_run()) as folder:
                assert folder.was.missing() == read.missing()


def test_a_line_of_which_nothing_can_be_told_is_not_to_be_removed(tmp_path: Path) -> None:
    lines = whole_run(tmp_path / "r")
    (tmp_path / "r/run.jsonl").write_text("".join(f"{one}\n" for one in [*lines[:2], "\x00" * 9, *lines[3:]]))
    with pytest.raises(VtoolError) as caught:
        read_run(tmp_path / "r")
    (found,) = caught.value.diagnostics
    assert "it cannot be told what the line was" in found.hints[0]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (('"value":1000000.0', '"value":"many"'), '"many"'),
        (("path=pool/read@disk0", "path=pool/none@disk0"), '"path=pool/none@disk0"'),
        (('"number":2', '"number":20'), "20"),
        (('"seconds":1.5', '"seconds":1.5.5'), ".5"),
    ],
)
def test_an_error_quotes_its_place_in_a_long_line(tmp_path: Path, change: tuple[str, str], shown: str) -> None:
    """A line may have a hundred thousand characters."""
    with open_run(tmp_path / "r", a_run()) as folder:
        folder.append(a_repetition(2, why="x " * 50_000, void=Void.TOOL_FAILED))
    path = tmp_path / "r/run.jsonl"
    head, line = path.read_text().splitlines()
    assert len(line) > 100_000 and change[0] in line
    path.write_text(f"{head}\n{line.replace(*change)}\n")
    with pytest.raises(VtoolError) as caught:
        read_run(tmp_path / "r")
    (found,) = caught.value.diagnostics
    text = format_diagnostic(found)
    assert len(text) < 1200, "nobody reads more"
    (_, quoted, marks, *_) = text.splitlines()
    begin = marks.index("^")
    assert quoted[begin:].startswith(shown), text


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=12))  # fmt: skip
def test_the_place_of_every_value_is_found(value: Any) -> None:
    text = json.dumps({"all": value}, indent=1)

    def walk(one: Any, path: tuple[str | int, ...]) -> None:
        place = place_of(text, path)
        assert place is not None and json.loads(text[slice(*place)]) == one
        inner = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, below in inner:
            walk(below, (*path, key))

    walk(value, ("all",))
    assert place_of(text, ("none",)) is None and place_of("{", ("all",)) is None and place_of("", ("all",)) is None
