"""The collection stands on its own: it is built, and each of its tasks is documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "inventory" / "ansible_collections" / "vtool" / "vtool"
TASKS = sorted(path.stem for path in (COLLECTION / "plugins" / "action").glob("*.py"))


def ansible(program: str, *words: str | Path) -> str:
    command = [str(Path(sys.executable).with_name(program)), *map(str, words)]
    every = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "inventory")}
    done = subprocess.run(command, capture_output=True, text=True, env=every)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_built_with_its_playbooks(tmp_path: Path) -> None:
    ansible("ansible-galaxy", "collection", "build", COLLECTION, "--output-path", tmp_path)
    (built,) = tmp_path.glob("vtool-vtool-*.tar.gz")
    with tarfile.open(built) as archive:
        names = set(archive.getnames())
    assert {"playbooks/deploy.yml", "plugins/inventory/topology.py", "meta/runtime.yml"} <= names
    assert {f"plugins/{kind}/{task}.py" for kind in ("action", "modules") for task in TASKS} <= names


def test_every_task_is_documented() -> None:
    names = [f"vtool.vtool.{task}" for task in TASKS]
    said = json.loads(ansible("ansible-doc", "--json", "-t", "module", *names))
    assert set(said) == set(names) and all(said[name]["doc"]["description"] for name in names)
