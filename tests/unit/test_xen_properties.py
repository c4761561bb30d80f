"""The table of what Xen takes, and everything that has to follow it: the model, the page, the checks and lint."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from tests.property.xen_topologies import base_tree
from vtool.cli.common import prepare
from vtool.deploy.merged_tree import differences
from vtool.deploy.stage import stage
from vtool.lint import lint
from vtool.model.topology import Capability, Domain, Enhanced, XenDomain
from vtool.plan.types import BoardPlan
from vtool.platform import xen_properties
from vtool.platform.devicetree import read_blob
from vtool.platform.xen_properties import OF_XL, PROPERTIES, SETTINGS, Reference, Where, XenProperty, XenSetting
from vtool.platform.xen_releases import XenVersion
from vtool.render import render

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "docs/reference/topology-language.md"
PAGE = PLACE.read_text()


def test_every_row_has_its_field_and_every_field_its_row() -> None:
    under_xen = {row.field for row in PROPERTIES if row.key.startswith("xen.")}
    beside = {"memory_address", "static_ranges", "vcpu_affinity"}  # the other halves of static_memory and host_cpus
    assert set(XenDomain.model_fields) - beside == under_xen
    assert {row.key for row in SETTINGS if "." not in row.key} <= set(Domain.model_fields)
    assert len({row.name for row in PROPERTIES}) == len(PROPERTIES)


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.limits], ids=lambda row: row.name)
def test_the_model_has_the_limits_of_the_table(row: XenProperty) -> None:
    bounds = XenDomain.model_json_schema()["properties"][row.field]
    numbers = [kind for kind in bounds.get("anyOf", []) if kind.get("type") == "integer"]
    if numbers:
        assert [(kind["minimum"], kind["maximum"]) for kind in numbers] == [row.limits]


def test_what_the_model_lets_a_user_choose_can_be_written() -> None:
    by_name = {row.name: row for row in PROPERTIES}
    every = tuple(capability.value for capability in Capability)
    assert XenSetting(by_name["capabilities"], every).in_tree == 7
    words = {word.value for word in Enhanced}
    assert {word for word, _ in by_name["xen,enhanced"].values_since} <= words


def test_the_page_has_the_tables() -> None:
    """VTOOL_GOLDEN=write makes the page follow the rows."""
    wanted = PAGE
    for what, table in (("property or node", xen_properties.table_of_trees()), ("word", xen_properties.table_of_xl())):
        wanted, tables = re.subn(rf"^\| {what} \| key \|.*\n(\|.*\n)+", lambda _, t=table: t, wanted, flags=re.M)
        assert tables == 1
    if os.environ.get("VTOOL_GOLDEN") == "write":
        PLACE.write_text(wanted)
        return
    assert wanted == PAGE


def test_what_xl_has_a_word_for_is_what_a_guest_of_xl_may_say() -> None:
    words = {row.key for row in PROPERTIES if row.xl and row.key[:4] == "xen."}
    assert {f"xen.{field}" for field in OF_XL} == words | {"xen.vcpu_affinity"}  # of which `cpus` can be a list


# -- one truth for the check, lint and the page


def said_by_check(row: XenProperty, value: str, release: str, folder: Path, *, start: str = "dom0less") -> str:
    """Return 'error', 'warning' or 'nothing': what a board with a release has to say of a property."""
    from vtool.diagnostics import VtoolError

    key, _, field = row.key.rpartition(".")
    said = f"{key}: {{{field}: {value}}}" if key else f"{field}: {value}"
    xen = f"hypervisor: {{kind: xen, version: '{release}'}}"
    (folder / "case.yaml").write_text(
        f"version: 1\nname: case\nboards:\n  board0: {{facts: qemu-virt, {xen}}}\ndomains:\n"
        f"  dom0: {{role: control, memory: 1GiB}}\n  fe0: {{memory: 256MiB, start: {start}, {said}}}\n"
    )
    try:
        found = prepare(folder / "case.yaml").warnings
    except VtoolError as error:
        found = error.diagnostics
    mine = [d.severity.value for d in found if d.code == "VT370"]
    return mine[0] if mine else "nothing"


def said_by_lint(name: str, release: tuple[int, int], folder: Path) -> str:
    import subprocess

    source = (
        "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; chosen { #address-cells = <2>; #size-cells = <2>; fe0 "
        f'{{ compatible = "xen,domain"; cpus = <1>; memory = <0 0x10000>; {name} = <1>; }}; }}; }};'
    )
    blob = subprocess.run(["dtc", "-q"], input=source.encode(), capture_output=True, check=True).stdout
    (folder / "case.dtb").write_bytes(blob)
    found = [f for f in lint(read_blob(blob), XenVersion(*release))[1] if f.code == "VT878"]
    return found[0].severity.value if found else "nothing"


def test_page_tables_on_4_16_are_a_warning_everywhere(tmp_path: Path) -> None:
    # XSA-409's fixes went to stable-4.16: xen/arch/arm/domain_build.c of RELEASE-4.16.3 reads it, 4.16.2's does not.
    row = xen_properties.P2M_MEMORY
    by_check = [said_by_check(row, "4MiB", "4.16", tmp_path, start=start) for start in ("dom0less", "xl")]
    assert by_check == ["warning"] * 2
    assert said_by_lint(row.name, (4, 16), tmp_path) == "warning"
    assert "| `xen,domain-p2m-mem-mb` | `xen.p2m_memory` | 4.17, 4.16.3 |" in PAGE
    assert "| `shadow_memory` | `xen.p2m_memory` | 4.17, 4.16.3 |" in PAGE
    assert row.since_words.endswith("4.16.0 to 4.16.2 ignore it")


# -- a merged tree is compared property by property


def merged(file: Path, folder: Path) -> tuple[BoardPlan, bytes]:
    # The base tree of the tests has no devices to pass through.
    lines = [line for line in file.read_text().splitlines() if "/pl061" not in line]
    text = "\n".join(lines).replace("config: ", f"config: {file.parent}/")
    (folder / "case.yaml").write_text(text.replace("policies/", f"{file.parent}/policies/"))
    (board,) = prepare(folder / "case.yaml").plan.boards
    (folder / "image").write_bytes(b"image")
    (folder / "work").mkdir()
    staged = stage("case", board, render(board), base_tree("qemu-virt"), lambda _: folder / "image", folder / "work")
    return board, next(file for file in staged.files if file.name == "board.dtb").path.read_bytes()


@pytest.mark.parametrize("case", ["dom0less-settings", "dom0less-shared", "xen-kept-apart"])
def test_a_changed_property_of_a_merged_tree_is_told(case: str, tmp_path: Path) -> None:
    board, blob = merged(ROOT / f"tests/topologies/{case}.yaml", tmp_path)
    assert [*differences(read_blob(blob), board)] == []
    compared = 0
    for guest in board.xen_boot.guests:
        for setting in guest.settings:
            if isinstance(setting.in_tree, Reference):
                continue
            if setting.row.where is Where.XL:
                continue
            tree = read_blob(blob)
            node = tree.root.children["chosen"].children[guest.node_name]
            if setting.row.name in node.values:
                del node.values[setting.row.name]
            else:
                node.values[setting.row.name] = b"\0\0\0\1" * 4
            node._properties = None
            told = [*differences(tree, board)]
            assert any(setting.row.name in text or "static memory" in text for text in told), (setting.row.name, told)
            compared += 1
    assert compared >= len([row for row in SETTINGS if row.where is not Where.XL])


def test_a_setting_writes_what_its_row_says() -> None:
    row = next(row for row in PROPERTIES if row.name == "sve")
    assert [XenSetting(row, bits).in_tree for bits in (None, 0, 256)] == [None, True, 256]
    assert [XenSetting(row, bits).in_xl for bits in (None, 0, 256)] == [None, "hw", "256"]
    assert [XenSetting(row, bits).tree_bytes for bits in (0, 256)] == [b"", b"\0\0\1\0"]
    assert dataclasses.is_dataclass(row)
