"""Inventories: what is wrong is said at its line, and nothing in one can be an option, a wildcard or a template."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vtool.board.emulated import EmulatedBoard
from vtool.board.inventory import Inventory
from vtool.board.pinned_keys import key_fault, knows, pin
from vtool.board.protocols import SshTarget
from vtool.deploy.connection import connection_variables, ssh_options
from vtool.diagnostics import ExitCode, VtoolError, format_diagnostic
from vtool.model.validate import load_facts

KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
SSH = f"""
version: 1
boards:
  rack1:
    driver: ssh
    facts: rpi4
    host: board.example
    host_key: {KEY}
"""
LAB = f"""
version: 1
boards:
  rack1:
    driver: labgrid
    facts: rpi4
    place: rack1
    host_key: {KEY}
"""

EMULATED = """
version: 1
boards:
  rack1:
    driver: emulated
    facts: qemu-virt
"""


def load(folder: Path, text: str) -> Inventory:
    path = folder / "inventory.yaml"
    path.write_text(text)
    return Inventory(path)


def with_line(text: str, key: str, line: str) -> str:
    """Put a line in place of that of a key, or at the end."""
    replaced = re.sub(rf"^ *{key}:.*\n", f"    {line}\n" if line else "", text, flags=re.MULTILINE)
    return replaced if replaced != text else f"{text}    {line}\n"


WRONG = [
    (SSH, "driver", "driver: telnet  # VT203"),
    (SSH, "host", ""),
    *((SSH, "host", f"host: '{host}'  # VT203") for host in ("-oProxyCommand=x", "a b", "*", "a,b", "{{ x }}", "a\tb")),
    *((SSH, "user", f"user: '{user}'  # VT203") for user in ("-l", "root;id", "a@b", "Root", "")),
    *((SSH, "port", f"port: {port}  # VT203") for port in (0, 65536, "ssh", "true")),
    *(
        (SSH, "identity_file", f"identity_file: {path}  # VT203")
        for path in ("'{{ lookup() }}'", "'a\"b'", '"a\'b"', "'%h'", "'a\\b'")
    ),
    (SSH, "identity_file", "identity_file: no-such-key  # VT617"),
    (SSH, "device_tree", "device_tree: no-such.dtb  # VT617"),
    (SSH, "host_key", "known_hosts_file: no-such-hosts  # VT617"),
    (SSH, "host_key", ""),
    (SSH, "known_hosts_file", "known_hosts_file: inventory.yaml  # VT615"),
    (SSH, "host_key", "host_key: AAAA  # VT203"),
    (SSH, "host_key", f"host_key: ssh-dss {KEY.split()[1]}  # VT203"),
    (SSH, "host_key", f"host_key: ssh-rsa {KEY.split()[1]}  # VT616"),
    (SSH, "host_key", "host_key: ssh-ed25519 AAAAC  # VT616"),
    (SSH, "power", "power: {on: [a], off: [b]}  # VT202"),
    (SSH, "power", "power: {on: a, off: [b], status: [c]}  # VT203"),
    (SSH, "power", "power: {on: [], off: [b], status: [c]}  # VT203"),
    (SSH, "console", "console: {}  # VT615"),
    (SSH, "place", "place: rack1  # VT201"),
    (LAB, "place", ""),
    (LAB, "tags", "tags: {board: rpi4}  # VT615"),
    (LAB, "place", "tags: {Board: rpi4}  # VT204"),
    (LAB, "place", "tags: {board: 'a=b'}  # VT203"),
    (LAB, "place", "tags: {}  # VT203"),
    (LAB, "place", "place: '*'  # VT203"),
    (LAB, "coordinator", "coordinator: 'http://lab'  # VT203"),
    (LAB, "wait_s", "wait_s: -1  # VT203"),
    (LAB, "user", "user: me  # VT201"),
    (EMULATED, "disk", "disk: no-such.img  # VT617"),
    (EMULATED, "disk", "disk: vtool:linux  # VT617"),
    (EMULATED, "user", "user: Root  # VT203"),
]


@pytest.mark.parametrize(("text", "key", "line"), WRONG, ids=[f"{key}-{line}" for _, key, line in WRONG])
def test_what_is_wrong_is_said_at_its_line(tmp_path: Path, text: str, key: str, line: str) -> None:
    text = with_line(text, key, line)
    # Of what is left out, the board's own line tells.
    expected = line.rsplit("# ", 1)[1] if line else "VT615" if key != "host" else "VT202"
    number = next(n for n, got in enumerate(text.splitlines(), 1) if (line or "rack1:") in got)
    with pytest.raises(VtoolError) as caught:
        load(tmp_path, text)
    assert caught.value.exit_code is ExitCode.TOPOLOGY_WRONG
    found = [(finding.code, finding.span.line if finding.span else 0) for finding in caught.value.diagnostics]
    assert found == [(expected, number)]


def test_all_findings_of_all_boards_are_reported(tmp_path: Path) -> None:
    text = with_line(SSH, "host_key", "") + with_line(LAB, "place", "").split("boards:\n")[1].replace("rack1", "rack2")
    with pytest.raises(VtoolError) as caught:
        load(tmp_path, text)
    assert [finding.code for finding in caught.value.diagnostics] == ["VT615", "VT615"]


def test_facts_are_the_topologys_or_none(tmp_path: Path) -> None:
    inventory = load(tmp_path, SSH)
    assert inventory.board("rack1").facts.name == "rpi4"
    assert isinstance(inventory.board("other"), EmulatedBoard)
    with pytest.raises(VtoolError, match="is a 'rpi4' in the inventory, the topology says 'rpi5'") as caught:
        inventory.board("rack1", load_facts("rpi5").facts)
    found = caught.value.diagnostics[0]
    assert found.code == "VT601" and found.span is not None and found.span.line == 6
    with pytest.raises(VtoolError, match="no facts file 'rpi6'"):
        load(tmp_path, SSH.replace("rpi4", "rpi6")).board("rack1")
    (tmp_path / "mine.yaml").write_text(
        (Path(__file__).parents[2] / "topology/boards/rpi4.yaml").read_text().replace("name: rpi4", "name: mine")
    )
    assert load(tmp_path, SSH.replace("facts: rpi4", "facts: ./mine.yaml")).board("rack1").facts.name == "mine"


def test_several_boards_may_stand_for_one(tmp_path: Path) -> None:
    other = (
        SSH.split("boards:\n")[1].replace("rack1", "rack2").replace("driver: ssh", "stands_for: pi\n    driver: ssh")
    )
    text = SSH.replace("driver: ssh", "stands_for: pi\n    driver: ssh") + other
    inventory = load(tmp_path, text)
    assert inventory.standing_for("pi") == ["rack1", "rack2"] and inventory.standing_for("rack1") == ["rack1"]
    assert inventory.standing_for("emulated") == ["emulated"]
    assert inventory.stand_in("rack2").name == "rack2"
    with pytest.raises(VtoolError, match="not in the inventory, 'rack1', 'rack2' may stand for it") as caught:
        inventory.board("pi")
    (found,) = caught.value.diagnostics
    assert found.code == "VT614" and found.hints == ("say which one: --use pi=rack1",) and found.span is not None
    used = Inventory(tmp_path / "inventory.yaml", ["pi=rack2", "rack2=rack1"])
    assert used.board("pi").name == "rack2" and used.standing_for("pi") == ["rack2"]
    itself = load(tmp_path, text.replace("rack2:", "pi:"))
    assert itself.standing_for("pi") == ["rack1", "pi"] and itself.board("pi").name == "pi"


@pytest.mark.parametrize(("word", "said"), [("pi=rack9", "has no board 'rack9'"), ("rack1", "is no BOARD=NAME")])
def test_what_cannot_be_used_is_said(word: str, said: str, tmp_path: Path) -> None:
    load(tmp_path, SSH)
    with pytest.raises(VtoolError, match=said) as caught:
        Inventory(tmp_path / "inventory.yaml", [word])
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_place_of_a_lab_can_be_used_by_itself(tmp_path: Path) -> None:
    load(tmp_path, LAB.replace("place: rack1", "tags: {board: rpi4}").replace("rack1:", "pi:"))
    inventory = Inventory(tmp_path / "inventory.yaml", ["board0=pi-shelf-2"])
    assert inventory.board("board0").name == "pi-shelf-2" and inventory.standing_for("board0") == ["pi-shelf-2"]


def test_paths_start_at_the_inventorys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))
    (tmp_path / "home").mkdir()
    for path in (tmp_path / "home" / "key", tmp_path / "key"):
        path.touch()
    home = load(tmp_path, f"{SSH}    identity_file: ~/key\n").board("rack1").ssh()
    beside = load(tmp_path, f"{SSH}    identity_file: key\n").board("rack1").ssh()
    assert (home.identity_file, beside.identity_file) == (tmp_path / "home" / "key", tmp_path / "key")
    assert (beside.host, beside.port, beside.user) == ("board.example", 22, "root")
    assert beside.known_hosts_file.read_text() == f"board.example {KEY}\n"


def test_a_pinned_key_is_known_at_its_own_address_only(tmp_path: Path) -> None:
    for host, port in (("board.example", 22), ("10.0.0.1", 2222), ("fe80::1", 22), ("::1", 2222)):
        path = pin(tmp_path / "hosts", host, port, f"{KEY} root@board")
        assert knows(path, host, port)
        assert not knows(path, host, port + 1) and not knows(path, "other", port)
        assert path.stat().st_mode & 0o77 == 0
    assert key_fault(KEY) is None


def test_a_known_hosts_file_with_half_a_key_is_said(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("board.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFxO9\n")
    board = load(tmp_path, with_line(SSH, "host_key", "known_hosts_file: hosts")).board("rack1")
    with pytest.raises(VtoolError, match=r"VT617.*board\.example ssh-ed25519"):
        board.ssh()


def test_words_of_a_command_line_stay_one_word(tmp_path: Path) -> None:
    """OpenSSH itself says what it made of the options that Ansible is given."""
    import shlex
    import subprocess

    target = SshTarget("board.example", 2222, "vtool", tmp_path / "a key", tmp_path / "%h of me")
    host = connection_variables(target)
    assert shlex.split(host["ansible_ssh_common_args"]) == ssh_options(target)
    said = subprocess.run(
        ["ssh", "-G", "-F", "/dev/null", *shlex.split(host["ansible_ssh_common_args"]), "--", "board.example"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "stricthostkeychecking true" in said and "identitiesonly yes" in said and "batchmode yes" in said
    assert f"userknownhostsfile {tmp_path}/%h of me" in said and f"identityfile {tmp_path}/a key" in said
    assert target.escalation == ("sudo", "-n") and host["ansible_user"] == "vtool"


SECRETS = [
    "password: hunter2",
    "ipmi_password: 'hunter2'",
    "snmp: {community: hunter2}",
    "usr: hunter2",
    "power: {on: ipmitool -P hunter2, off: [x], status: [x]}",
    "power: {on: [ipmitool, hunter2, 7], off: [x], status: [x]}",
    "power: hunter2",
    "console: [hunter2]",
    "console: {log: a, join: hunter2}",
    "host: a\n    password: hunter2\n    password: hunter2",
    "password: hunter2: x",
    "password: [hunter2",
    "power:\n      on: [ipmitool, hunter2",
    "power:\n      on: [x]\n      on: [hunter2]",
    "token: !vault hunter2",
    "power:\n      on: [ipmitool, !vault hunter2]",
]


@pytest.mark.parametrize("line", SECRETS)
def test_what_may_be_a_secret_is_never_shown(line: str, tmp_path: Path) -> None:
    with pytest.raises(VtoolError) as caught:
        load(tmp_path, f"{SSH}    {line}\n")
    shown = "\n".join(map(format_diagnostic, caught.value.diagnostics))
    assert caught.value.diagnostics and "hunter2" not in shown, shown
    assert "hunter2" not in json.dumps([found.to_json() for found in caught.value.diagnostics])


def test_shape_and_rules_are_told_at_once(tmp_path: Path) -> None:
    more = (
        "  rack2:\n    driver: ssh\n    facts: rpi4\n    host: a b\n    console: {}\n    host_key: ssh-ed25519 AAAA\n"
    )
    with pytest.raises(VtoolError) as caught:
        load(tmp_path, f"{SSH}    prt: 22\n    device_tree: gone.dtb\n{more}    host: b\n")
    codes = ["VT103", "VT201", "VT203", "VT615", "VT616", "VT617"]
    assert sorted(found.code for found in caught.value.diagnostics) == codes


@pytest.mark.parametrize(
    ("pinned", "words"),
    [
        ("host_key", "the one pinned in `host_key` of 'rack1' in {folder}/inventory.yaml"),
        ("known_hosts_file", "the one pinned in {folder}/known_hosts"),
    ],
)
def test_a_board_that_shows_another_key_does_not_answer(pinned: str, words: str, tmp_path: Path) -> None:
    import paramiko

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(paramiko.RSAKey.generate(2048))
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=paramiko.ServerInterface(), event=threading.Event())

    other = paramiko.RSAKey.generate(2048)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} ssh-rsa {other.get_base64()}\n")
        value = f"ssh-rsa {other.get_base64()}" if pinned == "host_key" else "known_hosts"
        text = with_line(with_line(SSH, "host", f"host: 127.0.0.1\n    port: {port}"), "host_key", f"{pinned}: {value}")
        (tmp_path / "inventory.yaml").write_text(text)
        command = [sys.executable, "-m", "vtool.cli.main", "board", "up", "rack1", "--inventory"]
        done = subprocess.run([*command, tmp_path / "inventory.yaml"], capture_output=True, text=True)
    assert done.returncode == 3 and done.stdout == "", done
    assert "VT604" in done.stderr and words.format(folder=tmp_path) in done.stderr, done.stderr
    assert "if you know why it changed, replace the key there" in done.stderr
