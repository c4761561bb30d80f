"""``python -m tests.survey FOLDER...``: see ``trees``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.survey.trees import survey

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if survey([Path(word) for word in sys.argv[1:]], Path(folder)) else 1)
