"""The table of codes: what each diagnostic means, why the rule is there, an example, the fix.

The table itself is ``codes.txt``. Codes are permanent: one is never given another meaning. VT1xx reading
YAML, VT2xx shape, VT3xx references and combinations, VT4xx memory and placement, VT5xx images and kernels,
VT6xx reaching boards, VT7xx deploying, VT80x verifying, VT83x to VT91x device trees (``vtool lint``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ROW = re.compile(r"^(VT\d{3}) (.+)\n  why: (.+)\n  example: (.+)\n  fix: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """One row of the table; ``example`` is what sets it off."""

    code: str
    what: str
    why: str
    example: str
    fix: str


def _read() -> Mapping[str, Code]:
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    rows = [Code(*match.groups()) for match in _ROW.finditer(text)]
    return {row.code: row for row in rows}


CODES = _read()
