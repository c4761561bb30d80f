"""What happens on a path when a backend or a guest goes away under load: no byte is lost or changed.

One write load for a disk: 4 MiB of random bytes, again and again to the same place, each write waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = pytest.mark.board
TOPOLOGY, DAEMONS = EXAMPLES / "kvm-pool.yaml", EXAMPLES / "kvm-pool-daemons.yaml"
BACKEND, DOMAIN = "vtool-backend-disk0.service", "vtool-domain-fe0.service"
DISK = "/var/lib/vtool/disks/fe0-disk0.img"
READY = "grep -c 'vtool: domain ready' /var/log/vtool/fe0/console.log"
SIZE_MIB, AT_MIB = 4, 8
WRITE = f"dd if=/tmp/w of=/dev/vda bs=64k seek={AT_MIB * 16} oflag=direct conv=fsync 2>>/tmp/said"
LOAD = (
    f"rm -f /tmp/done /tmp/said; dd if=/dev/urandom of=/tmp/w bs=1M count={SIZE_MIB} 2>/dev/null; "
    f"(for n in $(seq 40); do {WRITE} || echo failed >>/tmp/said; done; echo done >/tmp/done) >/dev/null 2>&1 & "
    "sha256sum </tmp/w"
)

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


def test_a_frontend_that_reboots_under_load_is_back_with_its_disk(deployed: Bench) -> None:
    wrote = inside(deployed, LOAD)
    inside(deployed, WRITE)
    pid = deployed.ssh(f"systemctl show -p MainPID --value {DOMAIN}")
    said = int(deployed.ssh(READY))
    inside(deployed, "(sleep 1; reboot -f) >/dev/null 2>&1 &")
    waited_for(lambda: int(deployed.ssh(READY)) > said)
    assert "no" in inside(deployed, "test -e /tmp/w && echo yes || echo no")
    assert on_disk(deployed) == wrote
    assert deployed.ssh(f"systemctl show -p MainPID --value {DOMAIN}") == pid, "the guest rebooted, its VMM did not end"
    assert unproven(deployed) == []


def test_a_virtiofsd_that_is_killed_has_its_guest_start_again_and_keeps_what_was_written(daemons: Bench) -> None:
    wrote = inside(daemons, FILES).split()[0]
    pid = daemons.ssh(f"systemctl show -p MainPID --value {DOMAIN}")
    daemons.ssh("systemctl kill -s KILL vtool-backend-share0.service")
    waited_for(lambda: daemons.ssh(f"systemctl show -p MainPID --value {DOMAIN}") not in (pid, "0\n"))
    waited_for(lambda: daemons.ssh(f"{READY} || true").strip() not in ("", "0"))
    said = daemons.ssh("cat /var/log/vtool/fe0/console.log.old").split("wrote ")[1:]
    last = int(said[-1].split()[0])
    print("files said to be written:", last + 1, daemons.ssh(f"ls -la {SHARES} | tail -n 3"))
    digests = daemons.ssh(f"cd {SHARES}; for n in $(seq 0 {last}); do sha256sum <f$n; done").splitlines()
    assert [line.strip() for line in digests] == [f"{wrote}  -"] * (last + 1)
    assert unproven(daemons, DAEMONS) == []


def test_a_region_that_is_removed_stays_for_those_who_have_it_and_is_named_for_who_comes_later(bench: Bench) -> None:
    topology = EXAMPLES / "kvm-bar.yaml"
    bench.deploy(topology)
    bench.ssh("rm /dev/shm/vtool-window0")
    assert unproven(bench, topology) == []
    bench.ssh(f"systemctl restart {DOMAIN}; /var/lib/vtool/current/vtool-board converge --deadline 120 >/dev/null")
    lost = unproven(bench, topology, code=3)
    assert [what for what in lost if what.endswith(("read by 'fe0'", "read by 'be0'"))] == lost != []
