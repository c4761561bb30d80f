"""Boards as a field: what is sent to them, what their power is used for, and what their deploys come to."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vtool.bench import environment, field
from vtool.bench.field import Boards, BoardsBench
from vtool.bench.places import places_of
from vtool.bench.steps import BRING
from vtool.board.failures import NoAnswer
from vtool.board.protocols import BoardClock, SshTarget
from vtool.cli.common import prepare_to_deploy
from vtool.deploy.failures import SilentDomain
from vtool.deploy.job import Report
from vtool.deploy.proof.steps import Row
from vtool.diagnostics import VtoolError, board_failed
from vtool.results.records import Clock

EXAMPLE = Path(__file__).resolve().parents[2] / "topology" / "examples" / "kvm-shared-ram.yaml"
READY = prepare_to_deploy(EXAMPLE)
(PLAN,) = READY.plan.boards


class FakeHeld:
    def __init__(self, **said: Any) -> None:
        self.said, self.asked = said, list[tuple[str, Any]]()

    def run(self, verb: str, stdin: str = "", timeout_s: float = 0) -> Any:
        self.asked.append((verb, json.loads(stdin) if stdin else None))
        return self.said[verb]


def board(**changes: Any) -> Any:
    power = SimpleNamespace(can_switch=True, log=[])
    power.off, power.on = lambda: power.log.append("off"), lambda: power.log.append("on")
    target = SshTarget("127.0.0.1", 22, "root", None, Path("/k"))
    console = SimpleNamespace(can_join=False, tail=lambda _: ())
    common = {
        "console": console,
        "name": "rack1",
        "identity": "192.0.2.1:22",
        "hold": contextlib.nullcontext,
        "driver": "ssh",
        "clock": BoardClock.REAL,
        "power": power,
        "ssh": lambda: target,
    }
    return SimpleNamespace(**{**common, **changes})


def bench(held: FakeHeld, reached: Any = None) -> BoardsBench:
    return BoardsBench({"board0": (PLAN, reached or board())}, {"board0": held}, None, "0.1.0")  # type: ignore


SERVER = {"id": "server", "op": "run", "command": "serve", BRING: True}


def test_tools_are_sent_once_and_only_where_the_board_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[str]] = []
    image = tmp_path / "tools.tar.gz"
    image.write_bytes(b"x")
    monkeypatch.setattr(field, "ensure", lambda names, _: {names[0]: SimpleNamespace(path=image)})
    done = subprocess.CompletedProcess([], 0, b"", b"")
    monkeypatch.setattr(field.subprocess, "run", lambda command, **_: sent.append(command) or done)
    measured = bench(FakeHeld(observe={"results": {"client": {"output": "x"}}}))
    measured.observe("board0", [{"id": "client", "op": "domain"}])
    measured.observe("board0", [{"id": "server", "op": "domain"}])
    assert sent == [], "who serves is a guest"
    for _ in range(2):
        assert measured.observe("board0", [SERVER]) == {"client": {"output": "x"}}
    assert len(sent) == 1 and "tar -xz -C /run/vtool-bench" in sent[0][-1]


def test_tools_that_cannot_be_put_there_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_bytes(b"x")
    monkeypatch.setattr(field, "ensure", lambda names, _: {names[0]: SimpleNamespace(path=tmp_path / "t")})
    done = subprocess.CompletedProcess([], 2, b"", b"tar: no space\n")
    monkeypatch.setattr(field.subprocess, "run", lambda command, **_: done)
    with pytest.raises(VtoolError, match="VT704") as caught:
        bench(FakeHeld(observe={"results": {}})).observe("board0", [SERVER])
    assert caught.value.diagnostics[0].detail == ("tar: no space",)


@pytest.mark.parametrize("ends", ["closed", "slow"])
def test_a_board_that_is_lost_while_tools_are_sent_is_one(
    ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").write_bytes(b"x")
    monkeypatch.setattr(field, "ensure", lambda names, _: {names[0]: SimpleNamespace(path=tmp_path / "t")})

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        if ends == "slow":
            raise subprocess.TimeoutExpired(command, 120)
        return subprocess.CompletedProcess(command, 255, b"", b"Connection closed by 127.0.0.1 port 2222\n")

    monkeypatch.setattr(field.subprocess, "run", run)
    with pytest.raises(NoAnswer, match="the tools are not there yet" if ends == "slow" else "Connection closed by"):
        bench(FakeHeld(observe={"results": {}})).observe("board0", [SERVER])


def test_a_fingerprint_is_asked_for_once_for_what_serves_a_guest() -> None:
    spots = {spot.place.device: spot for spot in places_of(READY.topology, PLAN)}
    said = {"kernel.release": {"output": "6.12.1\n"}, "guest": {"output": "@@ guest.kernel\n6.12.2\n@@ tool.fio\n"}}
    held = FakeHeld(observe={"results": said})
    measured = bench(held)
    first = measured.environment(spots["disk0"])
    assert measured.environment(spots["disk0"]) is first and len(held.asked) == 1
    assert first.facts["kernel.release"] == "6.12.1" and first.facts["guest.kernel"] == "6.12.2"
    assert first.facts["tool.fio"] is None and first.facts["board.facts"] == "qemu-virt"
    assert measured.environment(spots["net0"]).id == first.id, "the digest is of what was told"
    assert {step["id"] for step in held.asked[0][1]["steps"]} >= {"cpu.features", "vmm.arguments", "guest"}


SILENT = {"error": {"code": "VT710", "message": "domain 'fe0' did not answer", "detail": ["# "]}, "silent": True}


def test_a_guest_that_does_not_answer_is_no_result() -> None:
    measured = bench(FakeHeld(observe={"results": {"client": SILENT}}))
    with pytest.raises(SilentDomain, match="'fe0' did not answer") as caught:
        measured.observe("board0", [{"id": "client", "op": "domain"}])
    assert caught.value.diagnostics[0].detail == ("# ",)
    with pytest.raises(SilentDomain):
        measured.environment(places_of(READY.topology, PLAN)[0])


def test_a_proof_that_fails_by_a_silent_guest_says_so_and_one_that_only_notes_it_does_not() -> None:
    def proof(*, noted: bool) -> Any:
        row = Row("domain fe0", "its shell answers", "alive", "nothing", proven=False, noted=noted)
        return SimpleNamespace(steps=[{"id": "alive", "op": "domain"}], read=lambda _: row)

    measured = bench(FakeHeld(observe={"results": {"alive": SILENT}}))
    measured._proofs["board0"] = [proof(noted=True)]
    assert [row.noted for row in measured.proven("board0")] == [True]
    measured._proofs["board0"] = [proof(noted=False)]
    with pytest.raises(SilentDomain):
        measured.proven("board0")


@pytest.mark.parametrize(("said", "stopped"), [({"code": 0}, True), ({"error": {"message": "not in time"}}, False)])
def test_guests_and_what_serves_them_are_stopped(said: dict[str, Any], stopped: bool) -> None:
    held = FakeHeld(observe={"results": {"stop": said}})
    assert bench(held).stop("board0") is stopped
    ((_, asked),) = held.asked
    (step,) = asked["steps"]
    assert step["command"].startswith("systemctl stop vtool-domain-fe0.service ")
    assert "vtool-backend-disk0.service" in step["command"] and step["timeout_s"] <= 100


@pytest.mark.parametrize("ends", [True, False])
def test_what_xen_built_at_boot_ends_with_the_board(monkeypatch: pytest.MonkeyPatch, *, ends: bool) -> None:
    (plan,) = prepare_to_deploy(EXAMPLE.with_name("xen-ring.yaml")).plan.boards
    held = FakeHeld(reboot={})
    there = BoardsBench({"board0": (plan, board())}, {"board0": held}, None, "0.1.0")  # type: ignore
    assert there.stop("board0") is False and not held.asked, "its power is cut"
    monkeypatch.setattr(field, "wait_for_end", lambda *_: ends)
    unswitched = board(power=SimpleNamespace(can_switch=False))
    there = BoardsBench({"board0": (plan, unswitched)}, {"board0": held}, None, "0.1.0")  # type: ignore
    assert there.stop("board0") is ends and [verb for verb, _ in held.asked] == ["reboot"]


def test_a_generation_without_a_proof_shows_nothing() -> None:
    assert bench(FakeHeld(proof={"proof": None}, observe={"results": {}})).proven("board0") == []


@pytest.mark.parametrize("clock", [*BoardClock])
def test_what_a_boards_seconds_are(clock: BoardClock) -> None:
    assert environment.clock_of(board(clock=clock)) is Clock(clock.value)


def test_a_lost_board_is_switched_off_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = board()
    monkeypatch.setattr(field, "_OFF_S", 0.0)
    monkeypatch.setattr(field, "bring_up", lambda board, *_: board.power.on())
    Boards(lambda _: reached, None, None, "0.1.0").revive(READY, wait=True)  # type: ignore[arg-type]
    assert reached.power.log == ["off", "on"]


def test_the_power_of_a_labs_board_is_known_while_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = board()
    known, reached.power = reached.power, SimpleNamespace(can_switch=False)

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        reached.power = known
        yield

    reached.hold = held
    monkeypatch.setattr(field, "_OFF_S", 0.0)
    monkeypatch.setattr(field, "bring_up", lambda board, *_: board.power.on())
    Boards(lambda _: reached, None, None, "0.1.0").revive(READY, wait=True)  # type: ignore[arg-type]
    assert known.log == ["off", "on"]


def test_a_lost_board_that_nobody_can_switch_is_waited_for_and_then_said(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = board(power=SimpleNamespace(can_switch=False), facts=SimpleNamespace(boot_timeout_s=100))
    waited: list[float] = []

    def answers(_board: Any, _target: Any, deadline_s: float, _progress: Any) -> None:
        waited.append(deadline_s)
        if len(waited) > 1:
            raise board_failed("VT603", "nothing listens")

    monkeypatch.setattr(field, "wait_for_sshd", answers)
    Boards(lambda _: reached, None, None, "0.1.0").revive(READY, wait=True)  # type: ignore[arg-type]
    watchdog_s = PLAN.watchdog.timeout_s if PLAN.watchdog else 0
    assert waited == [100 + watchdog_s], "its watchdog may start it again"
    for wait in (True, False):
        with pytest.raises(VtoolError, match="nothing can switch it"):
            Boards(lambda _: reached, None, None, "0.1.0").revive(READY, wait=wait)  # type: ignore[arg-type]
    assert len(waited) == 2, "where other boards go on, nobody waits"


def test_a_deploy_that_is_not_proven_is_a_failure() -> None:
    report = Report(PLAN, generation="g", rows=[Row("device net0", "is there", "yes", "no", False)])
    done = field._deployed(report)
    assert done.failure is not None and "device net0, is there: no" in str(done.failure)
    report.rows = [Row("device net0", "is there", "yes", "yes", True)]
    assert field._deployed(report).failure is None


def test_a_board_that_somebody_has_taken_meanwhile_is_not_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def taken() -> Iterator[None]:
        raise board_failed("VT605", "it is carol's")
        yield

    reached = board(hold=taken)
    with pytest.raises(VtoolError, match="carol"):
        Boards(lambda _: reached, None, None, "0.1.0").revive(READY, wait=True)  # type: ignore[arg-type]
    assert reached.power.log == []
