"""A system that nobody made for vtool: Debian with its own kernel, without Python, root's login and Debian's Xen units.

vtool takes it over and gives it back byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vtool.base.progress import Silent
from vtool.images.build import ensure
from vtool.images.foreign import recipes as images_of

from .debian_guest import debian_guest
from .foreign import BOARD, PASSWORD, QEMUS_UART, XENS_UART, ForeignBench, bare_guest

pytestmark = [pytest.mark.board, pytest.mark.long]

ABOUT_OWN = ("the kernel that runs is the one deployed", "it was started with the ramdisk deployed")
# QEMU's user network has its gateway there, and the MAC address that its libslirp gives it (slirp.c).
BEYOND = (
    "perl -e 'use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); "
    'send(S, "x", 0, sockaddr_in(9, inet_aton("10.0.2.2")))\'; sleep 2; ip neigh show 10.0.2.2'
)
HUNG_UP = (
    "ls -d /var/lib/vtool /usr/local/sbin/vtool-board /etc/systemd/system-generators/vtool-generator 2>/dev/null; true"
)


@contextlib.contextmanager
def up(inventory: Path = BOARD / "inventory.yaml") -> Iterator[ForeignBench]:
    folder = Path(tempfile.mkdtemp(prefix="vt-"))
    bench = ForeignBench(folder, inventory)
    try:
        bench.vtool("board", "up", bench.board)
        yield bench
    finally:
        subprocess.run(bench.command("board", "destroy", bench.board), env=bench.environment, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def foreign() -> Iterator[ForeignBench]:
    with up() as bench:
        yield bench


@pytest.fixture(scope="module")
def before(foreign: ForeignBench) -> dict[str, str]:
    return foreign.files(foreign.folder / "before")


@pytest.fixture
def as_it_came(foreign: ForeignBench, before: dict[str, str]) -> Iterator[str]:
    """Give the kernel that it runs, and look whether all is as it was once the test is over and has said `down`."""
    own = foreign.ssh("cat /proc/version")
    yield own
    assert foreign.ssh(HUNG_UP) == ""
    after = foreign.files(foreign.folder / "after")
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert not changed, sorted(changed)
    assert foreign.ssh("cat /proc/version") == own and "vtool" not in foreign.ssh("cat /proc/cmdline")


def deployed(bench: ForeignBench, topology: Path) -> dict[str, dict[str, Any]]:
    """Deploy; return the rows that are proven or noted, by what they are about and what they show."""
    report = bench.deploy(topology)
    for row in report["rows"]:
        print("proven" if row["proven"] else "noted", row["subject"], "|", row["what"], "|", row["seen"])
    assert report["failure"] == [] and report["confirmed"]
    assert all(row["proven"] or row["noted"] for row in report["rows"])
    return {f"{row['subject']}: {row['what']}": row for row in report["rows"]}


def test_it_is_taken_over_as_it_is_and_given_back(foreign: ForeignBench, as_it_came: str) -> None:
    assert foreign.ssh("command -v python3 || echo none") == "none\n"
    for topology in (BOARD / "kvm.yaml", BOARD / "xen.yaml"):
        assert {f"board foreign0: {what}" for what in ABOUT_OWN} <= set(deployed(foreign, topology))
        assert foreign.ssh("cat /proc/version") == as_it_came
        assert foreign.ssh("lsmod | wc -l") != "1\n", "its modules are those of its kernel"
        again = foreign.deploy(topology)
        assert (again["changed"], again["rebooted"]) == (False, False)
    assert foreign.ssh("xl list | awk '{ print $1 }'").split() == ["Name", "Domain-0", "fe0"]
    foreign.vtool("down", BOARD / "xen.yaml")


@pytest.mark.parametrize(("lab", "uart", "disk"), [("kvm", QEMUS_UART, "vda"), ("xen", XENS_UART, "xvda")])
def test_a_lab_of_guests_that_are_not_vtools(
    lab: str, uart: int, disk: str, foreign: ForeignBench, as_it_came: str, tmp_path: Path
) -> None:
    shutil.copytree(BOARD, tmp_path, dirs_exist_ok=True)
    bare_guest(tmp_path, uart)
    (tmp_path / "debian.ext4").symlink_to(debian_guest())
    (tmp_path / "pw.txt").write_text(f"{PASSWORD}\n")
    topology = tmp_path / f"{lab}-lab.yaml"

    rows = deployed(foreign, topology)
    # It is in the network that the board is in: its address comes from there, and the gateway answers.
    assert any("10.0.2." in row["seen"] for what, row in rows.items() if what.startswith("device lan"))
    told = foreign.vtool("exec", "--topology", topology, "debian", "--", BEYOND).stdout
    assert "52:55:0a:00:02:02" in told, told
    for device in ("root", "partition", *(["folder"] if lab == "kvm" else [])):
        shown = [row for what, row in rows.items() if what.startswith(f"device {device}:")]
        assert any(row["proven"] for row in shown), shown
    assert [row["proven"] for what, row in rows.items() if what == "domain rtos: its console said"] == [True]
    assert all(row["proven"] or row["noted"] for row in foreign.verify(topology))
    if lab == "xen":
        assert "512" in foreign.ssh("xl sched-credit2 -d debian").split()
    else:
        assert "-rtc base=localtime" in foreign.ssh("ps axww -o args")

    # What somebody does by hand is found, and put right.
    unit = "vtool-domain-rtos.service"
    foreign.ssh(f"systemctl stop {unit}; echo '# by hand' >> $(readlink -f /var/lib/vtool/current)/units/{unit}")
    assert not all(row["proven"] or row["noted"] for row in foreign.verify(topology, code=3))
    status = json.loads(foreign.vtool("status", topology, "--format", "json").stdout)["foreign0"]
    assert any(unit in name for name in status["damaged"])
    again = foreign.deploy(topology)
    assert again["proven"] and not again["rebooted"] and unit in again["restarted"]
    foreign.verify(topology)

    # A trial that fails leaves what ran before; one that does not can be gone back from.
    good = topology.read_text()
    topology.write_text(good.replace('ready: "bare: ready"', 'ready: "never said"\n    ready_timeout_s: 20'))
    failed = foreign.deploy(topology, code=3)
    assert not failed["confirmed"] and failed["went_back_to"] == again["generation"]
    topology.write_text(good.replace("memory: 32MiB", "memory: 40MiB"))
    other = foreign.deploy(topology)
    assert other["proven"] and other["generation"] != again["generation"]
    foreign.vtool("rollback", topology)
    topology.write_text(good)
    foreign.verify(topology)
    assert foreign.ssh("readlink /run/vtool-current").strip().endswith(again["generation"])
    foreign.vtool("down", topology)


@pytest.fixture
def debian_12(tmp_path: Path) -> Iterator[ForeignBench]:
    recipes = {recipe.name: recipe for recipe in images_of("bookworm")}
    disk = ensure(["foreign-bookworm-disk"], Silent(), recipes)["foreign-bookworm-disk"].path
    entry = {"driver": "emulated", "facts": str(BOARD / "facts.yaml"), "disk": str(disk), "user": "admin"}
    (tmp_path / "inventory.yaml").write_text(json.dumps({"version": 1, "boards": {"foreign0": entry}}))
    with up(tmp_path / "inventory.yaml") as bench:
        yield bench


def test_debian_12_is_taken_over_and_given_back(debian_12: ForeignBench, tmp_path: Path) -> None:
    before = debian_12.files(tmp_path / "before")
    own = debian_12.ssh("cat /proc/version")
    assert debian_12.ssh("cat /etc/debian_version").startswith("12.")
    shutil.copyfile(BOARD / "facts.yaml", tmp_path / "facts.yaml")
    topology = tmp_path / "kvm.yaml"
    topology.write_text((BOARD / "kvm.yaml").read_text().replace("kind: kvm", "kind: kvm\n      suite: bookworm"))
    deployed(debian_12, topology)
    assert debian_12.ssh("cat /proc/version") == own
    debian_12.vtool("down", topology)
    assert debian_12.ssh(HUNG_UP) == "" and debian_12.ssh("cat /proc/version") == own
    after = debian_12.files(tmp_path / "after")
    assert not [path for path in {*before, *after} if before.get(path) != after.get(path)]
