"""The table of codes is complete, and every rule on topologies has a case."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from vtool.board.failures import WrongHostKey
from vtool.check import layers
from vtool.deploy.asking import checked
from vtool.diagnostics import VtoolError, board_failed
from vtool.diagnostics.codes import codes_of, declare, every_code, rules_of
from vtool.lint import RULES as TREE_RULES

CODES = every_code()
ROOT = Path(__file__).resolve().parents[2]


def test_every_code_that_is_used_is_in_the_table_and_the_other_way_round() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "vtool").rglob("*.py"))
    used = set(re.findall(r'"(VT\d{3})"', sources))
    assert used == set(CODES)


def test_rows_are_short_useful_sentences() -> None:
    assert list(CODES) == sorted(CODES)
    for row in CODES.values():
        assert row.what[0].islower() or row.what.startswith(("QEMU", "Ansible", "Debian")), row.code
        assert not row.what.endswith("."), row.code
        assert row.why.endswith(".") and not row.example.endswith("."), row.code
        assert all(len(text) <= 160 for text in (row.what, row.why, row.example, row.fix)), row.code


def test_every_rule_names_the_codes_that_its_module_gives() -> None:
    rules = {rule for layer in (*layers(), *TREE_RULES.values()) for rule in layer}
    named: dict[str, set[str]] = {}
    for rule in rules:
        named.setdefault(rule.__module__, set()).update(codes_of(rule))
    for module, codes in named.items():
        text = Path(sys.modules[module].__file__ or "").read_text()
        declared = set(re.findall(r'^declare\(\s*"(VT\d{3})"', text, re.MULTILINE))
        assert codes | declared == set(re.findall(r'"(VT\d{3})"', text)), module
        given = set(re.findall(r'"(VT\d{3})"', re.sub(r'^@rule\(\s*"VT\d{3}"', "", text, flags=re.MULTILINE)))
        assert codes <= given, module  # a decorator that outlived what it was for


def test_every_rule_is_run() -> None:
    """What is decorated is in a layer, also where its module is new."""
    run = {rule for layer in (*layers(), *TREE_RULES.values()) for rule in layer}
    rooms = ("vtool.check.", "vtool.data_paths.", "vtool.lint.")
    modules = [module for name, module in sys.modules.items() if name.startswith(rooms)]
    assert run == set(rules_of(*modules))


def test_a_code_has_one_meaning() -> None:
    row = CODES["VT311"]
    with pytest.raises(ValueError, match="VT311 already means"):
        declare(row.code, what="x", why="x", example="x", fix="x")
    assert every_code() == CODES


def test_a_failure_that_is_asked_for_is_of_its_class_whoever_names_the_code() -> None:
    assert type(board_failed("VT604", "x")) is WrongHostKey
    assert type(board_failed("VT613", "x")) is VtoolError
    with pytest.raises(WrongHostKey, match="VT604: another key"):
        checked({"error": {"code": "VT604", "message": "another key", "hints": [], "detail": ["a"]}})


def test_every_rule_on_topologies_has_a_case() -> None:
    cases = {path.name[:5] for path in (ROOT / "tests" / "errors").glob("VT*.yaml")}
    # VT100: no file to put a comment in (test_errors.py). VT109: the command line's (test_language.py).
    # VT409: deploying's (test_board_import.py). VT410 to VT412: the planner's (test_plan.py, test_lock.py).
    # VT414: kernels' (test_kernels.py). VT417, VT490 to VT497, VT499: of a board's tree, or of the board itself
    # (test_stage.py, test_passthrough.py, test_pci.py). VT362, VT418, VT419: of trees (test_lint.py). VT420: the
    # renderers' (test_filters.py). VT440 to VT443: the views' (test_views.py).
    # VT455 to VT459: of what a board runs and has (test_own_system.py, test_surroundings.py, test_interpreter.py).
    # VT466 to VT468: the board's (test_board_disks.py).
    # VT485 to VT487: getting into guests (test_inside.py, test_foreign_guests.py).
    elsewhere = {"VT100", "VT109", "VT409"} | {f"VT{n}" for n in (466, 467, 468, 485, 486, 487)}
    elsewhere |= {f"VT{n}" for n in (362, 410, 411, 412, 414, 417, 418, 419, 420, 440, 441, 442, 443)}
    elsewhere |= {f"VT{n}" for n in (*range(455, 460), *range(490, 498), 499)}
    # What this machine lacks (test_this_machine.py), a first topology (test_new_verb.py).
    elsewhere |= {f"VT{n}" for n in (150, 151, 152, 153, 160, 161)}
    # Of the board's own networks: test_board_networks.py, test_uplink.py, test_uplinks_task.py.
    elsewhere |= {"VT449"}  # the board's: test_kvm_settings.py
    elsewhere |= {f"VT{n}" for n in (470, 471, 472, 475, 477)}
    assert {code for code in CODES if code < "VT5"} - cases == elsewhere
