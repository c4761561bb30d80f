"""A hostile peer: the arithmetic against a fuzzer, the program against one that writes what it may and what it may not.

``VTOOL_RING_RUNS`` and ``VTOOL_RING_SEED`` make it longer and another one; ``make fuzz`` of the sources, longer still.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ring.conftest import SOURCES
from tests.ring.rings import (
    ACCEPTED,
    ATTACH,
    CHECK,
    DEADLINE_S,
    EPOCH,
    EXPORT,
    HEAD,
    PAGE,
    PROGRAM_OF,
    SERVICE,
    TAIL,
    Peer,
    Ring,
)

RUNS = int(os.environ.get("VTOOL_RING_RUNS", "1000"))
SEED = int(os.environ.get("VTOOL_RING_SEED", "1"))
MUTANTS = (
    ("bytes > ring_payload_max(ring->size)", "0"),
    ("ring_record_bytes(bytes) > ready", "0"),
    (
        "!ring_distance(ring->tail, peer, ring->size, &ready)",
        "(ring_distance(ring->tail, peer, ring->size, &ready), 0)",
    ),
    ("!ring_distance(peer, ring->head, ring->size, &used)", "(ring_distance(peer, ring->head, ring->size, &used), 0)"),
    ("(position & (size - 1)) / 8", "(position & (2 * size - 1)) / 8"),
    ("*distance <= size &&", "*distance <= size + 8 &&"),
    (" && *distance % 8 == 0", ""),
    ("(size & (size - 1)) == 0 &&", ""),
    ("RING_PAGES * RING_PAGE + 2 * size <= region", "RING_PAGES * RING_PAGE + size <= region"),
    ("uint64_t word, last = 0;", "uint64_t word, last = ~0ull;"),
)


def test_the_arithmetic_holds(built: Callable[[str], Path]) -> None:
    done = subprocess.run([built("ring-fuzz"), str(RUNS), str(SEED)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counted = re.search(r"(\d+) records moved, \d+ waits, (\d+) restarts, (\d+) corrupt and refused", done.stdout)
    assert counted and all(int(number) > RUNS for number in counted.groups()), "it reaches every verdict"


@pytest.mark.parametrize(("rule", "without"), MUTANTS)
def test_a_missing_check_is_found(tmp_path: Path, rule: str, without: str) -> None:
    for name in ("Makefile", "ring.h", "fuzz.c"):
        shutil.copy(SOURCES / name, tmp_path)
    text = (tmp_path / "ring.h").read_text()
    assert text.count(rule) == 1
    (tmp_path / "ring.h").write_text(text.replace(rule, without))
    make = ["make", "-C", str(tmp_path), "CFLAGS=-std=gnu11 -O1", "./ring-fuzz"]
    subprocess.run(make, check=True, capture_output=True, timeout=120)
    assert subprocess.run([tmp_path / "ring-fuzz", "1000"], capture_output=True).returncode != 0


def scribble(peer: Peer, luck: random.Random, everywhere: bool) -> None:
    """Write one word that this side, or with `everywhere` nobody, may write."""
    fields = [*(peer.mine + field for field in (EPOCH, ACCEPTED, SERVICE, HEAD, TAIL)), peer.mine + HEAD]
    anywhere = peer.offset + luck.randrange(0, 3 * PAGE + 2 * peer.size, 8)
    mine = peer.out + luck.randrange(0, peer.size, 8)
    at = luck.choice([*fields, mine, anywhere if everywhere else mine])
    near = [0, peer.epoch, peer.head, peer.size, 2**32, 2**63, 2**64 - 1, peer.get(peer.other + HEAD)]
    near += [peer.get(peer.other + field) for field in (TAIL, EPOCH)]
    peer.put(
        at,
        luck.choice(near) + luck.choice([0, 0, 0, 1, 7, 8, -8, peer.size])
        if luck.random() < 0.8
        else luck.getrandbits(64),
    )


def misbehave(peer: Peer, luck: random.Random, process: subprocess.Popen[bytes]) -> None:
    """Start well, then send records of any length and content, then scribble, until the other side had enough."""
    peer.connect()
    for _ in range(luck.randrange(8)):
        room = peer.size - (peer.head - peer.get(peer.other + TAIL))
        payload = luck.randbytes(luck.randrange(min(200, peer.size // 2)))
        if luck.random() < 0.5:  # a request or reply of anything
            head = (
                luck.randrange(4),
                luck.randrange(6),
                luck.randrange(3),
                luck.choice([0, 512, luck.getrandbits(64)]),
            )
            payload = struct.pack("<QIIQII", *head, luck.choice([0, len(payload), luck.getrandbits(32)]), 0) + payload
        if room < len(payload) + 16 or process.poll() is not None:
            break
        peer.send(
            luck.randrange(6), payload, luck.choice([None, None, None, 0, len(payload) + 9, luck.getrandbits(32)])
        )
    everywhere = luck.random() < 0.5
    for _ in range(3000):
        scribble(peer, luck, everywhere)
        if process.poll() is not None:
            break


@pytest.mark.parametrize("service", [CHECK, EXPORT, ATTACH])
def test_a_hostile_peer_ends_or_goes_on(ring: Ring, built: Callable[[str], Path], tmp_path: Path, service: int) -> None:
    ring.program = built("vtool-ring-asan")
    disk = tmp_path / "disk"
    disk.write_bytes(random.Random(1).randbytes(1 << 20))
    digest = hashlib.sha256(disk.read_bytes()).digest()
    first, last = PAGE, PAGE + 3 * PAGE + 2 * 8192
    around = ring.path.read_bytes()
    ring.region = f"{ring.path}:{first}+{last - first}"
    others = {CHECK: CHECK, EXPORT: ATTACH, ATTACH: EXPORT}
    arguments = {
        CHECK: ("--side", "a", "--bytes", "1000000000"),
        EXPORT: ("--side", "a", "--file", str(disk), "--read-only"),
        ATTACH: ("--side", "a", "--read", "0", "100000"),
    }[service]
    codes: set[int] = set()
    for round_ in range(max(12, RUNS // 50)):
        luck = random.Random(f"{SEED} {service} {round_}")
        ring.init("--force")
        process = ring.start(PROGRAM_OF[service], *arguments)
        misbehave(Peer(ring.path, "b", others[service], first), luck, process)
        process.terminate()
        _, err = process.communicate(timeout=DEADLINE_S)
        said = err.decode()
        assert "Sanitizer" not in said and "runtime error" not in said, said
        assert process.returncode in {0, 1, 3, 143}, (process.returncode, said)
        if process.returncode == 1:
            assert re.search(r"^vtool-ring: \S+:4096\+28672(\+0x[0-9a-f]+)?: (side b|read at)", said, re.M), said
        codes.add(process.returncode)
    assert 1 in codes, "no round was refused: the peer was not hostile enough"
    after = ring.path.read_bytes()
    assert (after[:first], after[last:]) == (around[:first], around[last:]), "outside of the region nothing changes"
    assert hashlib.sha256(disk.read_bytes()).digest() == digest
