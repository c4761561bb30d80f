"""JSON in files and in what tools print: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
from typing import Any


def from_json(text: str | bytes) -> Any:
    """Return what a JSON text says. ValueError, also where it is nested deeper than Python calls itself."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
