"""`vtool deploy` beside the same playbook run by hand, on three sshds: boards without guests, whose systemctl obeys us.

``/run/broken`` on a board lets starting its units fail, ``/run/slow`` lets it take as long as that file is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.fleet import Fleet, Source, own_folders

from .conftest import takes_ctrl_c
from .machine import sshd_folder, why_not

ROOT = Path(__file__).resolve().parents[2]
OUR_ROOMS = [ROOT / name for name in ("vtool", "inventory", "playbooks")]
BOARDS = ("b0", "b1", "b2")
SYSTEMCTL = """#!/bin/sh
case "$1" in
is-active) if test -e /run/broken || test -e /run/slow; then echo inactive; else echo active; fi ;;
start) touch /run/starting; while test -e /run/slow; do sleep 0.05; done; test ! -e /run/broken ;;
esac
"""
WAYS = pytest.mark.parametrize("way", ["vtool deploy", "by hand"])
FAILED = {"vtool deploy": 3, "by hand": 2}


class NoGuests(Source):
    """Boards that are KVM hosts and nothing else."""

    def config(self, board: str) -> str:
        return "generation/manifest.json"

    def _topology(self) -> str:
        lines = ["version: 1", "name: fleet", "boards:"]
        lines += [f"  {board}: {{facts: ./facts.yaml, hypervisor: {{kind: kvm}}}}" for board in self.names]
        lines += ["domains:"]
        lines += [f"  {board}-host: {{board: {board}, role: control, kernel: ./kernel}}" for board in self.names]
        return "\n".join(lines) + "\n"


class Lab:
    """The boards, and the two ways to deploy to them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.folder = fleet, fleet.source.folder
        self.environment = {**os.environ, **own_folders(self.folder), "NO_COLOR": "1"}
        self.environment |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "inventory"), "COLUMNS": "500"}
        (self.folder / "lab.vtool.yaml").write_text(
            "plugin: vtool.vtool.topology\ntopology: topology.yaml\ninventory: vtool.yaml\n"
        )
        for board in BOARDS:
            (fleet.machines[board].folder / "sbin" / "systemctl").write_text(SYSTEMCTL)

    def command(self, way: str, *words: str) -> list[str]:
        if way == "by hand":
            playbook = [
                str(Path(sys.executable).with_name("ansible-playbook")),
                "-i",
                str(self.folder / "lab.vtool.yaml"),
            ]
            return [*playbook, "vtool.vtool.deploy", *words]
        verb = ["deploy"] if way == "vtool deploy" else way.split()[1:]
        files = [str(self.folder / "topology.yaml"), "--inventory", str(self.folder / "vtool.yaml")]
        return [sys.executable, "-m", "vtool.cli.main", *verb, *files, *words]

    def run(self, way: str, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command(way, *words), env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def flag(self, board: str, name: str) -> Path:
        return self.fleet.machines[board].folder / "run" / name

    def spoil(self) -> None:
        """Change a file of what each board runs, which the next deploy has to put right."""
        for board in BOARDS:
            self._file(board).write_text("by hand")

    def whole(self) -> list[str]:
        """Return the boards on which that file is as it was deployed."""
        return [board for board in BOARDS if self._file(board).read_text() != "by hand"]

    def _file(self, board: str) -> Path:
        return self.fleet.arrived(board, "vtool") / "sysusers.conf"

    def confirmed(self) -> list[str]:
        """Return the boards that boot what they run."""
        told, _ = json.JSONDecoder().raw_decode(self.run("vtool generations", "--format", "json"))  # then warnings
        good = {board: [one["roles"] for one in said["generations"] if one["running"]] for board, said in told.items()}
        return [board for board, roles in good.items() if roles == [["good"]]]


@pytest.fixture(scope="module")
def boards() -> Iterator[Lab]:
    if reason := why_not():
        pytest.skip(reason)
    with sshd_folder() as (folder, stack):
        source = NoGuests(folder, len(BOARDS))
        source.write()
        yield Lab(Fleet(folder, source, stack))


@pytest.fixture
def lab(boards: Lab) -> Lab:
    """Every board runs what is asked for, and nothing is in its way."""
    for board in BOARDS:
        for name in ("broken", "slow", "starting"):
            boards.flag(board, name).unlink(missing_ok=True)
    boards.run("vtool deploy")
    for board in BOARDS:
        boards.flag(board, "starting").unlink(missing_ok=True)
    return boards


@pytest.fixture
def bare(boards: Lab) -> Lab:
    """No board has anything of vtool's."""
    for board in BOARDS:
        boards.fleet.clear(board, "vtool")
        (boards.fleet.machines[board].folder / "sbin" / "systemctl").write_text(SYSTEMCTL)
    return boards


def test_check_mode_is_plan_against_board_and_changes_nothing(bare: Lab) -> None:
    shown = bare.run("vtool plan --against-board", code=2)
    said = bare.run("by hand", "--check", "--diff")
    lines = [line.strip() for line in shown.splitlines() if line.startswith("  ") and "generation/" in line]
    assert len(lines) >= 3 * len(BOARDS)
    assert [line for line in lines if line not in said] == []
    assert len(re.findall(r"changed=1 .* failed=0", said)) == len(BOARDS)
    assert not any((bare.fleet.machines[board].folder / "lib" / "vtool").exists() for board in BOARDS)


@WAYS
def test_both_ways_deploy_the_same_and_then_nothing(bare: Lab, way: str) -> None:
    (other,) = {"vtool deploy", "by hand"} - {way}
    bare.run(way)
    assert bare.confirmed() == list(BOARDS)
    for again in (way, other):
        said = bare.run(again)
        nothing = "unchanged: " if again == "vtool deploy" else "changed=0 "
        assert said.count(nothing) == len(BOARDS), said
    assert len(re.findall("changed=0 .* failed=0", bare.run("by hand", "--check", "--diff"))) == len(BOARDS)


@WAYS
def test_a_board_that_fails_in_the_middle_holds_up_no_other(lab: Lab, way: str) -> None:
    lab.spoil()
    lab.flag("b1", "broken").touch()
    said = lab.run(way, code=FAILED[way])
    assert "unit vtool.target did not start" in said and "VT704" in said
    assert lab.whole() == list(BOARDS), "it failed when all of it was there"
    assert lab.confirmed() == list(BOARDS), "what it went back to is what it ran before"
    if way == "by hand":
        assert [re.search(rf"^{board} .*failed=(\d)", said, re.MULTILINE)[1] for board in BOARDS] == ["0", "1", "0"]  # type: ignore[index]
    else:
        outcome = [re.search(rf"^{board} +(\w+)", said, re.MULTILINE)[1] for board in BOARDS]  # type: ignore[index]
        assert outcome == ["proven", "failed", "proven"]


@WAYS
def test_rolling_stops_at_the_first_failure(lab: Lab, way: str) -> None:
    rolling = ["--rolling", "1"] if way == "vtool deploy" else ["-e", "vtool_rolling=1"]
    lab.spoil()
    lab.flag("b1", "broken").touch()
    said = lab.run(way, *rolling, code=FAILED[way])
    assert lab.whole() == ["b0", "b1"], said


@WAYS
def test_a_limit_leaves_the_others_alone(lab: Lab, way: str) -> None:
    lab.spoil()
    lab.run(way, "--limit", "b1")
    assert lab.whole() == ["b1"]


def test_a_bundle_sets_up_the_same_lab_from_elsewhere(bare: Lab, tmp_path: Path) -> None:
    """Made here, and deployed from another folder, with nothing but the bundle, an inventory and an empty state."""
    bundle, inventory = tmp_path / "fleet.vtool", tmp_path / "home.yaml"
    bare.run("vtool bundle", "-o", str(bundle), "--with-images")
    shutil.copy(bare.folder / "vtool.yaml", inventory)
    away = {**bare.environment, **own_folders(tmp_path)}

    def vtool(verb: str, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "vtool.cli.main", verb, "fleet.vtool", "--inventory", "home.yaml", *words]
        done = subprocess.run(command, env=away, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == code and "Traceback" not in done.stderr, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    text = inventory.read_text()
    tree = str(shutil.copy(bare.folder / "base.dtb", tmp_path / "other.dtb"))
    subprocess.run(["fdtput", "-t", "s", tree, "/", "model", "another board"], check=True)
    inventory.write_text(text.replace(str(bare.folder / "base.dtb"), tree))
    refused = vtool("deploy", code=3)
    assert "error[VT966]" in refused and refused.count("hands over another device tree") == len(BOARDS)
    assert "boot/board.dtb is another file" in refused
    assert not any((bare.fleet.machines[board].folder / "lib" / "vtool").exists() for board in BOARDS)

    inventory.write_text(text)
    vtool("deploy")
    assert bare.confirmed() == list(BOARDS)
    assert bare.run("vtool deploy").count("unchanged: ") == len(BOARDS), "the topology's own deploy makes the same"
    assert vtool("deploy").count("unchanged: ") == len(BOARDS)
    assert not [path.name for path in Path(tempfile.gettempdir()).glob("vtool-bundle-*")]

    inventory.write_text(text.replace(str(bare.folder / "base.dtb"), tree))
    assert "warning[VT966]" in vtool("deploy", "--accept-differences", "--dry-run")


def test_ctrl_c_while_a_bundle_is_deployed_leaves_nothing_here(lab: Lab, tmp_path: Path) -> None:
    bundle = tmp_path / "fleet.vtool"
    lab.run("vtool bundle", "-o", str(bundle), "--with-images")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    lab.spoil()
    lab.flag("b1", "slow").touch()
    command = [sys.executable, "-m", "vtool.cli.main", "deploy", str(bundle)]
    with subprocess.Popen(
        [*command, "--inventory", str(lab.folder / "vtool.yaml")],
        env={**lab.environment, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=takes_ctrl_c,  # noqa: PLW1509 - no threads
    ) as running:
        until(lab.flag("b1", "starting").exists)
        assert list(temporary.glob("vtool-bundle-*"))
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(30) == 130
    assert not list(temporary.glob("vtool-bundle-*"))


def until(what: Callable[[], object], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@contextlib.contextmanager
def in_the_middle(lab: Lab, way: str) -> Iterator[subprocess.Popen[str]]:
    """Deploy until b1 is starting its units, which it goes on with."""
    lab.spoil()
    lab.flag("b1", "slow").touch()
    with subprocess.Popen(
        lab.command(way),
        env=lab.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=takes_ctrl_c,  # noqa: PLW1509 - no threads
    ) as running:
        until(lab.flag("b1", "starting").exists)
        yield running


def descendants(pid: int) -> list[int]:
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*found, *(below for child in found for below in descendants(child))]


def holders(lab: Lab) -> list[int]:
    """Return the processes that hold boards for a play of these boards."""
    own = str(lab.folder).encode()
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"vtool.cli.holder\0" in (words := _read(path)) and own in words
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


@WAYS
def test_ctrl_c_ends_it_at_once_and_lets_go(lab: Lab, way: str) -> None:
    with in_the_middle(lab, way) as running:
        # Ansible loses one that comes while it forks; a person presses again, as here.
        for _ in range(3 if way == "by hand" else 1):
            os.killpg(running.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(10)
                break
        assert running.poll() is not None, "it goes on"
        assert running.stdout is not None
        said = running.stdout.read()
    # By hand it is Ansible's own handler that may fail: ansible-core 2.19.14 asks each worker whether it lives, and
    # between closing one that is done and forking its next (executor/task_queue_manager.py) there is one it cannot ask.
    traced = [Path(name) for name in re.findall(r'File "([^"]+)", line', said)]
    assert not [name for name in traced if any(name.is_relative_to(room) for room in OUR_ROOMS)], said
    assert way == "by hand" or "Traceback" not in said
    assert running.returncode == 130 if way == "vtool deploy" else running.returncode not in (0, 2), said
    until(lambda: not holders(lab))
    lab.flag("b1", "slow").unlink()
    lab.run(way)
    assert lab.whole() == lab.confirmed() == list(BOARDS)


def test_a_deploy_that_is_killed_leaves_no_ansible_behind(lab: Lab) -> None:
    with in_the_middle(lab, "vtool deploy") as running:
        below = descendants(running.pid)
        running.kill()
    until(lambda: not [pid for pid in below if b"ansible" in _read(Path(f"/proc/{pid}/cmdline"))])
    lab.flag("b1", "slow").unlink()
    lab.run("vtool deploy")
    assert lab.whole() == lab.confirmed() == list(BOARDS)


def test_a_play_that_is_killed_lets_go(lab: Lab) -> None:
    with in_the_middle(lab, "by hand") as running:
        assert len(holders(lab)) == 1
        running.kill()
    until(lambda: not holders(lab))
    lab.flag("b1", "slow").unlink()
    lab.run("by hand")
    assert lab.whole() == lab.confirmed() == list(BOARDS)


def test_a_deploy_whose_ansible_is_killed_says_so_and_settles_the_boards(lab: Lab) -> None:
    with in_the_middle(lab, "vtool deploy") as running:
        (play,) = [
            pid for pid in descendants(running.pid) if b"vtool.vtool.deploy" in _read(Path(f"/proc/{pid}/cmdline"))
        ][:1]
        os.kill(play, signal.SIGKILL)
        lab.flag("b1", "slow").unlink()
        assert running.stdout is not None
        said = running.stdout.read()
    assert running.returncode == 3 and "VT712" in said and "ended with status -9" in said, said
    lab.run("vtool deploy")
    assert lab.whole() == lab.confirmed() == list(BOARDS)
