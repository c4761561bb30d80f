"""Quoting: each target's own parser reads back what was given, or the value is refused."""

from __future__ import annotations

import subprocess

import pytest

from vtool.diagnostics import VtoolError
from vtool.render.filters import cells, kib, mib, qemu, systemd, uboot, xl

NASTY = [
    "plain",
    "a b",
    'quote " here',
    "back\\slash",
    "100%",
    "$HOME ${x}",
    "semi;colon",
    "#hash",
    "%n%H",
    "a,b=c",
]


@pytest.mark.parametrize("value", NASTY)
def test_systemd_reads_back_one_word(value: str) -> None:
    # systemd's own rules, as systemd.syntax(7) gives them: unquote, %% is %, $$ is $.
    quoted = systemd(value)
    inner = quoted[1:-1].replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")
    assert inner.replace("%%", "%").replace("$$", "$") == value
    assert '"' not in quoted[1:-1].replace("\\\\", "").replace('\\"', "")


@pytest.mark.parametrize("value", [v for v in NASTY if "\\" not in v])
def test_uboot_single_quotes_are_a_shells(value: str) -> None:
    read = subprocess.run(["sh", "-c", f"printf %s {uboot(value)}"], capture_output=True, text=True, check=True)
    assert read.stdout == value


@pytest.mark.parametrize("value", ["it's", "back\\slash", "two\nlines"])
def test_uboot_refuses_what_it_cannot_carry(value: str) -> None:
    with pytest.raises(VtoolError) as caught:
        uboot(value)
    assert caught.value.diagnostics[0].code == "VT420"


def test_xl_and_qemu() -> None:
    assert xl('a "b" \\') == '"a \\"b\\" \\\\"'
    assert qemu("a,b") == "a,,b"
    for quoting in (xl, qemu, systemd):
        with pytest.raises(VtoolError):
            quoting("two\nlines")


def test_units_convert_exactly_or_not_at_all() -> None:
    assert (mib(3 << 20), kib(3 << 10)) == (3, 3)
    with pytest.raises(VtoolError):
        mib((1 << 20) + 1)
    assert cells(0x1_2345_6789, 2) == "0x1 0x23456789"
    with pytest.raises(VtoolError):
        cells(1 << 32, 1)
