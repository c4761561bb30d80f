"""A file exported over a ring: read, written, copied, through NBD, with a server that dies under load."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import struct
from pathlib import Path

import pytest

from tests.ring.rings import ATTACH, DEADLINE_S, REPLY, REQUEST, Peer, Ring

INFO, READ, WRITE, FLUSH = 1, 2, 3, 4
DONE, OUTSIDE, READ_ONLY, IO_FAILED, NOT_UNDERSTOOD = range(5)
MESSAGE = struct.Struct("<QIIQII")
NBD_REQUEST, NBD_REPLY = struct.Struct(">IIQQI"), struct.Struct(">IIQ")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    file = tmp_path / "disk"
    file.write_bytes(random.Random(1).randbytes(5_000_000))
    return file


@pytest.mark.parametrize("ring_size", ["4096", "262144"])
def test_what_is_written_is_read(ring: Ring, disk: Path, tmp_path: Path, ring_size: str) -> None:
    ring.init("--ring-size", ring_size)
    server = ring.start("export", "--file", str(disk))
    told = json.loads(ring.run("attach", "--info").stdout)
    assert told == {"bytes": 5_000_000, "read_only": False}
    part, before = random.Random(2).randbytes(1_234_567), disk.read_bytes()
    assert ring.run("attach", "--write", "12345", stdin=part).returncode == 0
    after = before[:12345] + part + before[12345 + len(part) :]
    assert sha256(disk.read_bytes()) == sha256(after)
    assert sha256(ring.run("attach", "--read", "12345", str(len(part))).stdout) == sha256(part)
    copy = tmp_path / "copy"
    assert ring.run("attach", "--copy", str(copy)).returncode == 0
    assert sha256(copy.read_bytes()) == sha256(after)
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=DEADLINE_S)
    assert server.returncode == 0
    assert b"stopped; records:" in err


@pytest.mark.parametrize(
    ("options", "arguments", "says"),
    [
        ((), ("--read", "4999999", "2"), "read at 4999999: that is outside"),
        ((), ("--read", "0xffffffffffffffff", "1"), "that is outside"),
        ((), ("--write", "4999999"), "write at 4999999: that is outside"),
        (("--read-only",), ("--write", "0"), "write at 0: it is exported read-only"),
    ],
)
def test_refusals(ring: Ring, disk: Path, options: tuple[str, ...], arguments: tuple[str, ...], says: str) -> None:
    ring.init()
    before = disk.read_bytes()
    ring.start("export", "--file", str(disk), *options)
    done = ring.run("attach", *arguments, stdin=b"xy")
    assert done.returncode == 1
    assert says in done.stderr.decode()
    assert disk.read_bytes() == before


@pytest.mark.parametrize(
    ("tag", "operation", "value", "length", "data", "status"),
    [
        (REQUEST, READ, 0, 65537, b"", NOT_UNDERSTOOD),
        (REQUEST, READ, 0, 0xFFFFFFFF, b"", NOT_UNDERSTOOD),
        (REQUEST, READ, 0, 8, b"carries", NOT_UNDERSTOOD),
        (REQUEST, READ, 5_000_000, 1, b"", OUTSIDE),
        (REQUEST, READ, 2**64 - 4, 8, b"", OUTSIDE),
        (REQUEST, WRITE, 0, 4, b"abc", NOT_UNDERSTOOD),
        (REQUEST, WRITE, 0, 2, b"abc", NOT_UNDERSTOOD),
        (REQUEST, WRITE, 4_999_998, 3, b"abc", OUTSIDE),
        (REQUEST, WRITE, 2**63, 3, b"abc", OUTSIDE),
        (REQUEST, 99, 0, 0, b"", NOT_UNDERSTOOD),
        (REPLY, READ, 0, 1, b"", NOT_UNDERSTOOD),
    ],
)
def test_a_request_is_believed_in_nothing(
    ring: Ring, disk: Path, tag: int, operation: int, value: int, length: int, data: bytes, status: int
) -> None:
    ring.init()
    before = disk.read_bytes()
    ring.start("export", "--file", str(disk))
    peer = Peer(ring.path, "b", ATTACH)
    peer.connect()
    peer.send(tag, MESSAGE.pack(77, operation, 0, value, length, 0) + data)
    answer = MESSAGE.unpack(peer.receive()[1])
    assert answer[2] == status
    peer.send(tag, b"short")
    assert MESSAGE.unpack(peer.receive()[1])[2] == NOT_UNDERSTOOD
    peer.send(REQUEST, MESSAGE.pack(78, READ, 0, 5, 3, 0))
    assert peer.receive()[1][MESSAGE.size :] == before[5:8], "the server goes on"
    assert disk.read_bytes() == before


def test_a_server_that_is_killed_and_started_anew(ring: Ring, tmp_path: Path) -> None:
    disk = tmp_path / "large"
    disk.write_bytes(random.Random(3).randbytes(24_000_000))
    ring.init()
    server = ring.start("export", "--file", str(disk), "--read-only")
    client = ring.start("attach", "--read", "0", "24000000", "--timeout", "30")
    assert client.stdout and client.stderr
    # A full pipe stops the client in the middle: it holds back far more than a pipe and its own buffer take.
    got = client.stdout.read(3_000_000)
    server.kill()
    server.wait()
    ring.start("export", "--file", str(disk), "--read-only")
    got += client.stdout.read()
    assert client.wait(DEADLINE_S) == 0
    assert sha256(got) == sha256(disk.read_bytes())
    assert b"what it did not answer is asked again" in client.stderr.read()


@pytest.mark.parametrize("wrong", ["id", "operation", "length", "more", "tag", "unasked"])
def test_an_answer_is_believed_in_nothing(ring: Ring, wrong: str) -> None:
    ring.init()
    client = ring.start("attach", "--read", "0", "64")
    peer = Peer(ring.path, "a", 2)
    peer.connect()
    asked = MESSAGE.unpack(peer.receive()[1])
    peer.send(REPLY, MESSAGE.pack(asked[0], INFO, DONE, 4096, 0, 0))
    asked = MESSAGE.unpack(peer.receive()[1])
    assert asked[1:] == (READ, 0, 0, 64, 0)
    if wrong == "unasked":
        peer.send(REPLY, MESSAGE.pack(asked[0], READ, DONE, 0, 64, 0) + bytes(64))
    peer.send(
        REPLY + (wrong == "tag"),
        MESSAGE.pack(
            asked[0] + (wrong in {"id", "unasked"}), READ + (wrong == "operation"), DONE, 0,
            64 + (wrong == "length"), 0,
        )
        + bytes(64 + 8 * (wrong == "more")),
    )  # fmt: skip
    out, err = client.communicate(timeout=DEADLINE_S)
    if wrong == "unasked":  # nobody is left to take it
        assert (client.returncode, out) == (0, bytes(64))
    else:
        assert (client.returncode, out) == (1, b"")
        assert b"side a: a re" in err


def test_nbd(ring: Ring, disk: Path) -> None:
    ring.init()
    ring.start("export", "--file", str(disk))
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as replies:
        number = theirs.fileno()
        client = ring.start("attach", "--nbd", f"fd:{number}", pass_fds=(number,))
        ours.settimeout(DEADLINE_S)

        def ask(type_: int, at: int, length: int, data: bytes = b"", replied: int = 0) -> tuple[int, bytes]:
            ours.sendall(NBD_REQUEST.pack(0x25609513, type_, 0x1234567890, at, length) + data)
            magic, error, handle = NBD_REPLY.unpack(replies.read(NBD_REPLY.size))
            assert (magic, handle) == (0x67446698, 0x1234567890)
            return error, replies.read(replied)

        before, part = disk.read_bytes(), os.urandom(700_000)
        assert ask(0, 4096, 1_000_000, replied=1_000_000) == (0, before[4096:1_004_096])
        assert ask(1, 8192, len(part), part) == (0, b"")
        assert ask(3, 0, 0) == (0, b"")
        assert disk.read_bytes()[8192 : 8192 + len(part)] == part
        assert ask(0, 4_999_999, 512) == (22, b"")
        assert ask(4, 0, 512) == (22, b"")
        ours.sendall(NBD_REQUEST.pack(0x25609513, 2, 0, 0, 0))
        assert client.wait(DEADLINE_S) == 0
