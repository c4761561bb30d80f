"""Lines in other programs' words: each reader takes only what its program takes, and knows all that vtool writes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden import checked_in
from tests.golden.test_golden import CASES
from tests.golden.xl_config import xl_takes
from vtool.cli.common import prepare
from vtool.diagnostics import VtoolError
from vtool.platform.devicetree import read_blob
from vtool.platform.extra import Format, qemu_lines, tree_lines, unit_lines, xl_lines
from vtool.render.filters import qemu_line
from vtool.report.summary import plan_data, plan_lines

ROOT = Path(__file__).resolve().parents[2]


def every_file(pattern: str) -> list[str]:
    """Return the text of every golden file that has a name like this, without the user's own lines."""
    found = [
        text.partition("not checked by vtool")[0]
        for case in CASES
        if case != "kvm-extra"  # what is added to a command line has no comment before it
        for name, text in checked_in.read(case).items()
        if re.search(pattern, name)
    ]
    assert found
    return found


# -- the programs themselves judge


def properties_for_dtc(line: str) -> list[str]:
    """Return the properties of a node that has a line and one property more; AssertionError where dtc takes it not."""
    source = f"/dts-v1/; / {{ node {{ {line}; last; }}; }};"
    done = subprocess.run(["dtc", "-q"], input=source.encode(), capture_output=True)
    assert done.returncode == 0, line
    node = read_blob(done.stdout).root.children["node"]
    assert not node.children
    return list(node.values)


def reads(format_: Format, line: str) -> bool:
    try:
        format_.read(line)
    except ValueError:
        return False
    return True


def of_words(*words: str) -> st.SearchStrategy[str]:
    """Make lines that are nearly right, or not at all."""
    return st.lists(st.sampled_from(words), max_size=9).map("".join)


XL_LINES = of_words(
    "a", " = ", "[", "]", ",", '"x"', "'y'", '"', "'", "\\", '\\"', "7", "0x1f", ";", "#", "+=", "-", "."
)
TREE_LINES = of_words(
    *("a,b", " = ", "<", ">", "1", "0xffffffff", "0x100000000", '"t"', '"', "\\", "[", "00", "]", ",", ";", "{", "}"),
    *("&x", "/bits/ 8 ", "#c"),
)


@given(XL_LINES)
@settings(max_examples=600, deadline=None)
def test_a_line_that_is_taken_for_xl_is_one_assignment_to_xl(line: str) -> None:
    if reads(xl_lines.OF_XL, line):
        assert xl_takes(f"type = 'pvh'\n{line}\nname = 'x'\n"), line
        # One that is not whole would take the next line with it.
        assert not xl_takes(f"{line} name = 'x'\n"), line


@given(TREE_LINES)
@settings(max_examples=300, deadline=None)
def test_a_line_that_is_taken_for_a_tree_is_one_property_to_dtc(line: str) -> None:
    if reads(tree_lines.OF_NODE, line):
        (name,) = tree_lines.read(line)
        assert properties_for_dtc(line.strip().removesuffix(";")) == [name, "last"]


@pytest.mark.parametrize(
    "line", ['a = "x"; memory = 1', "a = 1 # b", "a = x", "a", "= 1", "a = [1", "a = [1 2]", 'a = "\\x"']
)
def test_what_xl_would_read_otherwise_is_refused(line: str) -> None:
    assert not reads(xl_lines.OF_XL, line)


@pytest.mark.parametrize(
    "line",
    [
        "a; }; evil {",
        "a = <&b>",
        "/delete-property/ a",
        "a = <1>, ",
        "b: a",
        'a = "x\\',
        "a = <0x100000000>",
        "a = <(1)>",
    ],
)
def test_what_reaches_beyond_a_property_is_refused(line: str) -> None:
    assert not reads(tree_lines.OF_NODE, line)


@pytest.mark.parametrize("line", ["-device 'x", "x", "-device a b", "- x", "-device\\ x y z", "-device '{\"id\"}'"])
def test_what_is_not_one_option_is_refused(line: str) -> None:
    assert not reads(qemu_lines.OF_QEMU, line)


@pytest.mark.parametrize("line", ["Nice=5\\", "[Install]", "nice=5", "#Nice=5", "ExecStartPre", " Nice=5"])
def test_what_is_not_one_setting_is_refused(line: str) -> None:
    assert not reads(unit_lines.OF_UNITS, line)


# -- what vtool writes is known


def test_every_name_of_every_xl_cfg_is_vtools() -> None:
    names = {name for text in every_file(r"/[\w-]+\.cfg$") for name in re.findall(r"^([a-z_0-9]+) = ", text, re.M)}
    assert names - {"options", "kernel", "dtb", "default"} <= xl_lines.WRITTEN.keys()
    assert {"vif", "memory", "dtdev", "cpus"} <= names


def test_every_property_of_every_domains_node_is_vtools() -> None:
    nodes = [
        node
        for text in every_file(r"board\.dts$")
        for node in re.findall(r"\t\tdomain-[^{]*\{\n(.*?)\n\t\t\};", text, re.S)
    ]
    names = {name for node in nodes for name in re.findall(r"^\t{3}([\w,.#-]+)(?: =.*)?;$", node, re.M)}
    assert names - {"compatible"} <= tree_lines.WRITTEN.keys() and tree_lines.decided("compatible")
    assert {"memory", "cpus", "xen,static-mem"} <= names


def test_every_option_and_identity_of_every_qemu_is_vtools() -> None:
    for text in every_file(r"units/vtool-domain-.*\.service$"):
        for line in re.findall(r"^ExecStart=/usr/bin/qemu-system-aarch64((?:.*\\\n)*.*)$", text, re.M):
            words = shlex.split(line.replace("\\\n", " "))
            options = {word.lstrip("-") for word in words if re.fullmatch(r"-[a-z][a-z-]*", word)}
            assert options <= {*qemu_lines.WRITTEN, *qemu_lines.REPEATED}
            for identity in re.findall(r"\b(?:id|node-name)=([^, ]+)", " ".join(words)):
                assert qemu_lines.decided(f"device id={identity}"), identity


def test_every_setting_of_every_unit_is_known() -> None:
    units = every_file(r"units/vtool-(domain|backend|qemu|virtio-disk|vhost-frontend|create|tap)-.*\.service$")
    names = {name for text in units for name in re.findall(r"^([A-Z]\w+)=", text, re.M)} - {"WantedBy"}
    assert names <= unit_lines.WRITTEN | unit_lines.LISTS | unit_lines.SANDBOX
    assert not unit_lines.WRITTEN & (unit_lines.LISTS | unit_lines.SANDBOX)


def test_what_the_user_may_say_of_a_guests_qemu_is_not_written() -> None:
    domains = [text for text in every_file(r"units/vtool-domain-.*\.service$") if "\nType=exec\n" in text]
    assert domains
    for text in domains:
        assert not unit_lines.OF_RUN & set(re.findall(r"^([A-Z]\w+)=", text, re.M))


# -- what is shown and rendered


def test_a_plan_says_what_is_not_checked() -> None:
    for case, count in (("kvm-extra", 11), ("xen-extra", 10)):
        plan = prepare(CASES[case]).plan
        assert sum("not checked by vtool: " in line for line in plan_lines(plan)) == count
        boards = plan_data(plan)["boards"]
        said = [
            line for b in boards for kind in ("kvm_guests", "xen_guests") for g in b[kind] for line in g["not_checked"]
        ]
        said += [line for board in boards for guest in board["xen_boot"]["guests"] for line in guest["not_checked"]]
        said += [line for board in boards for extra in board["units_not_checked"] for line in extra["lines"]]
        said += [board["xen_not_checked"] for board in boards if board["xen_not_checked"]]
        assert len(said) == count


def test_systemd_gives_qemu_the_words_that_were_written() -> None:
    guest = prepare(CASES["kvm-extra"]).plan.boards[0].kvm_guests[0]
    text = checked_in.read("kvm-extra")[f"board0/generation/units/{guest.unit}"]
    (line,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", text, re.M)
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line.replace("\\\n", " "))]
    for line in guest.not_checked:
        option, value = shlex.split(line)
        assert words[words.index(value) - 1] == option
    assert "\n" not in qemu_line(guest.not_checked[-1])


def test_qemu_makes_the_devices_that_were_added() -> None:
    guest = prepare(CASES["kvm-extra"]).plan.boards[0].kvm_guests[0]
    words = [word for line in guest.not_checked for word in shlex.split(line)]
    start = shlex.split("qemu-system-aarch64 -nodefaults -display none -M virt -m 64 -S -monitor stdio")
    done = subprocess.run([*start, *words], input="info qtree\nquit\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'dev: virtio-tablet-pci, id "pen"' in done.stdout and 'id "keys"' in done.stdout


def test_a_device_without_a_unit_of_its_own_takes_no_settings(tmp_path: Path) -> None:
    text = CASES["kvm-extra"].read_text().replace("program: qemu-storage-daemon", "program: qemu")
    text = text.replace("data_path: pool\n", "data_path: shared-ram\n").replace("    region: pool0\n", "")
    text = re.sub(r"regions:\n.*\n", "", text)
    (tmp_path / "case.yaml").write_text(text)
    with pytest.raises(VtoolError) as caught:
        prepare(tmp_path / "case.yaml")
    (found,) = caught.value.diagnostics
    assert found.code == "VT437" and found.span is not None
    assert text.splitlines()[found.span.line - 1].strip().startswith("unit_extra")


def test_settings_stand_at_the_end_of_the_unit() -> None:
    files = checked_in.read("kvm-extra")
    unit = files["board0/generation/units/vtool-backend-disk0.service"]
    assert unit.endswith("\n# The user's own, not checked by vtool:\n[Service]\nCPUWeight=50\n")
