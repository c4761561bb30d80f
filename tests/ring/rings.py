"""A region and the processes at it; and the format once more, in Python, as docs/reference/ring-format.md tells it."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
PAGE = 4096
MASK = 2**64 - 1
EPOCH, STARTS, ACCEPTED, SERVICE, HEAD, TAIL = 0, 8, 16, 24, 64, 128
NET, EXPORT, ATTACH, CHECK = 1, 2, 3, 4
FRAME, REQUEST, REPLY, PATTERN = 1, 2, 3, 4
PROGRAM_OF = {NET: "net", EXPORT: "export", ATTACH: "attach", CHECK: "check"}


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"no {what} in {DEADLINE_S} s"
        time.sleep(0.002)


class Ring:
    """A file in shared memory and processes at it, ended with it."""

    def __init__(self, program: Path, size: int = 1 << 20) -> None:
        self.program = program
        number, name = tempfile.mkstemp(prefix="vtool-ring-test-", dir="/dev/shm")
        os.ftruncate(number, size)
        os.close(number)
        self.path = Path(name)
        self.region = name
        self.processes: list[subprocess.Popen[bytes]] = []
        self.hanging: list[Any] = []

    def start(self, *arguments: str, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[bytes]:
        command, *others = arguments
        argv = [*prefix, str(self.program), command, "--region", self.region, *others]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(argv, **{**pipes, **options})
        self.processes.append(process)
        return process

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        process = self.start(*arguments, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=DEADLINE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def init(self, *arguments: str) -> None:
        done = self.run("init", *arguments)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.hanging.append(process.args)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self.path.unlink()


class Peer:
    """A side of a ring that keeps to the format, or, where a test wants it, does not."""

    def __init__(self, path: Path, side: str, service: int, offset: int = 0) -> None:
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        # struct would move a counter byte by byte, and the other side see half of it.
        self.words = memoryview(self.map).cast("Q")
        self.offset, self.service = offset, service
        self.size = struct.unpack_from("<I", self.map, offset + 12)[0]
        first = side == "a"
        self.mine, self.other = (offset + PAGE, offset + 2 * PAGE)[:: 1 if first else -1]
        areas = (offset + 3 * PAGE, offset + 3 * PAGE + self.size)
        self.out, self.into = areas[:: 1 if first else -1]
        self.head = self.tail = 0
        self.epoch = self.get(self.mine + STARTS) + 1 & MASK or 1
        for field, value in ((EPOCH, 0), (ACCEPTED, 0), (STARTS, self.epoch)):
            self.put(self.mine + field, value)

    def get(self, at: int) -> int:
        return self.words[at // 8]

    def put(self, at: int, value: int) -> None:
        self.words[at // 8] = value & MASK

    def try_to_connect(self) -> bool:
        their_epoch = self.get(self.other + EPOCH)
        self.head = self.tail = 0
        fields = {HEAD: 0, TAIL: 0, SERVICE: self.service, ACCEPTED: their_epoch, EPOCH: self.epoch}
        for field, value in fields.items():
            self.put(self.mine + field, value)
        return their_epoch != 0 and self.get(self.other + ACCEPTED) == self.epoch

    def connect(self) -> None:
        until(self.try_to_connect, "other side")

    def send(self, tag: int, payload: bytes, length: int | None = None) -> None:
        """Append a record; `length` is what it says of itself, true when left out."""
        data = struct.pack("<II", len(payload) if length is None else length, tag) + payload
        data += bytes(-len(data) % 8)
        until(lambda: len(data) <= self.size - (self.head - self.get(self.other + TAIL)), "room")
        for at in range(0, len(data), 8):
            place = self.out + (self.head + at) % self.size
            self.map[place : place + 8] = data[at : at + 8]
        self.head += len(data)
        self.put(self.mine + HEAD, self.head)

    def receive(self) -> tuple[int, bytes]:
        until(lambda: self.get(self.other + HEAD) != self.tail, "record")
        length, tag = struct.unpack_from("<II", self.map, self.into + self.tail % self.size)
        whole = 8 + length + -length % 8
        data = b"".join(
            self.map[(place := self.into + (self.tail + at) % self.size) : place + 8] for at in range(8, whole, 8)
        )
        self.tail += whole
        self.put(self.mine + TAIL, self.tail)
        return tag, data[:length]
