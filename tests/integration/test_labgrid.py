"""Places of a real labgrid coordinator on loopback: taking, switching, talking, giving back whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from vtool.board.inventory import Inventory
from vtool.board.labgrid_place import LabgridBoard
from vtool.board.labgrid_session import coordinator
from vtool.board.shell import open_shell
from vtool.diagnostics import VtoolError

from .lab import SECRET, Console, Lab, board_behind, power_switch
from .machine import USER, Machine, make_key, why_not

pytest.importorskip("labgrid")


class Rack:
    """A lab whose board is an sshd that a power switch starts."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        (folder / "lab").mkdir()
        self.machine = Machine(folder)
        self.console = Console(stack)
        power = power_switch(self, stack)
        behind = board_behind(self.console.port, self.machine.port, power, USER)
        self.lab = Lab(folder / "lab", {"rack1": behind})
        self.broken = False

    def on(self) -> None:
        if self.broken:
            raise RuntimeError("fuse")
        self.machine.on()
        self.console.say(b"U-Boot 2023.01\nlogin: ")

    def off(self) -> None:
        self.machine.off()

    def is_on(self) -> bool:
        return self.machine.is_on()

    def inventory(self, **changes: Any) -> Path:
        entry = {
            "driver": "labgrid",
            "facts": "qemu-virt",
            "coordinator": self.lab.coordinator,
            "tags": {"board": "qemu"},
            "host_key": self.machine.host_key,
            "identity_file": str(self.machine.identity),
        }
        entry |= changes
        path = self.machine.folder / "inventory.yaml"
        boards = {"board1": {key: value for key, value in entry.items() if value is not None}}
        path.write_text(json.dumps({"version": 1, "boards": boards}))
        return path

    def board(self, **changes: Any) -> LabgridBoard:
        board = Inventory(self.inventory(**changes)).board("board1")
        assert isinstance(board, LabgridBoard)
        return board

    def vtool(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vtool.cli.main", *map(str, words), "--inventory", str(self.inventory())]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == code and "Traceback" not in done.stderr, (words, done.stdout, done.stderr)
        assert SECRET not in done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="vtool-lab-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        stack.callback(shutil.rmtree, folder)
        for name, value in (("VTOOL_STATE", str(folder / "state")), ("LG_USERNAME", "me"), ("LG_HOSTNAME", "here")):
            environment.setenv(name, value)
        rack = Rack(folder, stack)
        stack.callback(rack.machine.off)
        stack.enter_context(rack.lab.open())
        yield rack


def refusal(act: Any, *arguments: Any) -> VtoolError:
    with pytest.raises(VtoolError) as caught:
        act(*arguments)
    return caught.value


def hold(board: LabgridBoard) -> None:
    with board.hold():
        pass


def test_every_place_with_the_tags_is_a_board_of_its_own_but_those_that_others_have(rack: Rack) -> None:
    inventory = Inventory(rack.inventory(tags={"room": "12"}, stands_for="board0"))
    assert inventory.standing_for("board0") == ["board1-rack1", "board1-rack2"]
    board = inventory.stand_in("board1-rack1")
    with board.hold():
        assert rack.lab.holder() == "here/me" and rack.lab.holder("rack2") is None
        assert inventory.standing_for("board0") == ["board1-rack1", "board1-rack2"], "what is mine may be used"
    rack.lab.client("-p", "rack2", "acquire", user="alice")
    try:
        assert inventory.standing_for("board0") == ["board1"], "any that is free then"
        waits = Inventory(rack.inventory(tags={"room": "12"}, stands_for="board0", wait_s=60))
        assert waits.standing_for("board0") == ["board1-rack1", "board1-rack2"]
    finally:
        rack.lab.client("-p", "rack2", "release", user="alice")


def test_a_board_is_taken_used_and_given_back(rack: Rack) -> None:
    board = rack.board()
    assert board.standing().place == "rack1 (free)"
    with board.hold():
        assert rack.lab.holder() == "here/me"
        assert "held by 'me' on 'here'" in (rack.board().standing().place or "")
        assert not board.power.is_on()
        board.power.on()
        assert rack.is_on() and board.power.is_on()
        with open_shell(board) as shell:
            assert shell.run("whoami").stdout == f"{USER}\n"
        deadline = time.monotonic() + 10
        while "login: " not in board.console.tail(5) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert board.console.tail(5)[-2:] == ("U-Boot 2023.01", "login: ")
        board.power.off()
        assert not rack.is_on()
    assert rack.lab.holder() is None
    assert rack.lab.client("reservations").strip() == ""


def test_the_verbs(rack: Rack) -> None:
    assert rack.vtool("board", "power", "on", "board1").stdout == "board 'board1' is on\n"
    assert "answers at 127.0.0.1" in rack.vtool("board", "up", "board1").stdout
    assert re.search(r"board1 +labgrid +qemu-virt +unknown +- +rack1 \(free\)", rack.vtool("board", "list").stdout)
    assert rack.vtool("board", "power", "cycle", "board1").stdout == "board 'board1' is on\n"
    assert rack.vtool("board", "power", "off", "board1").stdout == "board 'board1' is off\n"
    assert rack.lab.holder() is None
    command = [sys.executable, "-m", "vtool.cli.main", "board", "console", "board1", "--inventory", rack.inventory()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as console:
        assert console.stdin is not None and console.stdout is not None
        console.stdin.write(b"hello\n")
        console.stdin.flush()
        assert console.stdout.readline() == b"hello\n"
        console.stdin.write(b"\x1d")
        console.stdin.close()
        assert console.wait(30) == 0
    assert rack.lab.holder() is None
    state = "".join(path.read_text() for path in (rack.machine.folder / "state").rglob("*") if path.is_file())
    assert "hello" in state and SECRET not in state


def test_a_reserved_board_stays_reserved(rack: Rack) -> None:
    assert "is place 'rack1'" in rack.vtool("board", "reserve", "board1").stdout
    assert "is place 'rack1'" in rack.vtool("board", "reserve", "board1").stdout
    assert "is off" in rack.vtool("board", "power", "off", "board1").stdout
    assert rack.lab.holder() == "here/me"
    assert "gave back rack1" in rack.vtool("board", "release", "board1").stdout
    assert rack.lab.holder() is None and rack.lab.client("reservations").strip() == ""
    assert "was not reserved by you" in rack.vtool("board", "release", "board1").stdout


def test_a_second_user_is_told_who_has_it(rack: Rack) -> None:
    rack.lab.client("-p", "rack1", "acquire", user="alice")
    try:
        for words in (("power", "off"), ("reserve",), ("up",)):
            said = rack.vtool("board", *words, "board1", code=3).stderr
            assert "VT605" in said and "place 'rack1', held by 'alice' on 'desk' since" in said
        assert rack.lab.holder() == "desk/alice"
        begin = time.monotonic()
        assert "after 2 s" in refusal(hold, rack.board(wait_s=2)).diagnostics[0].message
        assert time.monotonic() - begin >= 2
        board = rack.board(wait_s=60, tags=None, place="rack1")
        release = threading.Timer(2, rack.lab.client, ("-p", "rack1", "release"), {"user": "alice"})
        release.start()
        with board.hold():
            assert rack.lab.holder() == "here/me"
        release.join()
    finally:
        rack.lab.client("-p", "rack1", "release", "--kick", check=False)
    assert rack.lab.client("reservations").strip() == ""
    rack.lab.client("reserve", "board=qemu", user="alice")
    said = refusal(hold, rack.board()).diagnostics[0].message
    assert "place 'rack1', reserved for 'alice' on 'desk'" in said
    (token,) = re.findall(r"Reservation '(\w+)'", rack.lab.client("reservations"))
    rack.lab.client("cancel-reservation", token)


def test_the_users_own_reservation_is_used_and_kept(rack: Rack) -> None:
    with mock.patch.dict(os.environ, {"LG_HOSTNAME": "desk", "LG_USERNAME": "bob"}):
        rack.lab.client("reserve", "board=qemu", user="bob")
        with rack.board().hold():
            assert rack.lab.holder() == "desk/bob"
        assert rack.lab.holder() is None
        (token,) = re.findall(r"Reservation '(\w+)'", rack.lab.client("reservations"))
        rack.lab.client("cancel-reservation", token)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("waiting", [False, True], ids=["holding", "waiting"])
def test_an_interrupted_vtool_gives_back(rack: Rack, number: signal.Signals, waiting: bool) -> None:
    if waiting:
        rack.lab.client("-p", "rack1", "acquire", user="alice")
    inventory = rack.inventory(wait_s=60)
    command = [sys.executable, "-m", "vtool.cli.main", "board", "console", "board1", "--inventory", inventory]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job ignores Ctrl-C and hands that down; a user's terminal does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads
        ) as running:
            assert running.stderr is not None
            first = running.stderr.readline()
            assert ("waiting for place 'rack1', held by 'alice'" if waiting else "leave with Ctrl-]") in first
            if not waiting:
                assert rack.lab.holder() == "here/me"
            running.send_signal(number)
            rest = running.stderr.read()
            assert running.wait(30) == 130 and "Traceback" not in rest, rest
    finally:
        if waiting:
            rack.lab.client("-p", "rack1", "release", user="alice")
    assert rack.lab.holder() is None
    assert rack.lab.client("reservations").strip() == ""


def test_a_failure_gives_back(rack: Rack) -> None:
    rack.broken = True
    try:
        said = rack.vtool("board", "power", "on", "board1", code=3).stderr
    finally:
        rack.broken = False
    assert "VT619" in said and "500 Server Error" in said and "//***@127.0.0.1" in said
    assert rack.lab.holder() is None
    with pytest.raises(ZeroDivisionError), rack.board().hold():
        raise ZeroDivisionError
    assert rack.lab.holder() is None

    rack.machine.on()
    wrong = rack.board(host_key=make_key(rack.machine.folder / "other"))
    with pytest.raises(VtoolError, match="VT604"), wrong.hold(), open_shell(wrong):
        pass
    assert rack.lab.holder() is None


def test_each_session_has_a_connection_of_its_own(rack: Rack) -> None:
    """A coordinator fails with an assertion on a second session over a connection whose first it still has."""
    seen = len(rack.lab.clients())
    for _ in range(20):
        with coordinator(rack.lab.coordinator) as session:
            assert list(session.places()) == ["rack1", "rack2"]
    new = rack.lab.clients()[seen:]
    assert len(set(new)) == len(new) == 20


def test_what_is_wrong_with_a_lab_is_said(rack: Rack) -> None:
    def first(**changes: Any) -> tuple[str, str]:
        found = refusal(hold, rack.board(**changes)).diagnostics[0]
        return found.code, f"{found.message} {' '.join(found.hints)}"

    code, said = first(tags={"board": "rpi6"})
    assert code == "VT623" and "board=rpi6" in said and "rack2: board=rpi4, room=12" in said
    code, said = first(tags=None, place="rack3")
    assert code == "VT623" and "did you mean 'rack" in said
    with rack.board(tags={"board": "rpi4"}).hold():
        assert rack.lab.holder("rack2") == "here/me"
        empty = rack.board(tags={"board": "rpi4"})
    assert rack.lab.holder("rack2") is None
    with empty.hold():
        assert not empty.power.can_switch and not empty.console.can_join
        assert refusal(empty.ssh).diagnostics[0].code == "VT624"
    code, said = first(coordinator="127.0.0.1:1")
    assert code == "VT622" and "127.0.0.1:1" in said
    rack.lab.client("-p", "rack2", "add-match", "elsewhere/rack2/*")
    try:
        code, said = first(tags={"board": "rpi4"})
        assert code == "VT625" and "elsewhere/rack2/*" in said and "exporter" in said
        assert rack.lab.holder("rack2") is None and rack.lab.client("reservations").strip() == ""
    finally:
        rack.lab.client("-p", "rack2", "del-match", "elsewhere/rack2/*")
