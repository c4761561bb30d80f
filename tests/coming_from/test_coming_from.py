"""docs/how-to/coming-from: a topology says what its page shows, but for what the page says is not the same.

Each block of code on a page is what such authors write. It is read by the rules of its own format, and so is what is
rendered of the topology that it leads to: fact by fact they are the same, or stand in the page's last table.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.coming_from import kvm, xen
from tests.coming_from.formats import Facts, Format
from vtool.check.deployable import not_deployable
from vtool.cli.common import examine, prepare
from vtool.plan.tree_devices import with_devices
from vtool.platform.devicetree import read_blob

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "coming-from"
TREES = Path(__file__).parent / "trees"

PAGES_OF: Mapping[str, Mapping[str, Format]] = {**xen.PAGES, **kvm.PAGES}


def setups() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Return what authors write by the topology that says it: its page, and the blocks before the link to it."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for page in PAGES_OF:
        text, blocks = (PAGES / f"{page}.md").read_text(), []
        for language, block, link in re.findall(
            r"^```(\w+)\n(.*?)^```$|\[([\w-]+)\.yaml\]\(\3\.yaml\)", text, re.MULTILINE | re.DOTALL
        ):
            if block:
                blocks.append((language, block))
            elif blocks:
                found[link], blocks = (page, blocks), []
        assert not blocks, f"{page}: no link behind its last block"
    return found


SETUPS = setups()


def not_the_same(page: str) -> set[str]:
    """Return the facts that a page says are not the same."""
    rows = (PAGES / f"{page}.md").read_text().partition("## What is not the same")[2]
    return set(re.findall(r"^\| `([^`]+)` \|", rows, re.MULTILINE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the topologies, and files where they name those that their users have."""
    found = tmp_path_factory.mktemp("coming-from") / "topologies"
    shutil.copytree(PAGES, found)
    xen.stand_in(found)
    kvm.stand_in(found)
    return found


@cache
def compared(folder: Path, topology: str) -> tuple[Facts, Facts]:
    """Return what authors say, and what is rendered of a topology on a board with the tree beside these tests."""
    page, blocks = SETUPS[topology]
    (board,) = prepare(folder / f"{topology}.yaml").plan.boards
    if page in xen.PAGES and board.passthrough:
        tree = TREES / f"{board.facts.name}.dts"
        blob = subprocess.run(["dtc", "-q"], input=tree.read_bytes(), capture_output=True, check=True).stdout
        board = with_devices(board, read_blob(blob))
    theirs: Facts = {}
    ours: Facts = {}
    for number, (language, written) in enumerate(blocks):
        kind = PAGES_OF[page][language]
        # Of several files of one kind each says the same things of another guest.
        beside = [block for other, block in blocks[:number] if other == language and kind == xen.XL_CFG]
        mark = f"{xen.name_of(written)}: " if beside else ""
        theirs |= {f"{mark}{key}": value for key, value in kind.read(written)}
        ours |= {f"{mark}{key}": value for key, value in kind.read(kind.find(board, written))}
    return theirs, ours


def different(theirs: Facts, ours: Facts) -> dict[str, tuple[str, str | None]]:
    return {key: (value, ours.get(key)) for key, value in theirs.items() if ours.get(key) != value}


@pytest.mark.parametrize("topology", SETUPS)
def test_the_topology_says_what_its_authors_write(folder: Path, topology: str) -> None:
    theirs, ours = compared(folder, topology)
    assert len(theirs) > 5
    found = different(theirs, ours)
    assert set(found) <= not_the_same(SETUPS[topology][0]), found


@pytest.mark.parametrize("page", PAGES_OF)
def test_what_a_page_says_is_not_the_same_is_not(folder: Path, page: str) -> None:
    found = {key for each in SETUPS if SETUPS[each][0] == page for key in different(*compared(folder, each))}
    assert found == not_the_same(page)


@pytest.mark.parametrize("topology", SETUPS)
def test_every_fact_is_looked_at(folder: Path, topology: str) -> None:
    """A fact of which the other side has none, or another, is seen."""
    theirs, ours = compared(folder, topology)
    for key in theirs:
        assert key in different(theirs, {**ours, key: "another"})
        assert key in different(theirs, {name: value for name, value in ours.items() if name != key})


def test_every_page_has_its_topology_and_is_compared() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(PAGES_OF)
    assert {path.stem for path in PAGES.glob("*.yaml")} == set(SETUPS)
    index = (PAGES / "README.md").read_text()
    assert all(f"]({page}.md)" in index for page in PAGES_OF)


@pytest.mark.parametrize(("hypervisor", "pages"), [("Xen", xen.PAGES), ("KVM", kvm.PAGES)])
def test_the_index_says_what_is_deployed(hypervisor: str, pages: Mapping[str, object], folder: Path) -> None:
    section = (PAGES / "README.md").read_text().partition(f"## {hypervisor}\n")[2].partition("\n## ")[0]
    said = dict(re.findall(r"^\|.*\| \[[\w-]+\]\(([\w-]+)\.yaml\) \| (yes|no) \|$", section, re.MULTILINE))
    assert set(said) == {topology for topology, (page, _) in SETUPS.items() if page in pages}
    for topology, deployed in said.items():
        examined = examine(folder / f"{topology}.yaml")
        assert examined.topology is not None
        assert (deployed == "yes") == (not not_deployable(examined.document, examined.topology)), topology
