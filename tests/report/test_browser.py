"""The page in Debian's Chromium: it asks no network, all of it is reached by keyboard, and axe finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from vtool.cli.main import main


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # A container's root has no namespaces for a sandbox; the page is our own.
        yield playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])


@pytest.fixture(scope="module")
def small_page(xen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one of everything, for what looks at every element."""
    file = tmp_path_factory.mktemp("page") / "small.html"
    assert main(["report", str(xen), "-o", str(file)]) == 0
    return file


class Opened:
    """A page with everything that it said and asked for."""

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page: Page = browser.new_context(**options).new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())


@pytest.fixture
def opened(browser: Browser, page_file: Path) -> Iterator[Opened]:
    found = Opened(browser, page_file, viewport={"width": 1280, "height": 900})
    yield found
    assert found.said == [] and found.asked == [page_file.as_uri()]
    found.page.context.close()


def column(page: Page, table: str, number: int) -> list[float | None]:
    cells = page.locator(f"#{table} tbody tr > :nth-child({number})").evaluate_all("all => all.map(c => c.dataset.v)")
    return [None if value is None else float(value) for value in cells]


def test_a_table_sorts_by_keyboard(opened: Opened) -> None:
    page = opened.page
    heading = page.locator("#cells1 thead th").nth(5)
    heading.locator("button").focus()
    before = column(page, "cells1", 6)
    page.keyboard.press("Enter")
    up = column(page, "cells1", 6)
    assert heading.get_attribute("aria-sort") == "ascending" and up != before
    assert up == sorted(value for value in up if value is not None)
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending" and column(page, "cells1", 6) == up[::-1]
    latency = page.locator("#cells1 thead th").nth(7)
    latency.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") is None, "one column sorts"
    values = column(page, "cells1", 8)
    known = [value for value in values if value is not None]
    assert known == sorted(known) and values[: len(known)] == known, "what has no value is last"


def test_words_sort_as_words(opened: Opened) -> None:
    button = opened.page.locator("#paths1 thead th").first.locator("button")
    button.press("Enter")
    names = opened.page.locator("#paths1 tbody th").all_inner_texts()
    assert names == sorted(names) and len(set(names)) == 7


def test_focus_and_hover_show_the_numbers(opened: Opened) -> None:
    page = opened.page
    figure = page.locator(".panel figure").first
    marks, readout = figure.locator(".row > g"), figure.locator(".readout")
    assert figure.locator('.row > g[tabindex="0"]').count() == 1, "one stop for Tab in each plot"
    marks.first.focus()
    assert readout.inner_text() == marks.first.locator("title").text_content() != ""
    first = readout.inner_text()
    assert (
        first.startswith("shared-ram by qemu-storage-daemon, 4 KiB: ")
        and "MiB per 10⁹ instructions, the baseline" in first
    )
    page.keyboard.press("ArrowRight")
    assert readout.inner_text().startswith("shared-ram by qemu-storage-daemon, 64 KiB: ")
    page.keyboard.press("ArrowDown")
    assert (
        readout.inner_text().startswith("pool by qemu-storage-daemon, 64 KiB: ")
        and "% worse, 95 % interval" in readout.inner_text()
    )
    page.keyboard.press("End")
    assert readout.inner_text().startswith("ring by vtool-ring, 64 KiB: ")
    page.keyboard.press("Home")
    assert readout.inner_text() == first
    page.keyboard.press("Tab")
    assert readout.inner_text().startswith("Point at a mark")
    marks.last.hover()
    assert readout.inner_text().startswith("ring by vtool-ring, 64 KiB: ")


def test_every_plot_is_reached_by_tab_and_says_what_it_is(opened: Opened) -> None:
    told = opened.page.locator("svg.plot").evaluate_all(
        "all => all.map(s => [s.getAttribute('aria-label'), s.querySelectorAll('.row > g[tabindex=\"0\"]').length])"
    )
    assert len(told) == 30 and all(label and "emulated: instructions" in label and stops == 1 for label, stops in told)


def test_rows_are_filtered(opened: Opened) -> None:
    page = opened.page
    page.locator("#cells1-filter").fill("Xen grant randread")
    assert page.locator("#cells1 tbody tr:visible").count() == 2
    assert page.locator(".filter [role=status]").inner_text() == "2 of 64 rows"


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing(browser: Browser, small_page: Path, scheme: Any, width: int) -> None:
    found = Opened(browser, small_page, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = found.page
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == width, "the page itself never scrolls sideways"
    # The policy of the page forbids scripts of others: axe is put in as a debugger would.
    result = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    told = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])})" for one in result.response["violations"]
    ]
    assert told == [], "\n".join(told)
    assert found.said == []
    page.context.close()


def test_markers_keep_their_contrast(browser: Browser, page_file: Path) -> None:
    """What axe does not look at: lines and marks are 3:1 against what they lie on (WCAG 1.4.11)."""
    for scheme in ("light", "dark"):
        page = Opened(browser, page_file, color_scheme=scheme).page
        ratios = page.evaluate(
            """() => {
              const light = (colour) => {
                const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map((v) => v / 255)
                  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const probe = document.body.appendChild(document.createElement("i"));
              const of = (name) => { probe.style.color = `var(${name})`; return light(getComputedStyle(probe).color); };
              const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
              return [0, 1, 2, 3, 4, 5, 6, 7].flatMap((n) =>
                ["--paper", "--raised"].map((ground) => ratio(of(`--s${n}`), of(ground))));
            }"""
        )
        assert len(ratios) == 16 and min(ratios) >= 3
        page.context.close()


def test_paper_shows_what_is_folded(opened: Opened) -> None:
    page = opened.page

    def is_shown(selector: str) -> bool:
        shown: bool = page.locator(selector).first.evaluate("one => one.checkVisibility()")
        return shown

    page.emulate_media(media="print")
    assert not is_shown(".panel table")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert is_shown(".panel table") and is_shown("svg.vtool-map") and not is_shown(".topology table")
    assert not is_shown("nav") and not is_shown(".readout")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not is_shown(".panel table")
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_without_its_script_the_page_still_says_everything(browser: Browser, page_file: Path) -> None:
    page = Opened(browser, page_file, java_script_enabled=False).page
    assert page.locator("#cells1 tbody tr").count() == 64 and page.locator(".row title").count() > 100
    assert page.locator(".readout:visible, .filter:visible, th button").count() == 0, "nothing that does nothing"


@pytest.mark.parametrize("width", [390, 1280])
def test_numbers_are_beside_their_row_on_a_phone(browser: Browser, page_file: Path, width: int) -> None:
    """What sets rows apart is folded into the first column, which stays; that there is more is said and shaded."""
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(page_file.as_uri())
    is_phone = width < 640
    for table in ("paths1", "cells1"):
        scroll = page.locator(f".scroll:has(> #{table})")
        cue = page.locator(f"#{table}-caption .aside")
        assert cue.is_visible() is is_phone and "scroll sideways" in (cue.text_content() or "")
        first = page.locator(f"#{table} tbody tr").first
        head, number = first.locator("th"), first.locator("td.n").first
        assert head.locator(".aside").is_visible() is is_phone
        box = number.bounding_box()
        assert box is not None
        if is_phone:
            assert box["x"] + box["width"] <= width, "a number is seen without scrolling"
            assert scroll.evaluate("e => e.scrollWidth > e.clientWidth")
            scroll.evaluate("e => { e.scrollLeft = e.scrollWidth }")
            stays = head.bounding_box()
            assert stays is not None and 0 <= stays["x"] < 40 and stays["width"] < width / 2
        assert "linear-gradient" in scroll.evaluate("e => getComputedStyle(e).backgroundImage")
    page.close()
