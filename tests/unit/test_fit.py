"""The FIT image: made by the real mkimage, read back by dumpimage."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.render import render

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGIES = [ROOT / "topology/examples/kvm-pool.yaml", ROOT / "tests/topologies/dom0less-shared.yaml"]


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda path: path.stem)
def test_everything_is_in_it_and_comes_out(topology: Path, tmp_path: Path) -> None:
    artifacts = render(prepare(topology).plan.boards[0])
    source, script = artifacts.get("boot.its").content, artifacts.get("script").content
    files = re.findall(r'incbin/\("([^"]+)"\)', source)
    for name in files:
        (tmp_path / name).write_bytes(name.encode() * 100)
    (tmp_path / "script").write_text(script)
    (tmp_path / "boot.its").write_text(source)
    run = {"cwd": tmp_path, "check": True, "capture_output": True, "text": True}
    subprocess.run(["mkimage", "-f", "boot.its", "boot.fit"], **run)  # type: ignore[call-overload]
    loaded = re.findall(r"^imxtract \$\{fit_address\} (\S+) 0x", script, re.MULTILINE)
    assert sorted(loaded) == sorted(name.replace(".", "-") for name in files if name != "script")
    for position, name in enumerate(files):
        subprocess.run(["dumpimage", "-T", "flat_dt", "-p", str(position), "-o", "out", "boot.fit"], **run)  # type: ignore[call-overload]
        assert (tmp_path / "out").read_bytes() == (tmp_path / name).read_bytes()
