"""The image `ring`: named by its sources, compiled for arm64, and it understands this machine's build."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ring.conftest import SOURCES
from tests.ring.rings import DEADLINE_S, Ring
from vtool.base.progress import Silent
from vtool.images import debian, recipe_text, ring_build
from vtool.images.build import ensure
from vtool.images.catalogue import CATALOGUE
from vtool.images.store import key_of

RECIPE = CATALOGUE["ring"]


def test_it_is_named_by_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "package_versions", lambda *names: dict.fromkeys(names, "1"))
    keys = {key_of(RECIPE, RECIPE.inputs({}))}
    names = sorted(path.name for path in SOURCES.iterdir() if path.name != "fuzz.c")
    for changed in names:

        def text(name: str, changed: str = changed) -> str:
            return recipe_text(name) + ("\n" if name == f"ring/{changed}" else "")

        monkeypatch.setattr(ring_build, "recipe_text", text)
        keys.add(key_of(RECIPE, RECIPE.inputs({})))
    assert len(keys) == 1 + len(names)


def test_arm64_and_this_machine_understand_each_other(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    emulator = shutil.which("qemu-aarch64-static")
    assert emulator, "debian-packages.txt names it"
    monkeypatch.setenv("VTOOL_CACHE", str(tmp_path / "a cache"))
    native, ring.program = ring.program, ensure(["ring"], Silent())["ring"].path
    read = ["aarch64-linux-gnu-readelf", "--file-header", "--program-headers", str(ring.program)]
    headers = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert "AArch64" in headers and "INTERP" not in headers, "static: it needs no library"
    arm64 = (emulator,)
    ring.start("init", prefix=arm64).wait(DEADLINE_S)
    one = ring.start("check", "--side", "a", "--bytes", "2000000", prefix=arm64)
    ring.program = native
    other = ring.start("check", "--side", "b", "--bytes", "2000000")
    for process in (one, other):
        out, err = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, err) == (0, b"")
        assert json.loads(out)["received"] == 2_000_000
