"""The collection stands on its own: it is built, and each of its tasks is documented."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from vtool.deploy.asking import MOST_AT_ONCE

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "inventory" / "ansible_collections" / "vtool" / "vtool"
TASKS = sorted(path.stem for path in (COLLECTION / "plugins" / "modules").glob("*.py"))


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
    assert {"plugins/action/board.py", *(f"plugins/modules/{task}.py" for task in TASKS)} <= names


def test_every_task_is_documented() -> None:
    names = [f"vtool.vtool.{task}" for task in TASKS]
    said = json.loads(ansible("ansible-doc", "--json", "-t", "module", *names))
    assert set(said) == set(names) and all(said[name]["doc"]["description"] for name in names)


def asked_of_a_board(play: Sequence[Mapping[str, Any]], *words: str, folder: Path) -> list[Any]:
    """Run tasks on a board and return what they asked of the process that holds it."""
    asked: list[Any] = []

    def hold(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    asked.append(json.loads(connection.recv(1 << 16)))
                    connection.sendall(b'{"changed": true}\n')

    variables = {"vtool_socket": str(folder / "held.sock")}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"board0": variables}}}))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": play}]))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(variables["vtool_socket"])
        listening.listen()
        thread = threading.Thread(target=hold, args=(listening,))
        thread.start()
        words = ("-m", "ansible.cli.playbook", "-i", str(folder / "hosts.json"), str(folder / "play.yml"), *words)
        settings = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "inventory")}
        subprocess.run([sys.executable, *words], check=True, capture_output=True, env=os.environ | settings)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    return asked


def test_tasks_ask_with_what_their_documentation_says(tmp_path: Path) -> None:
    play = [
        {"vtool.vtool.compare": {}},
        {"vtool.vtool.revert": {"keep": "{{ vtool_keep }}"}},
        {"vtool.vtool.rollback": {}},
        {"vtool.vtool.apply": {"keep": True}, "ignore_errors": True},
    ]
    asked = asked_of_a_board(play, "-e", "vtool_keep=false", folder=tmp_path)
    assert [(one["task"], one["board"], one["options"]) for one in asked] == [
        ("compare", "board0", {}),
        ("revert", "board0", {"keep": False}),
        ("rollback", "board0", {"generation": ""}),
    ]


@pytest.mark.parametrize("playbook", ["deploy", "rollback"])
def test_a_host_that_is_no_board_is_said_once(playbook: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps({"control": {"hosts": {"stranger": {}}}}))
    words = ("-m", "ansible.cli.playbook", "-i", str(tmp_path / "hosts.json"), f"vtool.vtool.{playbook}")
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "inventory"), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=os.environ | settings)
    assert done.returncode == 4 and done.stdout.count("UNREACHABLE!") == 1
    assert (done.stdout + done.stderr).count("TASK [") <= 2 and "VT712" in done.stdout + done.stderr
    assert not (tmp_path / "vtool").exists(), "nothing is started for it"


def test_what_changes_a_board_is_skipped_in_check_mode(tmp_path: Path) -> None:
    asked = asked_of_a_board([{f"vtool.vtool.{task}": {}} for task in TASKS], "--check", folder=tmp_path)
    assert [one["task"] for one in asked] == ["would_change", "observe"]


def test_each_task_leads_to_the_one_plugin() -> None:
    """Else Ansible would copy the documentation to a board and run it there."""
    said = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())
    assert said["plugin_routing"]["modules"] == {key: {"action_plugin": "vtool.vtool.board"} for key in TASKS}
    assert said["action_groups"]["board"] == [f"vtool.vtool.{task}" for task in TASKS]


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
