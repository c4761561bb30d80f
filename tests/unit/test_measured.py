"""A command between two readings of the counters, in a real shell behind a socket, as a guest without a console has."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from vtool.deploy.on_board import measured as module
from vtool.deploy.on_board import talk
from vtool.deploy.on_board.base import BoardError

READY, DONE = "@@vtool ready", "@@vtool done"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve one shell after the other, as busybox's ``nc -l -e sh`` in a loop."""
    monkeypatch.setattr(talk, "manifest", lambda: {"domains": {"fe0": {"kind": "dom0less"}}})
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                subprocess.run(["sh"], stdin=connection, stdout=connection, stderr=connection, timeout=20)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was done, in order."""
    done: list[str] = []

    class Counters:
        def __init__(self, step: dict[str, Any]) -> None:
            done.append(f"found {step['units']}")

        def read(self, *, after: bool) -> dict[str, Any]:
            done.append("after" if after else "before")
            return {"at": len(done)}

    monkeypatch.setattr(module, "Counters", Counters)
    return done


def step(command: str, **more: Any) -> dict[str, Any]:
    return {"id": "client", "command": command, "units": ["u"], "domains": {}, "timeout_s": 5, **more}


def test_a_shell_behind_a_socket_runs_commands(address: str) -> None:
    assert talk.domain_shell("fe0", "echo 'a  b'; exit 3", 5, address) == {"code": 3, "output": "a  b\n"}
    assert talk.domain_shell("fe0", "cat", 5, address) == {"code": 0, "output": ""}, "nothing is to be read there"


def test_what_is_counted_is_between_ready_and_done(address: str, log: list[str], tmp_path: Any) -> None:
    file = tmp_path / "order"
    script = f"echo early >>{file}; echo '{READY}'; read -r _; echo work >>{file}; echo '{DONE}'; read -r _; echo late"
    seen: list[str] = []

    def read(self: Any, *, after: bool) -> dict[str, Any]:
        seen.append(file.read_text())
        log.append("after" if after else "before")
        return {"at": len(log)}

    module.Counters.read = read  # type: ignore[method-assign]
    said = module.measured(step(script, domain="fe0", address=address, ready=READY, done=DONE))
    assert seen == ["early\n", "early\nwork\n"] and log == ["found ['u']", "before", "after"]
    assert said["code"] == 0 and said["output"].endswith("late\n")
    assert (said["before"], said["after"]) == ({"at": 2}, {"at": 3})


def test_a_command_that_ends_early_says_so(address: str, log: list[str]) -> None:
    with pytest.raises(BoardError, match="ended and never said") as caught:
        module.measured(step("echo no such tool; exit 127", domain="fe0", address=address, ready=READY, done=DONE))
    assert any("no such tool" in line for line in caught.value.detail) and log == ["found ['u']"]
    assert not isinstance(caught.value, talk.SilentError), "its shell answered"


def test_a_domain_that_takes_no_commands_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    monkeypatch.setattr(talk, "PATIENCE_S", 0.2)
    with pytest.raises(talk.SilentError, match="takes no commands at"):
        talk.domain_shell("fe0", "true", 5, f"127.0.0.1:{port}")


def test_on_the_board_the_counters_are_around_the_command(log: list[str]) -> None:
    said = module.measured(step("echo x"))
    assert said == {"code": 0, "output": "x\n", "errors": "", "before": {"at": 2}, "after": {"at": 3}}
