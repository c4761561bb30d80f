"""Quoting: each target's own parser reads back what was given, or the value is refused."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vtool.base.rooms import room
from vtool.cli.common import prepare
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.diagnostics import VtoolError
from vtool.model.combinations import Readiness
from vtool.model.devices import Program
from vtool.model.topology import Enhanced, RegionUse, Scheduler
from vtool.plan.types import QemuOption
from vtool.render.filters import cells, kib, line_of, mib, option_list, qemu, systemd, uboot, xl
from vtool.render.libvirt import domain_xml

LIBVIRT = Path(__file__).resolve().parents[1] / "topologies" / "kvm-libvirt.yaml"

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


@pytest.mark.parametrize("value", [*NASTY, "", "-", "a;b", "'", "ä", "a,,b=c,"])
def test_a_line_of_a_command_is_read_back_as_its_words(value: str) -> None:
    read = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line_of(("--option", value)))]
    assert read == ["--option", value]


@pytest.mark.parametrize("value", [*NASTY, "", ",", "a,,b", ",id=other"])
def test_an_option_list_is_read_back_as_its_pairs(value: str) -> None:
    # QEMU's own rule (util/keyval.c): a comma ends a value, two are one that does not.
    written = option_list(QemuOption("-device", "driver", (("path", value), ("id", "x"))))
    word, path, identity = (part.replace("\0", ",") for part in written.replace(",,", "\0").split(","))
    assert (word, path, identity) == ("driver", f"path={value}", "id=x")


@pytest.mark.parametrize("value", [*NASTY, "</cmdline><x a='", "]]>", "&amp;", "<!--", "\u2028".join("ab")])
def test_xml_is_read_back_as_the_text_it_was_given_or_refuses_it(value: str) -> None:
    board = prepare(LIBVIRT).plan.boards[0]
    guest = replace(board.kvm_guests[0], bootargs=value)
    if not value.isprintable():
        with pytest.raises(VtoolError):
            domain_xml(guest)
        return
    assert ElementTree.fromstring(domain_xml(guest)).findtext("os/cmdline") == value


def test_units_convert_exactly_or_not_at_all() -> None:
    assert (mib(3 << 20), kib(3 << 10)) == (3, 3)
    with pytest.raises(VtoolError):
        mib((1 << 20) + 1)
    assert cells(0x1_2345_6789, 2) == "0x1 0x23456789"
    with pytest.raises(VtoolError):
        cells(1 << 32, 1)


def test_a_template_compares_members_of_closed_sets_not_their_words() -> None:
    closed = (Program, Transport, Readiness, DataPath, Scheduler, Enhanced, RegionUse)
    words = {member.value for kind in closed for member in kind}
    compared = re.compile(r"""[=!]=\s*["']([\w-]+)["']""")
    for template in room("templates").rglob("*.j2"):
        assert not words & set(compared.findall(template.read_text())), template
