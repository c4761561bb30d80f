"""The packages of data paths: their parts are found whoever comes first."""

from __future__ import annotations

import subprocess
import sys


def printed(program: str) -> str:
    """Run a program in a process that has imported nothing of vtool."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_rules_are_run_also_where_their_module_was_imported_first() -> None:
    program = """
import vtool.data_paths.ring.rules as rules
from vtool.check import layers
print(any(rules.ends_can_meet in layer for layer in layers()))
"""
    assert printed(program) == "True\n"


def test_a_kept_proof_finds_the_judges_of_a_path_that_nothing_imported() -> None:
    row = {"subject": "s", "what": "w", "steps": [], "judge": {"judge": "ring-maps", "step": "x", "expected": "y"}}
    program = f"""
import json
from vtool.deploy.proof.saved import from_json
proof, = from_json(json.dumps({{"format": 1, "steps": [], "rows": [{row!r}]}}))
print(type(proof.judge).__name__)
"""
    assert printed(program) == "RingMaps\n"
