"""The whole way through a lab: an emulated board behind a real coordinator, exporter, power switch and serial server.

vtool knows of the board what the lab says and the inventory pins. The tests run in order on one board.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtool.board.emulated import EmulatedBoard
from vtool.model.validate import load_facts

from .conftest import EXAMPLES, Bench, interrupted
from .lab import Lab, SerialLine, board_behind, forward, power_switch
from .machine import Machine

pytestmark = pytest.mark.board
pytest.importorskip("labgrid")
KVM = EXAMPLES / "kvm-pool.yaml"


class User:
    """Somebody at a desk, with an inventory and a state folder of their own."""

    def __init__(self, lab: Lab, bench: Bench, board: EmulatedBoard, folder: Path, image: Path, programs: Path) -> None:
        self.lab, self.bench, self.board, self.folder, self.image = lab, bench, board, folder, image
        self.inventory = folder / "inventory.yaml"
        host_key = (board.folder / "host_ed25519.pub").read_text().strip()
        entry = {
            "driver": "labgrid",
            "facts": "qemu-virt",
            "coordinator": lab.coordinator,
            "tags": {"board": "qemu"},
            "host_key": host_key,
            "identity_file": str(board.folder / "id_ed25519"),
        }
        self.inventory.write_text(json.dumps({"version": 1, "boards": {"board0": entry}}))
        self.environment = {**bench.environment, "VTOOL_STATE": str(folder / "state"), "LG_USERNAME": "me"}
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "vtool.cli.main", *map(str, words), "--inventory", str(self.inventory)]

    def vtool(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1800,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"$ vtool {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="module")
def user(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        for name in ("VTOOL_STATE", "XDG_RUNTIME_DIR"):
            environment.setenv(name, bench.environment[name])
        board = EmulatedBoard("board0", load_facts("qemu-virt").facts)
        bench.vtool("board", "up")
        bench.vtool("board", "down")
        image = tmp_path_factory.mktemp("image") / "disk.img"
        subprocess.run(["cp", "--sparse=always", str(board._files.disk), str(image)], check=True)
        stack.callback(board.off)
        port_file = board.folder / "ssh_port"
        ssh = forward(lambda: socket.create_connection(("127.0.0.1", int(port_file.read_text()))), stack)
        line = SerialLine(board._files.console_socket, stack)
        folder = tmp_path_factory.mktemp("lab")
        medium, programs = card_reader(board._files.disk, tmp_path_factory.mktemp("lab-host"), stack)
        behind = board_behind(line.console.port, ssh, power_switch(board, stack), "root", medium)
        lab = Lab(folder, {"rack1": behind})
        stack.enter_context(lab.open())
        yield User(lab, bench, board, tmp_path_factory.mktemp("desk"), image, programs)


def card_reader(disk: Path, folder: Path, stack: contextlib.ExitStack) -> tuple[str, Path]:
    """Make a block device of a board's disk, and a machine that has it, ``lab-host`` to the ssh in the folder returned.

    Returns the device's path, and that folder.
    """
    attached = subprocess.run(["losetup", "--find", "--show", str(disk)], capture_output=True, text=True)
    assert attached.returncode == 0, attached.stderr
    device = attached.stdout.strip()
    stack.callback(subprocess.run, ["losetup", "--detach", device])
    folder.chmod(0o755)
    host = Machine(folder)
    host.on()
    stack.callback(host.off)
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{host.port} {host.host_key}\n")
    config = folder / "ssh_config"
    config.write_text(
        f"Host lab-host\n  HostName 127.0.0.1\n  Port {host.port}\n  User root\n"
        f"  IdentityFile {host.identity}\n  UserKnownHostsFile {known}\n"
    )
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{config}" "$@"\n')
    (programs / "ssh").chmod(0o755)
    return device, programs


def test_a_topology_is_deployed_through_the_lab(user: User) -> None:
    assert not user.board.is_on()
    (report,) = json.loads(user.vtool("deploy", KVM, "--format", "json").stdout)
    assert report["proven"] and report["rebooted"]
    assert user.board.is_on() and user.lab.holder() is None
    said = (user.folder / "state" / "consoles" / "board0.log").read_text(errors="replace")
    assert "U-Boot" in said and "vtool.boot=" in said


def test_it_is_looked_at_through_the_lab(user: User) -> None:
    assert "running" in user.vtool("status", KVM).stdout
    assert "created restricted DMA pool" in user.vtool("logs", "fe0", "-n", "400").stdout
    user.lab.client("-p", "rack1", "acquire", user="alice")
    try:
        assert "held by 'alice'" in user.vtool("verify", KVM, code=3).stderr
    finally:
        user.lab.client("-p", "rack1", "release", user="alice")
    report = json.loads(user.vtool("verify", KVM, "--format", "json").stdout)
    assert report[0]["proven"] and user.lab.holder() is None


def test_an_interrupted_deploy_gives_the_place_back(user: User) -> None:
    def is_mine() -> None:
        assert (user.lab.holder() or "").endswith("/me")

    code, rest = interrupted(user.command("deploy", KVM), user.environment, "Ask what the board lacks", is_mine)
    assert code == 130 and "interrupted" in rest and "Traceback" not in rest, rest
    assert user.lab.holder() is None


def test_a_board_that_went_off_is_switched_on_and_left_clean(user: User) -> None:
    user.board.off()
    # What it runs is not the firmware's tree any more; the one that was read before is used.
    (report,) = json.loads(user.vtool("deploy", KVM, "--format", "json").stdout)
    assert report["proven"] and not report["changed"]
    user.vtool("down", KVM)
    assert "ended by itself" in user.vtool("board", "down").stdout
    assert not user.board.is_on() and user.lab.holder() is None


def test_a_disk_that_was_lost_is_written_through_the_lab(user: User, tmp_path: Path) -> None:
    with user.board._files.disk.open("r+b") as disk:
        disk.write(bytes(64 << 20))
    too_large = tmp_path / "too-large.img"
    with too_large.open("wb") as stream:
        stream.truncate(8 << 30)
    assert "VT627" in user.vtool("board", "write", too_large, "--force", code=3).stderr
    assert "boots next" in user.vtool("board", "write", user.image, "--force").stdout
    assert user.lab.holder() is None
    assert "answers at" in user.vtool("board", "up").stdout
    assert "is on" in user.vtool("board", "write", user.image, code=3).stderr
