"""A board and a lab with a cable between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network.namespaces import Place, why_not


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if reason := why_not():
        pytest.skip(reason)
    with Place(tmp_path) as made:
        yield made
