"""Tests that boot boards go to one worker, in their order; the other runs what needs none beside them."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("board"):
            item.add_marker(pytest.mark.xdist_group("board"))
