"""The recipe of ``vtool-ring``, vtool's own program: a static one for arm64, of the sources in ``recipes/ring``.

Its format: docs/reference/ring-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtool.images import debian, recipe_text
from vtool.images.store import Build, Image, Recipe

_SOURCES = ("Makefile", "ring.h", "vtool-ring.c")


def _inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    return {
        # The C library is part of a static program.
        "packages": debian.package_versions("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
        "files": {name: recipe_text(f"ring/{name}") for name in _SOURCES},
    }


def _build(build: Build) -> None:
    for name, content in build.inputs["files"].items():
        (build.folder / name).write_text(content)
    build.run("compile", ["make", "-C", str(build.folder), "CC=aarch64-linux-gnu-gcc"])


RECIPE = Recipe("ring", "vtool-ring", _inputs, _build)
