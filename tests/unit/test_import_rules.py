"""Imports point one way, and what has to be cheap to import is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"pydantic", "jinja2", "ansible", "fabric", "paramiko", "libfdt", "rich"}


def test_imports_point_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module", ["vtool.reading.source", "vtool.diagnostics.codes", "vtool.diagnostics", "vtool.cli.main"]
)
def test_cheap_modules_import_nothing_heavy(module: str) -> None:
    line = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
