"""vtool-ring: what goes in on one side comes out on the other; who ends is missed; what is wrong is named."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from tests.ring.rings import CHECK, DEADLINE_S, HEAD, MASK, PAGE, PATTERN, TAIL, Peer, Ring, until


def mixed(x: int) -> int:
    x = x + 0x9E3779B97F4A7C15 & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def pattern(length: int, seed: int, side: str) -> bytes:
    base = mixed(seed * 2 + (side == "b"))
    return b"".join(struct.pack("<Q", mixed(base + i & MASK)) for i in range(length // 8 + 1))[:length]


def fnv1a64(data: bytes) -> str:
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 & MASK
    return f"{digest:016x}"


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("ring_size", "count", "seed"),
    [("4096", 300_001, 1), ("8192", 12_345, 2), ("262144", 3_000_000, 3), ("4096", 1, 4)],
)
def test_a_pattern_goes_both_ways_and_wraps(ring: Ring, ring_size: str, count: int, seed: int) -> None:
    ring.init("--ring-size", ring_size)
    arguments = ("--bytes", str(count), "--seed", str(seed))
    sides = {side: ring.start("check", "--side", side, *arguments) for side in "ab"}
    for side, other in ("ab", "ba"):
        code, out, err = ended(sides[side])
        assert (code, err) == (0, "")
        told = json.loads(out)
        assert (told["sent"], told["received"]) == (count, count)
        if count < 1_000_000:
            assert told["fnv1a64"] == fnv1a64(pattern(count, seed, other))


def test_another_program_that_reads_the_page_speaks_the_format(ring: Ring) -> None:
    ring.init("--ring-size", "4096")
    data = pattern(9_999, 7, "b")
    process = ring.start("check", "--side", "a", "--bytes", str(len(data)), "--seed", "7")
    peer = Peer(ring.path, "b", CHECK)
    peer.connect()
    came, sent = b"", 0
    for length in (1, 7, 8, 9, 2040, 2039, *(500 for _ in range(20))):
        peer.send(PATTERN, data[sent : sent + length])
        sent += len(data[sent : sent + length])
        if sent == len(data):
            break
        if len(came) < len(data):
            tag, payload = peer.receive()
            assert tag == PATTERN
            came += payload
    while len(came) < len(data):
        came += peer.receive()[1]
    assert came == pattern(len(data), 7, "a")
    assert ended(process)[0] == 0


def test_a_part_of_a_region_is_all_that_is_touched(ring: Ring) -> None:
    content = pattern(1 << 20, 9, "a")
    ring.path.write_bytes(content)
    first, last = 4 * PAGE, 4 * PAGE + 65536
    ring.region = f"{ring.path}:{first}+{last - first}"
    ring.init()
    sides = [ring.start("check", "--side", side, "--bytes", "500000") for side in "ab"]
    assert [ended(side)[0] for side in sides] == [0, 0]
    after = ring.path.read_bytes()
    assert (after[:first], after[last:]) == (content[:first], content[last:])


def test_two_rings_in_one_file(ring: Ring) -> None:
    processes = []
    for offset in (0, 1 << 19):
        ring.region = f"{ring.path}:{offset}+{1 << 19}"
        ring.init()
        processes += [ring.start("check", "--side", side, "--bytes", "3000000") for side in "ab"]
    assert [ended(process)[0] for process in processes] == [0, 0, 0, 0]


def test_a_peer_that_starts_anew_is_told(ring: Ring) -> None:
    ring.init()
    process = ring.start("check", "--side", "a", "--bytes", str(1 << 50))
    first = ring.start("check", "--side", "b", "--bytes", str(1 << 50))
    until(lambda: struct.unpack_from("<Q", ring.path.read_bytes(), 2 * PAGE + HEAD)[0] > 1 << 20, "traffic")
    first.kill()
    first.wait()
    ring.start("check", "--side", "b", "--bytes", "1")
    code, _, err = ended(process)
    assert code == 1
    assert "side b left or started anew after" in err


def test_a_peer_that_is_silent_is_told(ring: Ring) -> None:
    ring.init()
    process = ring.start("check", "--side", "a", "--bytes", "100", "--timeout", "1")
    Peer(ring.path, "b", CHECK).connect()
    code, _, err = ended(process)
    assert code == 3
    assert "side b gave no sign for 1 s while side a waited for the pattern" in err


def test_a_region_that_goes_away_is_told(ring: Ring) -> None:
    ring.init()
    process = ring.start("check", "--side", "a", "--bytes", "100")
    Peer(ring.path, "b", CHECK).connect()
    with ring.path.open("r+b") as file:
        file.truncate(0)
    assert ended(process) == (3, "", "vtool-ring: the region is gone (SIGBUS)\n")


def test_one_process_a_side(ring: Ring) -> None:
    ring.init()
    process = ring.start("check", "--side", "a", "--bytes", "1")
    Peer(ring.path, "b", CHECK).connect()
    done = ring.run("check", "--side", "a", "--bytes", "1")
    assert done.returncode == 3
    assert b"side a is served by another process here" in done.stderr
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (HEAD, 4, "+0x2040: side b: head is not in what fits (0x4)"),
        (HEAD, 1 << 40, "+0x2040: side b: head is not in what fits (0x10000000000)"),
        (TAIL, MASK, "+0x2080: side b: tail is not in what was produced (0xffffffffffffffff)"),
    ],
)
def test_a_counter_that_cannot_be_is_located(ring: Ring, field: int, value: int, says: str) -> None:
    ring.init()
    process = ring.start("check", "--side", "a", "--bytes", "100000000")
    peer = Peer(ring.path, "b", CHECK)
    peer.connect()
    peer.put(peer.mine + field, value)
    code, _, err = ended(process)
    assert code == 1
    assert says in err


@pytest.mark.parametrize(
    ("length", "payload", "says"),
    [
        (2041, b"x" * 2040, "+0x4000: side b: a record's length is more than one carries (0x7f9)"),
        (0xFFFFFFFF, b"", "+0x4000: side b: a record's length is more than one carries (0xffffffff)"),
        (9, b"12345678", "+0x4000: side b: a record is longer than what was produced (0x9)"),
        (None, b"x", "at byte 0"),
    ],
)
def test_a_record_that_cannot_be_is_located(ring: Ring, length: int | None, payload: bytes, says: str) -> None:
    ring.init("--ring-size", "4096")
    process = ring.start("check", "--side", "a", "--bytes", "100000")
    peer = Peer(ring.path, "b", CHECK)
    peer.connect()
    peer.send(PATTERN + (length is None), payload, length)
    code, _, err = ended(process)
    assert code == 1
    assert says in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("init",), 3, "it holds a ring already"),
        (("init", "--force", "--ring-size", "5000"), 2, "a power of two"),
        (("init", "--force", "--ring-size", "524288"), 2, "two have to fit"),
        (("check", "--side", "a"), 2, "check lacks an option"),
        (("check", "--side", "c", "--bytes", "1"), 2, "--side is a or b"),
        (("check", "--side", "a", "--bytes", "-1"), 2, "'-1' is not a number"),
        (("check", "--side", "a", "--bytes", "0"), 2, "--bytes is 1 or more"),
        (("attach", "--read", "0"), 2, "attach lacks an option"),
        (("attach", "--info", "--copy", "x"), 2, "attach lacks an option"),
        (("frobnicate",), 2, "'frobnicate' is no command"),
        (("export", "--file", "/nowhere"), 3, "/nowhere: No such file"),
    ],
)
def test_usage(ring: Ring, arguments: tuple[str, ...], code: int, says: str) -> None:
    ring.init()
    done = ring.run(*arguments)
    assert done.returncode == code
    assert says in done.stderr.decode()


@pytest.mark.parametrize(
    ("region", "code", "says"),
    [
        ("{}x", 3, "No such file"),
        ("{}:4096+2000000", 2, "less than"),
        ("{}:100+65536", 2, "start at a page"),
        ("{}:0+8192", 2, "larger than"),
        ("/dev/zero", 2, "its size is not known"),
        ("{}", 1, "it holds no ring"),
    ],
)
def test_regions_that_are_none(ring: Ring, region: str, code: int, says: str) -> None:
    ring.region = region.format(ring.path)
    done = ring.run("check", "--side", "a", "--bytes", "1")
    assert done.returncode == code
    assert says in done.stderr.decode()


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (8, 2 | 4096 << 32, "of another version"),
        (16, 1, "of another version"),
        (8, 1 | 4095 << 32, "do not fit"),
        (8, 1 | 1 << 62, "do not fit"),
        (0, 5, "holds no ring"),
    ],
)
def test_headers_that_are_none(ring: Ring, at: int, value: int, says: str) -> None:
    ring.init()
    content = bytearray(ring.path.read_bytes())
    struct.pack_into("<Q", content, at, value)
    Path(ring.region).write_bytes(content)
    done = ring.run("check", "--side", "a", "--bytes", "1")
    assert done.returncode == 1
    assert says in done.stderr.decode()


def write(ring: Ring, at: int, word: int) -> None:
    with ring.path.open("r+b") as region:
        region.seek(at)
        region.write(struct.pack("<Q", word))


def test_init_if_needed_leaves_a_ring_that_fits_and_makes_any_other_anew(ring: Ring) -> None:
    ring.init("--ring-size", "4096")
    write(ring, PAGE + HEAD, 8)
    assert ended(ring.start("init", "--if-needed", "--ring-size", "4096")) == (0, "", "")
    assert struct.unpack_from("<Q", ring.path.read_bytes(), PAGE + HEAD) == (8,), "sides that use it go on"
    code, out, _ = ended(ring.start("init", "--if-needed", "--ring-size", "8192"))
    assert (code, json.loads(out)["ring_bytes"]) == (0, 8192)
    write(ring, 0, 0)
    assert ended(ring.start("init", "--if-needed", "--ring-size", "8192"))[0] == 0
    assert struct.unpack_from("<Q", ring.path.read_bytes(), PAGE + HEAD) == (0,)
    assert ended(ring.start("init"))[0] == 3


def test_the_program_tells_its_formats_version(ring: Ring) -> None:
    assert subprocess.run([ring.program, "--version"], capture_output=True, text=True, check=True).stdout == "1\n"
