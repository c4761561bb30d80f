"""The program and its fuzzer, built for this machine as its Makefile says; kept by pytest's cache."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ring.rings import DEADLINE_S, Ring
from vtool.images import DATA

SOURCES = DATA / "ring"


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir("vtool-ring"))

    def build(name: str) -> Path:
        make = ["make", "-C", str(SOURCES), f"OUT={folder}", str(folder / name)]
        subprocess.run(make, check=True, capture_output=True, timeout=120)
        return folder / name

    return build


@pytest.fixture
def ring(built: Callable[[str], Path]) -> Iterator[Ring]:
    """A region in shared memory, not a ring yet."""
    region = Ring(built("vtool-ring"))
    yield region
    region.close()
    assert not region.hanging, f"still there after {DEADLINE_S} s: {region.hanging}"
