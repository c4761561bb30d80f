"""A lab on loopback: labgrid's own coordinator and exporter, power switches, and boards behind them.

The switch is a web page (labgrid's `rest` model), the console a TCP port (`raw`), sshd another, as an
exporter of a real lab would offer them. What the board is made of, the test says.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .machine import free_port

SECRET = "hunter2"


class Device(Protocol):
    """What a lab needs of the board behind it."""

    def on(self) -> None: ...

    def off(self) -> None: ...

    def is_on(self) -> bool: ...


def serve(server: socketserver.BaseServer, stack: contextlib.ExitStack) -> None:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    stack.callback(server.server_close)
    stack.callback(thread.join)
    stack.callback(server.shutdown)


def power_switch(device: Device, stack: contextlib.ExitStack) -> int:
    """Serve /relay/1/value: GET tells 0 or 1, PUT switches."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self, code: int, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            self._answer(200, "1" if device.is_on() else "0")

        def do_PUT(self) -> None:
            on = self.rfile.read(int(self.headers["Content-Length"])) == b"1"
            try:
                (device.on if on else device.off)()
            except Exception as error:
                self._answer(500, str(error))
            else:
                self._answer(200, "")

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serve(server, stack)
    return int(server.server_address[1])


def forward(connect: Callable[[], socket.socket], stack: contextlib.ExitStack) -> int:
    """Serve a port that leads to what ``connect`` opens, as long as there is something."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                inner = connect()
            except OSError:
                return
            with inner:
                back = threading.Thread(target=copy, args=(inner, self.request), daemon=True)
                back.start()
                copy(self.request, inner)
                back.join(5)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=True)
    server.daemon_threads = True
    server.block_on_close = False
    serve(server, stack)
    return int(server.server_address[1])


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Console:
    """A serial server: speaks to whoever listens, whether the board is on or not; ``typed`` gets what they type."""

    def __init__(self, stack: contextlib.ExitStack, typed: Callable[[bytes], None] | None = None) -> None:
        self._listeners: list[socket.socket] = []
        console = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                console._listeners.append(self.request)
                with contextlib.suppress(OSError):
                    while data := self.request.recv(4096):
                        (typed or console.say)(data)
                console._listeners.remove(self.request)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        serve(server, stack)
        self.port = int(server.server_address[1])

    def say(self, data: bytes) -> None:
        for listener in list(self._listeners):
            with contextlib.suppress(OSError):
                listener.sendall(data)


class SerialLine:
    """A board's serial line, the Unix socket of a QEMU that comes and goes, at a serial server."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._path = path
        self._line: socket.socket | None = None
        self._ends = threading.Event()
        self.console = Console(stack, self._type)
        thread = threading.Thread(target=self._listen, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._ends.set)

    def _listen(self) -> None:
        while not self._ends.wait(0.1):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
                line.connect(str(self._path))
                line.settimeout(0.2)
                self._line = line
                while not self._ends.is_set():
                    with contextlib.suppress(TimeoutError):
                        data = line.recv(65536)
                        if not data:
                            break
                        self.console.say(data)
            self._line = None

    def _type(self, data: bytes) -> None:
        if (line := self._line) is not None:
            with contextlib.suppress(OSError):
                line.sendall(data)


def _start(words: list[str], ready: str, folder: Path, log: Path, stack: contextlib.ExitStack) -> None:
    with log.open("wb") as stream:
        process = subprocess.Popen(words, cwd=folder, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    deadline = time.monotonic() + 30
    while ready not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def board_behind(
    console_port: int, ssh_port: int, power_port: int, user: str, medium: str | None = None
) -> dict[str, Any]:
    """Return what an exporter announces of a board."""
    group: dict[str, Any] = {
        "NetworkService": {"address": "127.0.0.1", "port": ssh_port, "username": user, "password": SECRET},
        "NetworkSerialPort": {"host": "127.0.0.1", "port": console_port, "protocol": "raw"},
        "NetworkPowerPort": {
            "model": "rest",
            "host": f"http://admin:{SECRET}@127.0.0.1:{power_port}/relay/{{index}}/value",
            "index": 1,
        },
    }
    if medium is not None:  # as an exporter announces a card reader; its host is found by the user's ssh
        reader = {"host": "lab-host", "busnum": 1, "devnum": 2, "path": medium, "vendor_id": 1, "model_id": 1}
        group["NetworkUSBMassStorage"] = reader
    return group


ONE_BOARD = {"rack1": ("board=qemu", "room=12"), "rack2": ("board=rpi4", "room=12")}


class Lab:
    """Places with their tags; what an exporter announces is theirs by its group's name, and others are empty."""

    def __init__(
        self, folder: Path, groups: Mapping[str, Mapping[str, Any]], places: Mapping[str, Sequence[str]] = ONE_BOARD
    ) -> None:
        self.folder = folder
        self.coordinator = f"127.0.0.1:{free_port()}"
        self._groups, self._places = groups, places

    @contextlib.contextmanager
    def open(self) -> Iterator[Lab]:
        with contextlib.ExitStack() as stack:
            programs = Path(sys.executable).parent
            words = [str(programs / "labgrid-coordinator"), "-l", self.coordinator]
            _start(words, "Coordinator ready", self.folder, self.folder / "coordinator.log", stack)
            (self.folder / "exporter.yaml").write_text(json.dumps(self._groups))
            words = [str(programs / "labgrid-exporter"), "-c", self.coordinator, "-n", "lab", "--hostname", "127.0.0.1"]
            log = self.folder / "exporter.log"
            _start([*words, "exporter.yaml"], "NetworkPowerPort/", self.folder, log, stack)
            for place, tags in self._places.items():
                self.client("-p", place, "create")
                self.client("-p", place, "set-tags", *tags)
            for place in self._groups:
                self.client("-p", place, "add-match", f"lab/{place}/*")
            yield self

    def client(self, *words: str, user: str = "admin", check: bool = True) -> str:
        """Run labgrid's own client as some user of the lab."""
        program = str(Path(sys.executable).parent / "labgrid-client")
        environment = {"LG_USERNAME": user, "LG_HOSTNAME": "desk", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [program, "-x", self.coordinator, *words], env=environment, capture_output=True, text=True, timeout=60
        )
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def clients(self) -> list[str]:
        """Return the address of every session that the coordinator has had."""
        return re.findall(r"client connected: (\S+)", (self.folder / "coordinator.log").read_text())

    def holder(self, place: str = "rack1") -> str | None:
        """Return who has a place, in labgrid's words."""
        said = self.client("-p", place, "show")
        line = next(line for line in said.splitlines() if line.strip().startswith("acquired:"))
        name = line.split(":", 1)[1].strip()
        return None if name == "None" else name
