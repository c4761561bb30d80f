"""The table of codes is complete, and every rule on topologies has a case."""

from __future__ import annotations

import re
from pathlib import Path

from vtool.codes import CODES

ROOT = Path(__file__).resolve().parents[2]


def test_every_code_that_is_used_is_in_the_table_and_the_other_way_round() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "vtool").rglob("*.py"))
    used = set(re.findall(r'"(VT\d{3})"', sources))
    assert used == set(CODES)
    assert len(re.findall(r"^VT\d{3}", (ROOT / "vtool" / "codes.txt").read_text(), re.MULTILINE)) == len(CODES)


def test_every_rule_on_topologies_has_a_case() -> None:
    cases = {path.name[:5] for path in (ROOT / "tests" / "errors").glob("VT*.yaml")}
    # VT100: no file to put a comment in (test_errors.py). VT410: the planner's (test_plan.py).
    # VT420: the renderers' (test_filters.py).
    assert {code for code in CODES if code < "VT5"} - cases == {"VT100", "VT410", "VT420"}
