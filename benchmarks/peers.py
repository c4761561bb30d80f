"""Peers from PyPI, each in an environment of its own in the cache: what they need is not what vtool needs."""

from __future__ import annotations

import subprocess
import tomllib
import venv
from pathlib import Path

import platformdirs

_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def peer(name: str) -> Path:
    """Return a peer's program, installed when it is not there in the version of pyproject's extra ``peers``."""
    extra = tomllib.loads(_PROJECT.read_text())["project"]["optional-dependencies"]["peers"]
    requirement = next(line for line in extra if line.startswith(name))
    folder = Path(platformdirs.user_cache_dir("vtool")) / "benchmarks" / requirement
    program = folder / "bin" / name
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", requirement], check=True)
    return program
