"""One file per rule; the code stands as a comment on the line it must be found at, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vtool.cli.common import examine
from vtool.diagnostics import Diagnostic, VtoolError, format_diagnostic
from vtool.reading.language import load_topology

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.yaml"))
EXAMPLES = sorted((HERE.parents[1] / "topology" / "examples").glob("*.yaml"))

BESIDE = ("VT423", "VT424", "VT510", "VT511")
"""Cases are short: their guests have no ramdisk unless that is what they are about. Of kernels is test_kernels.py."""


def found_in(path: Path) -> list[Diagnostic]:
    try:
        found = examine(path).findings
    except VtoolError as error:
        return list(error.diagnostics)
    return [d for d in found if d.code not in BESIDE or d.code == path.name[:5]]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_found_where_the_comment_says(path: Path) -> None:
    found = found_in(path)
    assert all(d.span for d in found)
    files = {path, *(HERE / name for name in re.findall(r"(?:include|facts)/[\w.-]+", path.read_text()))}
    wanted = {
        (file.resolve(), number, code)
        for file in files
        if file.is_file()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for code in re.findall(r"# (VT\d{3})", line)
    }
    shown = "\n".join(format_diagnostic(diagnostic) for diagnostic in found)
    assert {(d.span.path.resolve(), d.span.line, d.code) for d in found if d.span} == wanted, shown
    assert len(found) == len({(d.span, d.code) for d in found}), shown
    assert path.name[:5] in {code for _, _, code in wanted}


def test_the_whole_message_of_an_overlap() -> None:
    path = HERE / "VT401-carve-out.yaml"
    (found,) = found_in(path)
    line = path.read_text().splitlines()[found.span.line - 1]  # type: ignore[union-attr]
    (label,) = found.labels
    assert format_diagnostic(found).replace(str(HERE), "").replace(str(label.span.path.parent), "") == (
        "/VT401-carve-out.yaml:23:14: error[VT401]: region 'region0' [0x40000000, 0x40200000) overlaps carve-out "
        "'boot-loads' [0x40000000, 0x60000000): U-Boot loads the hypervisor, kernel, ramdisk and device tree here\n"
        f"    23 | {line}\n"
        "       |              ^^^^^^^^^^^\n"
        "   /qemu-virt.yaml:10:11: 'boot-loads' is here\n"
        "   hint: leave out `address` and let vtool choose, or write 0x60000000, where it is free"
    )


def test_the_whole_message_of_a_repeated_key() -> None:
    path = HERE / "VT103-repeated-key.yaml"
    (found,) = found_in(path)
    assert found.span is not None
    line = path.read_text().splitlines()[found.span.line - 1]
    first = found.labels[0].span
    assert first.line < found.span.line
    assert format_diagnostic(found).replace(str(HERE), "") == (
        f"/{path.name}:{found.span.line}:5: error[VT103]: the key 'memory' is repeated\n"
        f"    {found.span.line} | {line}\n"
        "       |     ^^^^^^\n"
        f"   /{path.name}:{first.line}:5: 'memory' stands here first"
    )


def test_the_whole_message_of_a_pool_that_would_hang() -> None:
    path = HERE / "VT405-pool-too-small.yaml"
    (found,) = found_in(path)
    assert found.span is not None
    line = path.read_text().splitlines()[found.span.line - 1]
    assert format_diagnostic(found).replace(str(HERE), "") == (
        f"/{path.name}:{found.span.line}:11: error[VT405]: "
        "pool 'pool0' has 1MiB, and its devices need at least 4MiB: 'disk0' 4MiB\n"
        f"    {found.span.line} | {line}\n"
        "       |           ^^^^\n"
        f"   /{path.name}:26:3: 'disk0' takes the largest share\n"
        "   hint: slots are 2KiB, one mapping takes up to 256KiB, a disk keeps many in flight: "
        "4MiB a disk is the least, 16MiB is comfortable\n"
        "   hint: a pool that is too small hangs the guest's I/O without an error"
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_is_found_in_the_examples(path: Path) -> None:
    assert found_in(path) == []


def test_findings_come_in_the_order_of_the_file() -> None:
    for path in CASES:
        places = [(str(d.span.path), d.span.line, d.span.column) for d in found_in(path) if d.span]
        assert places == sorted(places), path


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "not-text.yaml").write_bytes(b"a: \xff\n")
    for name, code in (("missing.yaml", "VT100"), ("", "VT100"), ("not-text.yaml", "VT101")):
        with pytest.raises(VtoolError) as caught:
            load_topology(tmp_path / name)
        assert caught.value.diagnostics[0].code == code
