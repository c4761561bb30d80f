"""A lab as one file: its topologies, plans and artifacts, what they are made of, and what was measured.

Enter at ``making.bundle_of`` and ``opened.opened``, then ``checking`` and ``differing``; ``archive`` knows the file,
``manifest`` what it says of itself.
Importing this is cheap: every deploy asks it.
"""

from __future__ import annotations

from pathlib import Path

from vtool.files.regular import open_regular

MANIFEST = "vtool-bundle.json"
"""The first member's name, with which the file begins."""


def is_bundle(path: Path) -> bool:
    """Whether a file begins as a bundle does, whatever it is called."""
    try:
        with open_regular(path) as stream:
            return stream.read(len(MANIFEST) + 1) == MANIFEST.encode() + b"\0"
    except OSError:
        return False
