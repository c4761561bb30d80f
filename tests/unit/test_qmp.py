"""QEMU's monitor, played by a thread: what it says between a command and its answer, and what it refuses."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vtool.board.qmp import monitor

ANSWERS: dict[str, list[dict[str, Any]]] = {
    "qmp_capabilities": [{"return": {}}],
    "query-name": [{"event": "RESUME"}, {"return": {"name": "board0"}}],
    "nosuch": [{"error": {"class": "CommandNotFound", "desc": "The command nosuch has not been found"}}],
    "quit": [],
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "qmp"))
        server.listen()

        def answer() -> None:
            with server.accept()[0] as connection, connection.makefile("rw") as stream:
                print(json.dumps({"QMP": {}}), file=stream, flush=True)
                for line in stream:
                    for said in (answers := ANSWERS[json.loads(line)["execute"]]):
                        print(json.dumps(said), file=stream, flush=True)
                    if not answers:
                        return

        thread = threading.Thread(target=answer)
        thread.start()
        yield tmp_path / "qmp"
        thread.join()


def test_an_answer_may_come_after_events(path: Path) -> None:
    with monitor(path) as execute:
        assert execute("query-name") == {"name": "board0"}


def test_what_is_refused_says_why_and_the_next_command_is_run(path: Path) -> None:
    with monitor(path) as execute:
        with pytest.raises(OSError, match="nosuch has not been found"):
            execute("nosuch")
        assert execute("query-name") == {"name": "board0"}


def test_a_qemu_that_ends_is_an_error_not_an_answer(path: Path) -> None:
    with monitor(path) as execute, pytest.raises(ConnectionError, match="closed"):
        execute("quit")


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), monitor(tmp_path / "none"):
        pass
