"""Hatchling's hook: a wheel or sdist says which commit it was built of."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Commit(BuildHookInterface):
    """Puts the commit beside vtool's modules, without a trace in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file that ``vtool.cli.commit`` reads; what was built of an sdist has it already."""
        module = runpy.run_path(str(Path(self.root, "vtool/cli/commit.py")))
        commit = module["commit_of"](Path(self.root))
        if version == "editable" or not commit or Path(self.root, module["BUILT"]).exists():
            return
        self._folder = tempfile.TemporaryDirectory(prefix="vtool-build-")
        written = Path(self._folder.name, "commit.txt")
        written.write_text(f"{commit}\n")
        build_data["force_include"][str(written)] = module["BUILT"]
