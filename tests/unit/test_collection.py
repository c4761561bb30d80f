"""The collection stands on its own: it is built, and each of its tasks is documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from vtool.deploy.asking import MOST_AT_ONCE

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
    assert {"plugins/inventory/held.py", "plugins/callback/lines.py"} <= names
    assert {"playbooks/deploy.yml", "plugins/inventory/topology.py", "meta/runtime.yml"} <= names
    assert {f"plugins/{kind}/{task}.py" for kind in ("action", "modules") for task in TASKS} <= names


def test_every_task_is_documented() -> None:
    names = [f"vtool.vtool.{task}" for task in TASKS]
    said = json.loads(ansible("ansible-doc", "--json", "-t", "module", *names))
    assert set(said) == set(names) and all(said[name]["doc"]["description"] for name in names)


@pytest.mark.parametrize("kind, name", [("inventory", "topology"), ("inventory", "held"), ("callback", "lines")])
def test_every_plugin_is_documented(kind: str, name: str) -> None:
    assert f"vtool.vtool.{name}" in json.loads(ansible("ansible-doc", "--json", "-t", kind, f"vtool.vtool.{name}"))


def test_ansible_works_on_as_many_boards_at_once_as_vtool() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "inventory" / "ansible.cfg")
    assert settings.getint("defaults", "forks") == MOST_AT_ONCE


def test_ansible_ends_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    """Else it waits for ever for a task that it did not start, as the vtool that was killed leaves it."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "strategy": "free",
        "tasks": [{"ansible.builtin.debug": {"msg": "x"}}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    settings = {"ANSIBLE_CONFIG": str(ROOT / "inventory" / "ansible.cfg"), "ANSIBLE_INVENTORY_ENABLED": "host_list"}
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-P", "-m", "ansible.cli.playbook", "-i", "a,", str(tmp_path / "play.yml")]
    with subprocess.Popen(command, env=os.environ | settings, stdout=write, stderr=write) as process:
        os.close(write)
        try:
            assert process.wait(30) != 0
        finally:
            process.kill()
