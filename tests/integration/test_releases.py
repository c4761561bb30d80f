"""The paths on newer releases: Linux 7.3 on the board and in its guests, QEMU 11.1, virtiofsd 1.14.

`make test` shows them on Debian 13's own: Linux 6.12, QEMU 10.0, virtiofsd 1.13.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths.__main__ import newer as newer_releases

from .conftest import EXAMPLES, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
DAEMONS = EXAMPLES / "kvm-pool-daemons.yaml"
UNIT, FOLDER = "vtool-domain-fe0.service", "/run/vtool/domain-fe0"
PID = f"systemctl show -p MainPID --value {UNIT}"
CHANGED = f"/run/systemd/system/{UNIT}.d/changed.conf"


@pytest.fixture(scope="module")
def newer(bench: Bench) -> Iterator[Bench]:
    """A board of the newer Debian; the other one is off meanwhile."""
    subprocess.run(bench.command("board", "power", "off"), env=bench.environment, capture_output=True)
    newer = Bench(Path(tempfile.mkdtemp(prefix="vt-")))
    try:
        yield newer
    finally:
        subprocess.run(newer.command("board", "power", "off"), env=newer.environment, capture_output=True)
        shutil.rmtree(newer.folder)


def told(rows: list[dict[str, Any]], what: str) -> set[str]:
    """Return the releases that rows tell, without their last number."""
    return {".".join(row["seen"].split(".")[:2]) for row in rows if row["what"] == what}


@pytest.mark.parametrize(
    "example", ["kvm-pool-daemons", "kvm-pool-in-ram", "kvm-viommu", "kvm-ring", "xen-pv", "xen-grant"]
)
def test_a_path_is_proven_on_newer_releases(newer: Bench, example: str) -> None:
    path = EXAMPLES / f"{example}.yaml"
    rows = newer.deploy(path, *newer_releases(path))["rows"]
    assert [row for row in rows if not row["proven"]] == []
    assert told(rows, "its kernel") == {"7.3"}
    # QEMU for Xen is built of Debian 13's own source.
    assert told(rows, "release of its QEMU") == {"xen-pv": set(), "xen-grant": {"10.0"}}.get(example, {"11.1"})


@pytest.mark.parametrize(("board", "guests"), [(True, False), (False, True)])
def test_a_kernel_goes_with_the_other_release_beside_it(newer: Bench, board: bool, guests: bool) -> None:
    rows = newer.deploy(DAEMONS, *newer_releases(DAEMONS, board=board, guests=guests))["rows"]
    assert [row for row in rows if not row["proven"]] == []
    assert told(rows, "its kernel") == {"6.12", "7.3"}
    assert newer.ssh("/usr/libexec/virtiofsd --version").split()[1].startswith("1.14.")


@pytest.fixture
def deployed(newer: Bench) -> Iterator[Bench]:
    newer.deploy(DAEMONS, *newer_releases(DAEMONS))
    yield newer
    newer.ssh(f"rm -f {CHANGED}; systemctl daemon-reload; systemctl stop {UNIT}")


def verify(bench: Bench, code: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    words = ("verify", DAEMONS, *newer_releases(DAEMONS), "--format", "json")
    (report,) = json.loads(bench.vtool(*words, code=code).stdout)
    return {(row["subject"], row["what"]): row for row in report["rows"]}


def tell(bench: Bench, command: str) -> None:
    """Run a QMP command on the guest's QEMU."""
    said = "".join(json.dumps({"execute": word}) for word in ("qmp_capabilities", command))
    bench.ssh(f"echo '{said}' | timeout 5 socat -t 2 - UNIX-CONNECT:{FOLDER}/qmp.sock")


def test_a_guest_that_hangs_is_told_as_one_and_goes_on_after_a_look(deployed: Bench) -> None:
    pid = deployed.ssh(PID)
    tell(deployed, "stop")
    row = verify(deployed, code=3)["device disk0", "features the driver accepted (of bits 32 and 33)"]
    assert row["seen"] == "not known: of what QEMU offers, VIRTIO_F_VERSION_1, VIRTIO_F_IOMMU_PLATFORM"
    tell(deployed, "cont")
    assert all(row["proven"] for row in verify(deployed).values())
    assert deployed.ssh(PID) == pid, "neither look ended it"


def test_a_kernel_that_does_not_count_says_so(deployed: Bench) -> None:
    unit = deployed.ssh(f"cat $(systemctl show -p FragmentPath --value {UNIT})")
    found = re.search(r"^ExecStart=(?:.*\\\n)*.*\n", unit, re.MULTILINE)
    assert found is not None and found[0].count(" swiotlb=track_hiwater") == 1
    command = found[0].replace(" swiotlb=track_hiwater", "")
    deployed.ssh(f"mkdir -p $(dirname {CHANGED}); cat > {CHANGED}", f"[Service]\nExecStart=\n{command}".encode())
    deployed.ssh(f"systemctl daemon-reload; systemctl restart {UNIT}; /var/lib/vtool/current/vtool-board converge")
    failed = {what: row["seen"] for (_, what), row in verify(deployed, code=3).items() if not row["proven"]}
    assert list(failed) == ["slots of 'pool0' used by that I/O (high-water mark)"], failed
    assert next(iter(failed.values())).startswith("0; its command line lacks swiotlb=track_hiwater")


def test_a_guests_tree_has_no_cache_that_is_nowhere(deployed: Bench) -> None:
    machine = "-nodefaults -display none -accel kvm -cpu host -smp 1 -machine virt,gic-version=3,acpi=off,dumpdtb"
    deployed.ssh(f"qemu-system-aarch64 {machine}=/tmp/raw.dtb")
    caches = "fdtget -d none {} /cpus/cpu@0 next-level-cache"
    assert deployed.ssh(caches.format("/tmp/raw.dtb")).strip() == "0", "as QEMU writes it"
    assert deployed.ssh(caches.format(f"{FOLDER}/fe0.dtb")).strip() == "none"
