"""What happens on a path when a backend or a guest goes away under load, or a pool is full: no byte is lost or changed.

One write load for a disk: 4 MiB of random bytes, again and again to the same place, each write waited for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = pytest.mark.board
TOPOLOGY, DAEMONS, RINGS = (EXAMPLES / f"{name}.yaml" for name in ("kvm-pool", "kvm-pool-daemons", "kvm-ring"))
BACKEND, DOMAIN = "vtool-backend-disk0.service", "vtool-domain-fe0.service"
DISK = "/var/lib/vtool/disks/fe0-disk0.img"
PID = f"systemctl show -p MainPID --value {DOMAIN}"
READY = "grep -c 'vtool: domain ready' /var/log/vtool/fe0/console.log"
SIZE_MIB, AT_MIB = 4, 8
WRITE = f"dd if=/tmp/w of=/dev/vda bs=64k seek={AT_MIB * 16} oflag=direct conv=fsync 2>>/tmp/said"
LOAD = (
    f"rm -f /tmp/done /tmp/said; dd if=/dev/urandom of=/tmp/w bs=1M count={SIZE_MIB} 2>/dev/null; "
    f"(for n in $(seq 24); do {WRITE} || echo failed >>/tmp/said; done; echo done >/tmp/done) >/dev/null 2>&1 & "
    "sha256sum </tmp/w"
)

# Twelve readers of 64 KiB at a time, of six places, while a writer has the seventh: each request fits, not all of them.
FULL, READERS = "swiotlb buffer is full", 12
BLOCKS = "bs=64k count=16"
MANY = (
    "dmesg -c >/dev/null; rm -f /tmp/r*; dd if=/dev/urandom of=/tmp/w bs=1M count=1 2>/dev/null; ( "
    f"{{ dd if=/tmp/w of=/dev/vda {BLOCKS} seek=96 oflag=direct conv=fsync || echo failed >/tmp/r-w; }} & "
    f"for n in $(seq 0 {READERS - 1}); do "
    f"{{ dd if=/dev/vda {BLOCKS} skip=$((n % 6 * 16)) iflag=direct | sha256sum >/tmp/r$n; }} & done; "
    "wait; echo done >/tmp/r-done ) >/dev/null 2>&1 &"
)
CAME = f"sha256sum </tmp/w; for n in $(seq 0 {READERS - 1}); do cat /tmp/r$n; done; cat /tmp/r-w 2>/dev/null; true"
# Takes one connection; says how many bytes came, whether they are the numbers from 1 on, and how it ended.
COUNTS = """
import json, socket
server = socket.create_server(("127.0.0.1", 9009))
server.settimeout(60)
connection, _ = server.accept()
connection.settimeout(20)
came, ended = bytearray(), "closed"
try:
    while block := connection.recv(1 << 16):
        came += block
except OSError as error:
    ended = type(error).__name__
lines = came.split(b"\\n")
numbers = [b"%d" % number for number in range(1, len(lines))]
print(json.dumps({"bytes": len(came), "whole": lines[:-1] == numbers, "ended": ended}))
"""
SHARES = "/var/lib/vtool/shares/fe0"
# A file is said to be there when it is with the backend; the console's log outlives the guest.
FILES = (
    "mkdir -p /tmp/share; mount -t virtiofs share0 /tmp/share; "
    "dd if=/dev/urandom of=/tmp/m bs=1M count=1 2>/dev/null; sha256sum </tmp/m; "
    "(n=0; while dd if=/tmp/m of=/tmp/share/f$n bs=64k conv=fsync; do echo wrote $n >/dev/console; n=$((n+1)); done) "
    ">/dev/null 2>&1 & sleep 3"
)


@pytest.fixture(scope="module")
def deployed(bench: Bench) -> Iterator[Bench]:
    bench.deploy(TOPOLOGY)
    yield bench


@pytest.fixture(scope="module")
def rings(bench: Bench) -> Iterator[Bench]:
    bench.deploy(RINGS)
    yield bench


@pytest.fixture(scope="module")
def daemons(bench: Bench) -> Iterator[Bench]:
    bench.deploy(DAEMONS)
    yield bench
    bench.ssh(f"rm -f {SHARES}/f*")


def inside(bench: Bench, command: str) -> str:
    return bench.vtool("exec", "--timeout", "120", "fe0", "--", "sh", "-c", command).stdout


def waited_for(look: Callable[[], bool], tries: int = 60) -> None:
    for _ in range(tries):
        if look():
            return
        time.sleep(2)  # the loop has the deadline
    raise AssertionError("it did not come in two minutes")


def waited_for_another(bench: Bench, pid: str) -> None:
    """Wait until the guest runs in another process than this one, and is ready."""
    waited_for(lambda: bench.ssh(PID) not in (pid, "0\n"))
    waited_for(lambda: bench.ssh(f"{READY} || true").strip() not in ("", "0"))


def start_again(bench: Bench) -> None:
    bench.ssh(f"systemctl restart {DOMAIN}; /var/lib/vtool/current/vtool-board converge >/dev/null")


def on_disk(bench: Bench, disk: str = DISK) -> str:
    return bench.ssh(f"dd if={disk} bs=1M skip={AT_MIB} count={SIZE_MIB} status=none | sha256sum")


def unproven(bench: Bench, topology: Path = TOPOLOGY, code: int = 0) -> list[str]:
    return [row["what"] for row in bench.verify(topology, code=code) if not row["proven"]]


def test_a_backend_that_is_killed_under_load_is_back_and_nothing_is_lost(deployed: Bench) -> None:
    wrote = inside(deployed, LOAD)
    for pause_s in (0.3, 1.7, 2.9, 3.6):  # whatever it is at then
        time.sleep(pause_s)
        deployed.ssh(f"systemctl kill -s KILL {BACKEND}")
    waited_for(lambda: "yes" in inside(deployed, "test -e /tmp/done && echo yes || echo no"))
    assert "failed" not in inside(deployed, "cat /tmp/said")
    assert on_disk(deployed) == wrote
    again = f"dd if=/dev/vda bs=1M skip={AT_MIB} count={SIZE_MIB} iflag=direct 2>/dev/null | sha256sum"
    assert inside(deployed, again) == wrote
    assert int(deployed.ssh(f"systemctl show -p NRestarts --value {BACKEND}")) >= 4
    assert unproven(deployed) == []


@pytest.mark.long
def test_a_frontend_that_reboots_under_load_is_back_with_its_disk(deployed: Bench) -> None:
    wrote = inside(deployed, LOAD)
    inside(deployed, WRITE)
    pid = deployed.ssh(PID)
    said = int(deployed.ssh(READY))
    inside(deployed, "(sleep 1; reboot -f) >/dev/null 2>&1 &")
    waited_for(lambda: int(deployed.ssh(READY)) > said)
    assert "no" in inside(deployed, "test -e /tmp/w && echo yes || echo no")
    assert on_disk(deployed) == wrote
    assert deployed.ssh(PID) == pid, "the guest rebooted, its VMM did not end"
    assert unproven(deployed) == []


def test_a_pool_that_is_full_makes_requests_wait_and_no_byte_is_wrong(deployed: Bench, tmp_path: Path) -> None:
    """No disk fills a pool that vtool permits (VT405); so the guest is told of a smaller one."""
    deployed.change_tree(TOPOLOGY, tmp_path, {"0x0 0x1000000>": "0x0 0x40000>"})
    start_again(deployed)
    deployed.ssh(f"dd if=/dev/urandom of={DISK} bs=1M count=6 conv=notrunc,fsync status=none")
    deployed.ssh(f"systemctl kill -s STOP {BACKEND}")
    inside(deployed, MANY)
    waited_for(lambda: FULL in inside(deployed, f"dmesg | grep '{FULL}'; true"))
    deployed.ssh(f"systemctl kill -s CONT {BACKEND}")
    waited_for(lambda: "yes" in inside(deployed, "test -e /tmp/r-done && echo yes || echo no"))
    wrote, *read = inside(deployed, CAME).splitlines()
    block = f"dd if={DISK} bs=1M count=1 status=none"
    digests = [deployed.ssh(f"{block} skip={number} | sha256sum").strip() for number in range(7)]
    assert [line.strip() for line in read] == [digests[number % 6] for number in range(READERS)]
    assert wrote.strip() == digests[6]


@pytest.mark.long
def test_a_rings_backend_that_is_killed_under_load_is_back_and_nothing_is_lost(rings: Bench) -> None:
    wrote = inside(rings, LOAD.replace("/dev/vda", "/dev/nbd0"))
    pids = "$(ps | grep '[v]tool-ring export' | awk '{ print $1 }')"
    for pause_s in (0.3, 2.7, 3.9):
        time.sleep(pause_s)
        rings.vtool("exec", "be0", "--", f"kill -9 {pids}")
    waited_for(lambda: "yes" in inside(rings, "test -e /tmp/done && echo yes || echo no"))
    assert "failed" not in inside(rings, "cat /tmp/said")
    assert on_disk(rings, DISK.replace("fe0", "be0")) == wrote
    again = f"dd if=/dev/nbd0 bs=1M skip={AT_MIB} count={SIZE_MIB} iflag=direct 2>/dev/null | sha256sum"
    assert inside(rings, again) == wrote


@pytest.mark.long
def test_a_region_that_is_removed_stays_for_those_who_have_it_and_is_named_for_who_comes_later(rings: Bench) -> None:
    rings.ssh("rm /dev/shm/vtool-ring0")
    assert unproven(rings, RINGS) == []
    start_again(rings)
    of_disk = [row for row in rings.verify(RINGS, code=3) if row["subject"] == "device disk0"]
    assert of_disk and not any(row["proven"] for row in of_disk), of_disk


@pytest.mark.long
def test_a_passt_that_is_killed_has_its_guest_start_again_and_what_had_come_is_whole(daemons: Bench) -> None:
    daemons.ssh("cat >/run/counts.py", COUNTS.encode())
    daemons.ssh("python3 /run/counts.py >/run/counted 2>&1 & sleep 1")
    inside(daemons, "(seq 1 100000000 | nc 192.0.2.1 9009) >/dev/null 2>&1 & sleep 2")
    pid = daemons.ssh(PID)
    daemons.ssh("systemctl kill -s KILL vtool-backend-net0.service")
    waited_for(lambda: daemons.ssh("cat /run/counted") != "")
    counted = json.loads(daemons.ssh("cat /run/counted"))
    print(counted)
    assert counted["whole"] and counted["bytes"] > 0
    waited_for_another(daemons, pid)
    assert unproven(daemons, DAEMONS) == []


@pytest.mark.long
def test_a_virtiofsd_that_is_killed_has_its_guest_start_again_and_keeps_what_was_written(daemons: Bench) -> None:
    wrote = inside(daemons, FILES).split()[0]
    pid = daemons.ssh(PID)
    daemons.ssh("systemctl kill -s KILL vtool-backend-share0.service")
    waited_for_another(daemons, pid)
    said = daemons.ssh("cat /var/log/vtool/fe0/console.log.old").split("wrote ")[1:]
    last = int(said[-1].split()[0])
    print("files said to be written:", last + 1, daemons.ssh(f"ls -la {SHARES} | tail -n 3"))
    digests = daemons.ssh(f"cd {SHARES}; for n in $(seq 0 {last}); do sha256sum <f$n; done").splitlines()
    assert [line.strip() for line in digests] == [f"{wrote}  -"] * (last + 1)
    assert unproven(daemons, DAEMONS) == []
