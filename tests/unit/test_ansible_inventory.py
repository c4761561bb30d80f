"""Inventories for Ansible: the rendered file and the plugin, read back by the real ansible-inventory and ssh."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vtool.board.emulated import EmulatedBoard
from vtool.board.protocols import SshTarget
from vtool.cli.ansible_hosts import reachable_hosts
from vtool.cli.common import prepare
from vtool.deploy.connection import connection_variables, jump_arguments
from vtool.diagnostics import VtoolError
from vtool.render.ansible import render_inventory

ROOT = Path(__file__).resolve().parents[2]
XEN = ROOT / "topology" / "examples" / "xen-pv.yaml"
SOURCES = [
    *sorted((ROOT / "topology" / "examples").glob("*.yaml")),
    *sorted((ROOT / "tests" / "topologies").glob("*.yaml")),
]
PASST = """
version: 1
name: two
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm}}
  board-1: {facts: qemu-virt, hypervisor: {kind: kvm}}
domains:
  host0: {board: board0, role: control}
  host1: {board: board-1, role: control}
  all: {board: board0, memory: 64MiB}
  board0: {board: board-1, memory: 64MiB}
devices:
  net0:
    type: net
    frontend: all
    backend: host0
    program: passt
    transport: mmio
    data_path: shared-ram
    network: {forward_tcp: ["8080:80", "2222:22"]}
"""


def ansible_inventory(source: Path, **environment: str) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(source), "--list"]
    every = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "inventory"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        **environment,
    }
    done = subprocess.run(command, capture_output=True, text=True, env=every)
    assert done.returncode == 0 and "Found both group and host" not in done.stderr, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def plain(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """Return hosts and groups without what depends on who reads: how boards are reached."""
    hosts = {
        host: {
            k: v
            for k, v in values.items()
            if not k.startswith("ansible_") and k not in ("vtool_reachable", "vtool_source")
        }
        for host, values in data["_meta"]["hostvars"].items()
    }
    groups = {g: set(v["hosts"]) for g, v in data.items() if v.get("hosts") and g not in ("all", "reachable")}
    return hosts, groups


@pytest.fixture
def no_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))


@pytest.fixture
def target(tmp_path: Path) -> SshTarget:
    odd = tmp_path / "a 50% 'odd' folder"
    return SshTarget("127.0.0.1", 40022, "root", odd / "id", odd / "known hosts")


@pytest.fixture
def boards_are_on(target: SshTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmulatedBoard, "ssh", lambda self: target)


def test_file_and_plugin_say_the_same(tmp_path: Path, no_boards: None) -> None:
    (tmp_path / "inventory.yaml").write_text(render_inventory(*_prepared(XEN)))
    (tmp_path / "lab.vtool.yaml").write_text(
        f"plugin: vtool.vtool.topology\ntopology: {os.path.relpath(XEN, tmp_path)}\n"
    )
    from_file = ansible_inventory(tmp_path / "inventory.yaml")
    from_source = ansible_inventory(tmp_path / "lab.vtool.yaml")
    direct = ansible_inventory(XEN, ANSIBLE_INVENTORY_ENABLED="vtool.vtool.topology")
    assert plain(from_file) == plain(from_source) == plain(direct)
    hosts, groups = plain(from_file)
    assert groups["xen"] == groups["board_board0"] == {"board0", "fe0"} and groups["backend"] == {"board0"}
    assert hosts["board0"]["vtool_regions"][0]["address"] == "0x60000000"
    # The board is off for the plugin; the file leaves it to the user's ssh configuration.
    assert set(from_file["reachable"]["hosts"]) == {"board0", "fe0"} and "reachable" not in from_source


def test_the_plugin_takes_overlays_and_settings(tmp_path: Path, no_boards: None) -> None:
    shutil.copy(XEN, tmp_path / "pair.yaml")
    (tmp_path / "more.yaml").write_text("domains: {fe1: {memory: 64MiB}}\n")
    lines = ("plugin: vtool.vtool.topology", "topology: pair.yaml", "overlays: [more.yaml]", "set: [name=other]")
    (tmp_path / "lab.vtool.yml").write_text("\n".join(lines))
    hosts, _ = plain(ansible_inventory(tmp_path / "lab.vtool.yml"))
    assert set(hosts) == {"board0", "fe0", "fe1"} and hosts["fe1"]["vtool_topology"] == "other"


def test_the_plugin_says_what_is_wrong_and_where(tmp_path: Path, no_boards: None) -> None:
    (tmp_path / "t.yaml").write_text(XEN.read_text().replace("backend: dom0", "backend: dom9"))
    with pytest.raises(AssertionError, match=r"t\.yaml:33:14: error\[VT301\]: domain 'dom9' does not exist"):
        ansible_inventory(tmp_path / "t.yaml", ANSIBLE_INVENTORY_ENABLED="vtool.vtool.topology")


def test_the_plugin_warns_of_a_source_that_it_does_not_take(tmp_path: Path, no_boards: None) -> None:
    (tmp_path / "lab.yml").write_text(f"plugin: vtool.vtool.topology  # that of vtool\ntopology: {XEN}\n")
    with pytest.raises(AssertionError, match=r"lab\.yml names the plugin .*files that end in \.vtool\.yaml: rename it"):
        ansible_inventory(tmp_path / "lab.yml", ANSIBLE_INVENTORY_ENABLED="vtool.vtool.topology", COLUMNS="500")


def test_names_never_clash(tmp_path: Path, no_boards: None) -> None:
    (tmp_path / "two.yaml").write_text(PASST)
    data = ansible_inventory(tmp_path / "two.yaml", ANSIBLE_INVENTORY_ENABLED="vtool.vtool.topology")
    hosts, groups = plain(data)
    assert set(hosts) == {"board0", "board-1", "all.board0", "board0.board-1"}
    assert groups["board_board_1"] == {"board-1", "board0.board-1"}


def test_guests_are_reached_through_their_board(boards_are_on: None, target: SshTarget, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(PASST)
    hosts = {host.name: host for host in (*reachable_hosts(tmp_path / "two.yaml"), *reachable_hosts(XEN))}
    bridged, forwarded, alone = (hosts[name].variables for name in ("fe0", "all.board0", "board0.board-1"))
    assert (bridged["ansible_host"], bridged["ansible_port"]) == ("192.0.2.2", 22)
    assert (forwarded["ansible_host"], forwarded["ansible_port"]) == ("127.0.0.1", 2222)
    assert bridged["ansible_ssh_common_args"] == f"{jump_arguments(target)} -o HostKeyAlias=fe0.board0"
    assert not alone["vtool_reachable"] and "reachable" not in hosts["board0.board-1"].groups
    assert "ansible_host" not in alone


def test_ssh_reads_the_jump_as_it_is_meant(target: SshTarget, tmp_path: Path) -> None:
    # A stub in the place of the inner ssh keeps its words; the real one says how it reads them.
    stub = tmp_path / "bin" / "ssh"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > {shlex.quote(str(tmp_path / "words"))}\nexit 1\n')
    stub.chmod(0o755)
    ssh = shutil.which("ssh")
    assert ssh is not None
    outer = [ssh, "-F", "/dev/null", *shlex.split(jump_arguments(target)), "-p", "2200", "192.0.2.9", "true"]
    subprocess.run(outer, capture_output=True, env={**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}"})
    words = (tmp_path / "words").read_text().split("\0")[:-1]
    assert words[words.index("-W") + 1] == "[192.0.2.9]:2200" and words[-1] == target.host
    read = dict(line.split(" ", 1) for line in _ssh_config(ssh, words))
    assert (read["port"], read["user"], read["stricthostkeychecking"]) == ("40022", "root", "true")
    assert read["identityfile"].replace("%%", "%") == str(target.identity_file)
    common = shlex.split(connection_variables(target)["ansible_ssh_common_args"])
    direct = dict(line.split(" ", 1) for line in _ssh_config(ssh, ["-F", "/dev/null", *common, target.host]))
    assert direct["userknownhostsfile"] == read["userknownhostsfile"] != ""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nothing_in_it_can_be_read_as_something_else(source: Path, no_boards: None) -> None:
    topology, plan = _prepared(source)
    text = render_inventory(topology, plan)
    words = set(_strings(yaml.safe_load(text)))
    assert {d for d, domain in topology.domains.items() if domain.role.value == "guest"} <= words
    odd = [
        w
        for w in words
        if not re.fullmatch(r"[a-z0-9][a-z0-9_./-]*|-o ProxyJump=[a-z0-9-]+ -o HostKeyAlias=[a-z0-9.-]+", w)
    ]
    assert odd == []
    assert not re.search(r"private_key|id_ed25519|identity", text) and str(Path.home()) not in text


@pytest.mark.parametrize(
    ("written", "instead", "code"),
    [
        ("  fe0:\n", "  -oProxyCommand=id:\n", "VT204"),
        ("  board0:\n", "  'b {{ 1 }}':\n", "VT204"),
        ("192.0.2.2/24", "192.0.2.2 -oProxyCommand=id/24", "VT331"),
        ("name: xen-pv", "name: '{{ lookup(0) }}'", "VT203"),
    ],
)
def test_what_could_inject_is_refused(written: str, instead: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(XEN.read_text().replace(written, instead, 1))
    with pytest.raises(VtoolError) as caught:
        prepare(path)
    assert code in {diagnostic.code for diagnostic in caught.value.diagnostics}


def _prepared(path: Path) -> Any:
    prepared = prepare(path)
    return prepared.topology, prepared.plan


def _ssh_config(ssh: str, words: list[str]) -> list[str]:
    done = subprocess.run([ssh, "-G", *words], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if " " in line]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _strings(key)
            yield from _strings(below)
    elif isinstance(value, list):
        for below in value:
            yield from _strings(below)
