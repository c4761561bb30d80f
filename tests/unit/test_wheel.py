"""The wheel works elsewhere: installed into a folder of its own, it renders with its own rooms."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_carries_its_rooms_and_renders(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    elsewhere = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(elsewhere)
    collections = (elsewhere, elsewhere / "vtool/_rooms/inventory")
    assert all((folder / "ansible_collections/vtool/vtool/playbooks/deploy.yml").is_file() for folder in collections)
    assert (elsewhere / "vtool/py.typed").is_file()
    assert (elsewhere / "ansible_collections/vtool/vtool/plugins/inventory/topology.py").is_file()
    example = elsewhere / "vtool/_rooms/topology/examples/xen-pv.yaml"
    line = f"import vtool, sys; assert vtool.__file__.startswith({str(elsewhere)!r}), vtool.__file__; "
    line += "from vtool.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", line, "render", str(example), "-o", str(tmp_path / "out")],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(elsewhere)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'name = "fe0"' in (tmp_path / "out/board0/generation/domains/fe0/fe0.cfg").read_text()
