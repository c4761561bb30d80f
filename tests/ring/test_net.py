"""A link between two network namespaces: each has a TAP interface, and only the ring between them."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ring.rings import DEADLINE_S, FRAME, NET, Peer, Ring, until
from tests.ring.test_fuzz import RUNS, SEED, misbehave

AS_USER = () if os.geteuid() == 0 else ("--user", "--map-root-user")
ADDRESS = {"a": "192.0.2.1", "b": "192.0.2.2"}

# No ping in Debian's base: an ICMP echo and its checksum (RFC 792, RFC 1071), asked until one comes back.
PING = """
import socket, struct, sys, time
def summed(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
body = bytes(range(56))
echo = struct.pack(">BBHHH", 8, 0, summed(struct.pack(">BBHHH", 8, 0, 0, 7, 1) + body), 7, 1) + body
end = time.monotonic() + 30
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
    raw.settimeout(0.2)
    while time.monotonic() < end:
        try:
            raw.sendto(echo, (sys.argv[1], 0))
            data, (address, _) = raw.recvfrom(2048)
        except OSError:
            time.sleep(0.05)
            continue
        if address == sys.argv[1] and data[20:22] == b"\\0\\0" and data[28:] == body:
            sys.exit(0)
sys.exit("no answer")
"""
SERVE = """
import hashlib, socket, sys
with socket.create_server((sys.argv[1], 7777)) as listening:
    print("listening", flush=True)
    connection, _ = listening.accept()
    digest = hashlib.sha256()
    while data := connection.recv(65536):
        digest.update(data)
    connection.sendall(digest.digest())
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7777), timeout=30) as connection:
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    sys.stdout.buffer.write(connection.recv(32))
"""


class Namespace:
    """A network namespace that lives as long as a process in it."""

    def __init__(self) -> None:
        holder = ["unshare", *AS_USER, "--net", "sh", "-c", "echo ready; exec cat"]
        self.holder = subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.holder.stdout and self.holder.stderr
        self.ready = self.holder.stdout.readline() == b"ready\n"
        self.prefix = ("nsenter", *(("--user", "--preserve-credentials") if AS_USER else ()), "--net", "--target")
        self.prefix += (str(self.holder.pid),)

    def run(self, *argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*self.prefix, *argv], input=stdin, capture_output=True, timeout=DEADLINE_S)

    def has(self, interface: str) -> bool:
        return self.run("ip", "link", "show", interface).returncode == 0

    def close(self) -> None:
        self.holder.kill()
        self.holder.communicate()


@pytest.fixture
def sides() -> Iterator[dict[str, Namespace]]:
    found = {"a": Namespace(), "b": Namespace()}
    try:
        for side in found.values():
            if not side.ready or side.run("ip", "tuntap", "add", "dev", "probe", "mode", "tap").returncode != 0:
                pytest.skip("there can be no TAP interface here")
        yield found
    finally:
        for side in found.values():
            side.close()


def link(ring: Ring, sides: dict[str, Namespace], name: str) -> subprocess.Popen[bytes]:
    """Start one side; its interface stays when it ends, with MAC and address, as an administrator would make it."""
    side = sides[name]
    if not side.has("ring0"):
        for command in (
            ("tuntap", "add", "dev", "ring0", "mode", "tap"),
            ("addr", "add", f"{ADDRESS[name]}/24", "dev", "ring0"),
            ("link", "set", "up", "dev", "ring0"),
        ):
            done = side.run("ip", *command)
            assert done.returncode == 0, done.stderr
    return ring.start("net", "--side", name, "--tap", "ring0", prefix=side.prefix)


def ping(sides: dict[str, Namespace], name: str) -> None:
    other = ADDRESS["b" if name == "a" else "a"]
    done = sides[name].run(sys.executable, "-c", PING, other)
    assert done.returncode == 0, done.stderr


def transfer(ring: Ring, sides: dict[str, Namespace], data: bytes) -> None:
    serve = [*sides["b"].prefix, sys.executable, "-c", SERVE, ADDRESS["b"]]
    with subprocess.Popen(serve, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout and server.stdout.readline() == b"listening\n"
            done = sides["a"].run(sys.executable, "-c", SEND, ADDRESS["b"], stdin=data)
            assert done.stdout == hashlib.sha256(data).digest(), done.stderr
        finally:
            server.kill()


def test_an_interface_that_is_not_there_is_made(ring: Ring, sides: dict[str, Namespace]) -> None:
    ring.init()
    process = ring.start("net", "--side", "a", "--tap", "ring1", prefix=sides["a"].prefix)
    until(lambda: sides["a"].has("ring1"), "interface")
    process.kill()
    process.wait()
    until(lambda: not sides["a"].has("ring1"), "end of the interface")


@pytest.mark.parametrize(
    ("tap", "code", "says"), [("a-name-that-is-long", 2, "longer than 15"), ("lo", 3, "/dev/net/tun, interface 'lo'")]
)
def test_no_interface(ring: Ring, sides: dict[str, Namespace], tap: str, code: int, says: str) -> None:
    ring.init()
    process = ring.start("net", "--side", "a", "--tap", tap, prefix=sides["a"].prefix)
    told = process.communicate(timeout=DEADLINE_S)[1].decode()
    assert (process.returncode, says in told) == (code, True)


@pytest.mark.parametrize("ring_size", ["4096", "262144"])
def test_a_link(ring: Ring, sides: dict[str, Namespace], ring_size: str) -> None:
    ring.init("--ring-size", ring_size)
    processes = {name: link(ring, sides, name) for name in "ab"}
    for name in "ab":
        ping(sides, name)
    transfer(ring, sides, random.Random(1).randbytes(4_000_000))
    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    told = [process.communicate(timeout=DEADLINE_S)[1].decode() for process in processes.values()]
    assert all("ring0 is linked to side" in text and "stopped; records:" in text for text in told), told


def test_a_killed_side_comes_back(ring: Ring, sides: dict[str, Namespace]) -> None:
    ring.init()
    stays, first = link(ring, sides, "a"), link(ring, sides, "b")
    ping(sides, "a")
    first.kill()
    first.wait()
    again = link(ring, sides, "b")
    ping(sides, "a")
    assert again.poll() is None
    transfer(ring, sides, random.Random(2).randbytes(1_000_000))
    stays.send_signal(signal.SIGTERM)
    told = stays.communicate(timeout=DEADLINE_S)[1].decode()
    assert "side b left or started anew (time 1): frames under way are lost" in told


def test_what_is_no_frame_is_refused_and_the_link_goes_on(ring: Ring, sides: dict[str, Namespace]) -> None:
    ring.init()
    process = link(ring, sides, "a")
    peer = Peer(ring.path, "b", NET)
    peer.connect()
    for tag, payload in ((FRAME + 1, bytes(60)), (FRAME, b""), (FRAME, bytes(13)), (FRAME, bytes(60))):
        peer.send(tag, payload)
    until(lambda: peer.get(peer.other + 128) == peer.head, "reader")
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=DEADLINE_S)[1].decode()
    assert "4 received, 3 refused" in told


def test_a_hostile_peer_of_a_link(ring: Ring, sides: dict[str, Namespace], built: Callable[[str], Path]) -> None:
    ring.program = built("vtool-ring-asan")
    codes = set()
    for round_ in range(max(12, RUNS // 50)):
        luck = random.Random(f"{SEED} net {round_}")
        ring.init("--force", "--ring-size", "8192")
        process = link(ring, sides, "a")
        misbehave(Peer(ring.path, "b", NET), luck, process)
        process.terminate()
        said = process.communicate(timeout=DEADLINE_S)[1].decode()
        assert "Sanitizer" not in said and "runtime error" not in said, said
        assert process.returncode in {0, 1}, (process.returncode, said)
        codes.add(process.returncode)
    assert 1 in codes, "no round was refused: the peer was not hostile enough"
