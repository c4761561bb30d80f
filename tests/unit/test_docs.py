"""The pages lead somewhere: links, the page of tasks, and the commands of the tutorial."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vtool.cli.main import parser_of_every_verb

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LED_BY_OTHERS = ("adr", "paths", "coming-from", "tutorial")
"""Folders whose pages the page of tasks names together, or that have a page of their own."""
TUTORIAL = DOCS / "tutorial" / "from-a-board-to-a-proven-device.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def links(page: Path) -> list[Path]:
    found = re.findall(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    return [(page.parent / link).resolve() for link in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_linked_is_there(page: Path) -> None:
    assert [link for link in links(page) if not link.exists()] == []


def test_the_page_of_tasks_leads_to_every_page() -> None:
    led = set(links(DOCS / "README.md"))
    pages = {page for page in DOCS.rglob("*.md") if page.parent.name not in LED_BY_OTHERS} - {DOCS / "README.md"}
    assert pages - led == set()


def test_the_commands_of_the_tutorial_are_vtool_s() -> None:
    lines = re.findall(r"^    vtool (.*?)(?:\s+#.*)?$", TUTORIAL.read_text(), re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        if line != "--version":
            parser_of_every_verb().parse_args(shlex.split(line))
