"""One repetition: what is run for it, and what the results come to: numbers, costs, and why they do not count."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from vtool.base.units import MIB
from vtool.bench.places import Spot, places_of
from vtool.bench.repetition import cheap, proof_seen, read
from vtool.bench.steps import BRING, steps_of
from vtool.bench.workloads import Workload
from vtool.bench.workloads.base import Place, WorkloadBase
from vtool.cli.common import prepare_to_deploy
from vtool.deploy.proof import proofs
from vtool.deploy.proof.steps import Row
from vtool.results.records import Clock, Side, Void

RECORDED = Path(__file__).parent / "recorded"
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"
WORKLOAD: TypeAdapter[WorkloadBase] = TypeAdapter(Workload)
FIO = WORKLOAD.validate_python({"tool": "fio", "pattern": "randread", "warmup_s": 0})
POINT = next(FIO.points())
DISK = Place(
    frontend="fe0", cpus=1, memory_bytes=256 * MIB, has_shell=True, device="disk0", type="blk", block="/dev/vda",
    disk_bytes=64 * MIB,
)  # fmt: skip
UNITS = ((Side.BACKEND, "vtool-backend-disk0.service"), (Side.VMM, "vtool-domain-fe0.service"))
SPOT = Spot("board0", "kvm", DISK, units=UNITS, pool=True, control="host")


def counters(at: float, **changes: Any) -> dict[str, Any]:
    units = {
        "vtool-backend-disk0.service": {"usage_s": at / 10, "user_s": at / 30, "system_s": at / 15, "memory_bytes": 5},
        "vtool-domain-fe0.service": {"usage_s": at / 2, "guest_s": at / 4, "exits": at * 1000, "memory_bytes": 7},
    }
    common = {
        "real_s": 1e9 + at,
        "boot_s": at,
        "load": 1.0,
        "harness_s": at / 2000,
        "busy_s": at * 0.65,
        "interrupts": at * 100,
    }
    return common | {"units": units} | changes


def guest_text(tool: str, *, pool: int = 12, full: int = 0) -> str:
    def counted(busy: int, high: int, fulls: int) -> str:
        return f"cpu  {busy} 0 {busy} 500 0 0 0 0 0 0\nintr {busy * 7}\npool {high}\nfull {fulls}\n"

    return f"@@vtool before\n{counted(100, 0, 0)}@@vtool after\n{counted(150, pool, full)}@@vtool tool\n{tool}"


def results(**changes: Any) -> dict[str, Any]:
    tool = (RECORDED / "fio-3.33-randread.json").read_text()
    whole = {
        "prepare": {"code": 0, "output": ""},
        "settle": {"code": 0, "output": ""},
        "client": around(counters(20)),
        "fetch": {"code": 0, "output": guest_text(tool)},
    }
    return whole | changes


def around(after: dict[str, Any], output: str = "") -> dict[str, Any]:
    return {"code": 0, "output": output, "before": counters(10), "after": after}


def test_costs_are_differences() -> None:
    seen = read(results(), SPOT, FIO, POINT)
    assert seen.void is None, seen.why
    found = {(cost.side, cost.name): cost.value for cost in seen.costs}
    assert found[Side.BACKEND, "cpu"] == pytest.approx(1.0)
    assert found[Side.VMM, "cpu"] == pytest.approx(5.0) and found[Side.VMM, "cpu_guest"] == pytest.approx(2.5)
    assert found[Side.HYPERVISOR, "exits"] == 10_000 and found[Side.BOARD, "interrupts"] == 1000
    assert found[Side.FRONTEND, "cpu"] == pytest.approx(1.0) and found[Side.FRONTEND, "interrupts"] == 350
    assert found[Side.FRONTEND, "pool_high_water"] == 12 * 2048
    assert found[Side.BACKEND, "memory"] == 5, "what is held is no difference"
    assert seen.conditions["harness_share"] == pytest.approx(0.005 / 6.0), "of what backend and VMM took"
    assert seen.conditions["board_seconds"] == 10 and seen.conditions["other_cpus"] == pytest.approx(0.05)
    assert json.loads(seen.text)["jobs"], "the tool's own output, without what is around it"


def test_a_unit_that_was_started_anew_counts_from_its_start() -> None:
    later = counters(20)
    later["units"]["vtool-domain-fe0.service"] = {"usage_s": 1.5, "exits": 100}
    found = {(cost.side, cost.name): cost.value for cost in read(results(client=around(later)), SPOT, FIO, POINT).costs}
    assert found[Side.VMM, "cpu"] == 1.5 and found[Side.HYPERVISOR, "exits"] == 100


@pytest.mark.parametrize(
    ("changes", "void", "words"),
    [
        ({"fetch": {"output": guest_text("x", pool=0)}}, Void.TOOL_FAILED, "fio"),
        ({"fetch": {"error": {"message": "its console is in use"}}}, Void.TOOL_FAILED, "in use"),
        ({"client": {"error": {"message": "domain 'fe0' did not answer"}}}, Void.TOOL_FAILED, "did not answer"),
        ({"prepare": {"code": 127, "output": "@@vtool missing fio\n"}}, Void.TOOL_MISSING, "'fio' is not on the path"),
        ({"prepare": {"code": 1, "output": "mount: no"}}, Void.TOOL_FAILED, "prepare: exit code 1: mount: no"),
        ({"client": around(counters(20, real_s=1e9 + 3620))}, Void.CLOCK_JUMPED, "3600.000 s"),
        ({"client": around(counters(20, cooling=2.0))}, Void.THROTTLED, "running slower"),
        ({"client": around(counters(20, busy_s=18.0))}, Void.DISTURBED, "processors of the board"),
        ({"settle": {"code": 1, "output": "sync: no"}}, Void.TOOL_FAILED, "settle: exit code 1"),
    ],
)
def test_what_does_not_count_says_why(changes: dict[str, Any], void: Void, words: str) -> None:
    seen = read(results(**changes), SPOT, FIO, POINT)
    assert seen.void is void and words in seen.why


def test_a_pool_that_was_not_used_is_a_bypass() -> None:
    text = guest_text((RECORDED / "fio-3.33-randread.json").read_text(), pool=0)
    assert read(results(fetch={"output": text}), SPOT, FIO, POINT).void is Void.POOL_BYPASSED
    import dataclasses

    assert read(results(fetch={"output": text}), dataclasses.replace(SPOT, pool=False), FIO, POINT).void is None


def test_an_emulated_board_is_not_disturbed_by_its_own_slowness() -> None:
    busy = results(client=around(counters(20, busy_s=18.0)))
    assert read(busy, SPOT, FIO, POINT, Clock.INSTRUCTIONS).void is None


def test_pool_exhaustion_is_counted() -> None:
    text = guest_text((RECORDED / "fio-3.33-randread.json").read_text(), full=3)
    seen = read(results(fetch={"output": text}), SPOT, FIO, POINT)
    assert [cost.value for cost in seen.costs if cost.name == "pool_full"] == [3]


@given(st.data())
def test_results_that_lack_anything_never_raise(data: st.DataObject) -> None:
    whole = copy.deepcopy(results())
    for name in data.draw(st.lists(st.sampled_from([*whole]), unique=True)):
        if name == "client":
            keys = ["units", "load", "busy_s", "interrupts", "harness_s"]
            for key in data.draw(st.lists(st.sampled_from(keys), unique=True)):
                del whole[name][data.draw(st.sampled_from(["before", "after"]))][key]
        else:
            text = whole[name]["output"]
            whole[name]["output"] = text[: data.draw(st.integers(0, len(text)))]
    seen = read(whole, SPOT, FIO, POINT)
    assert seen.void is not None or seen.metrics


# -- steps


def spots(example: str) -> dict[str, Spot]:
    prepared = prepare_to_deploy(EXAMPLES / f"{example}.yaml")
    (board,) = prepared.plan.boards
    return {spot.place.device or spot.place.frontend: spot for spot in places_of(prepared.topology, board)}


def test_nothing_runs_between_the_counters_but_the_tool() -> None:
    for example in ("kvm-shared-ram", "kvm-ring", "xen-pv", "xen-grant"):
        for name, said in (
            ("disk0", {"tool": "fio", "pattern": "read"}),
            ("net0", {"tool": "iperf3"}),
            ("net0", {"tool": "sockperf"}),
        ):
            workload = WORKLOAD.validate_json(json.dumps(said))
            found = steps_of(spots(example)[name], workload, next(workload.points()))
            steps = [step["id"] for step in found]
            at = steps.index("client")
            assert steps[at - 1 : at + 2] == ["settle", "client", "fetch"]
            assert [step["id"] for step in found if step["op"] == "measured"] == ["client"]
            assert len(steps) == len(set(steps)) and ("server" in steps) == ("stop" in steps) == (said["tool"] != "fio")


@pytest.mark.parametrize(
    ("example", "name", "units", "domains"),
    [
        ("kvm-shared-ram", "disk0", {Side.BACKEND, Side.VMM}, set()),
        ("kvm-viommu", "disk0", {Side.VMM}, set()),
        ("kvm-ring", "disk0", {Side.BACKEND, Side.VMM}, set()),
        ("xen-pv", "disk0", set(), {("frontend", "fe0"), ("backend", "dom0")}),
        ("xen-ring", "disk0", {Side.BACKEND}, {("frontend", "fe0"), ("backend", "dom0")}),
        ("xen-grant", "net0", {Side.BACKEND}, {("frontend", "fe0"), ("backend", "dom0")}),
    ],
)
def test_whose_time_is_counted(example: str, name: str, units: set[Side], domains: set[tuple[str, str]]) -> None:
    spot = spots(example)[name]
    assert {side for side, _ in spot.units} == units
    assert {(side.value, domain) for side, domain in spot.domains} == domains
    assert spot.place.block or spot.place.interface


def test_what_another_guest_serves_costs_that_guest() -> None:
    assert spots("kvm-ring")["disk0"].units[0] == (Side.BACKEND, "vtool-domain-be0.service")


def test_a_guest_without_a_console_takes_commands_from_its_network() -> None:
    prepared = prepare_to_deploy(EXAMPLES / "xen-ring.yaml", [], ["domains.fe0.ramdisk=vtool:bench-initramfs"])
    (board,) = prepared.plan.boards
    spot = next(spot for spot in places_of(prepared.topology, board) if spot.place.device == "disk0")
    steps = steps_of(spot, FIO, POINT)
    of_guest = [step for step in steps if step.get("domain") == "fe0"]
    assert [step["id"] for step in of_guest] == ["prepare", "client", "fetch"]
    assert {step["address"] for step in of_guest} == {"192.0.2.2:7004"} and spot.place.block
    assert next(step for step in steps if step["op"] == "measured")["domains"] == {"fe0": 1, "dom0": 0}


def test_a_guest_that_hangs_is_waited_for_a_minute_beside_what_the_tool_was_given() -> None:
    for said in ({"tool": "fio", "pattern": "read"}, {"tool": "iperf3"}, {"tool": "sockperf"}):
        workload = WORKLOAD.validate_json(json.dumps({**said, "seconds": 10, "warmup_s": 2}))
        spot = spots("kvm-shared-ram")["net0" if workload.TYPES == ("net",) else "disk0"]
        steps = {step["id"]: step for step in steps_of(spot, workload, next(workload.points()))}
        assert steps["client"]["timeout_s"] == steps["prepare"]["timeout_s"] == 70


def test_fio_counts_its_job_alone_and_several_jobs_with_their_start() -> None:
    many = WORKLOAD.validate_python({"tool": "fio", "pattern": "randread", "jobs": [1, 2], "warmup_s": 0})
    one, two = (many.commands(point, DISK) for point in many.points())
    assert one.counts and "--exec_prerun" in one.client and not two.counts and "exec_" not in two.client


def test_a_server_of_a_ring_runs_in_the_guest_that_serves_it() -> None:
    spot = spots("kvm-ring")["net0"]
    workload = WORKLOAD.validate_python({"tool": "iperf3"})
    server = next(step for step in steps_of(spot, workload, next(workload.points())) if step["id"] == "server")
    assert (server["op"], server["domain"]) == ("domain", "be0")


def test_a_start_is_measured_from_what_the_log_has_already() -> None:
    workload = WORKLOAD.validate_python({"tool": "start"})
    spot = spots("kvm-pool")["fe0"]
    step = next(step for step in steps_of(spot, workload, {}) if step["id"] == "client")
    assert spot.console_log in step["command"] and "systemctl stop" not in step["command"], "stopping is not counted"
    said = {"prepare": {"code": 0, "output": ""}, "client": around(counters(20), "ready after 4.25 s\n")}
    seen = read(said, spot, workload, {})
    assert [(metric.name, metric.value) for metric in seen.metrics] == [("ready", 4.25)]


@pytest.mark.parametrize("example", ["kvm-pool", "kvm-shared-ram", "kvm-ring", "kvm-viommu", "xen-pv", "xen-grant"])
def test_cheap_rows_transfer_nothing_and_are_some(example: str) -> None:
    (board,) = prepare_to_deploy(EXAMPLES / f"{example}.yaml").plan.boards
    whole = proofs(board)
    kept = cheap(whole)
    commands = " ".join(step.get("command", "") for proof in kept for step in proof.steps)
    assert 0 < len(kept) < len(whole) and "dd if=/dev/urandom" not in commands


@pytest.mark.parametrize("example", ["xen-pv", "xen-driver-domain"])
def test_a_guest_that_was_started_anew_has_not_written_yet(example: str) -> None:
    (board,) = prepare_to_deploy(EXAMPLES / f"{example}.yaml").plan.boards
    counted = [proof.what for proof in proofs(board) if "sectors that blkback" in proof.what]
    assert counted and not [proof for proof in cheap(proofs(board)) if proof.what in counted]


def test_rows_are_told_in_short() -> None:
    rows = [
        Row("a", "is", "x", "x", True),
        Row("b", "is", "x", "y", False),
        Row("c", "is", "x", "z", False, noted=True),
    ]
    seen = proof_seen(rows)
    assert (seen.rows, seen.proven, seen.failed) == (3, 1, ("b, is: y",))


# -- what is run, by a shell of this machine


def shell(command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path}:/usr/bin:/bin" if path else "/usr/bin:/bin"}
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, timeout=30)


def command_of(name: str, workload: WorkloadBase, spot: Spot = SPOT) -> str:
    point = next(workload.points())
    return str(next(step for step in steps_of(spot, workload, point) if step["id"] == name)["command"])


def test_a_guests_shell_says_what_is_read(tmp_path: Path) -> None:
    # `--output FILE` and `cat FILE`: what fio writes is what is printed.
    # It runs what is to be run before and after its job by a shell.
    words = [f'--output=*) cp {RECORDED}/fio-3.33-randread.json "${{w#*=}}";;']
    words += [f"--exec_{when}run=*) {when}=${{w#*=}};;" for when in ("pre", "post")]
    fio = f'#!/bin/sh\nfor w; do case $w in {" ".join(words)} esac; done; sh -c "$pre"; sh -c "$post"\n'
    (tmp_path / "fio").write_text(fio)
    (tmp_path / "fio").chmod(0o755)
    assert shell(command_of("prepare", FIO).replace("test -b /dev/vda", "true"), tmp_path).stdout == ""
    measured = shell(command_of("client", FIO), tmp_path)
    assert measured.stdout == "@@vtool ready\n@@vtool done\n", "each character is an exit"
    said = shell(command_of("fetch", FIO), tmp_path)
    seen = read(results(fetch={"code": said.returncode, "output": said.stdout}), SPOT, FIO, POINT)
    # This machine has no pool of slots, which is what a bypass looks like.
    assert seen.void is Void.POOL_BYPASSED and seen.metrics and {"cpu", "interrupts"} <= {c.name for c in seen.costs}


def test_a_tool_that_is_missing_is_named(tmp_path: Path) -> None:
    said = subprocess.run(
        ["/bin/sh", "-c", f"( {command_of('prepare', FIO)} )"],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
    )
    assert (said.returncode, said.stdout) == (127, "@@vtool missing fio\n")


def test_a_disk_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "fio").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "fio").chmod(0o755)
    import dataclasses

    spot = dataclasses.replace(SPOT, place=dataclasses.replace(DISK, block=str(tmp_path / "no-such-disk")))
    said = shell(command_of("prepare", FIO, spot), tmp_path)
    assert said.returncode == 1 and said.stdout == "" and not (tmp_path / "no-such-disk").exists()


READY = "vtool: domain ready\n"


@pytest.mark.parametrize(
    "begin",
    [":", ": >LOG", "mv LOG LOG.old", "mv LOG LOG.old; echo 'an earlier start' >LOG; printf '%19s\\n' x >>LOG"],
)
def test_a_guest_is_ready_when_it_says_so_anew(tmp_path: Path, begin: str) -> None:
    log = tmp_path / "console.log"
    log.write_text(f"an earlier start\n{READY}")
    begin = begin.replace("LOG", str(log))
    systemctl = f"#!/bin/sh\n{begin}; (sleep 0.3; echo '{READY.strip()}' >>{log}) &\n"
    (tmp_path / "systemctl").write_text(systemctl)
    (tmp_path / "systemctl").chmod(0o755)
    spot = Spot(
        "board0", "kvm", DISK, start_unit="u.service", console_log=str(log), ready="vtool: domain ready",
        ready_timeout_s=10,
    )  # fmt: skip
    workload = WORKLOAD.validate_python({"tool": "start"})
    said = shell(command_of("client", workload, spot), tmp_path)
    (metric,) = workload.read(said.stdout, {}).metrics
    assert 0.3 <= metric.value < 5, said.stderr


def test_a_log_that_has_begun_anew_with_all_that_the_one_before_had(tmp_path: Path) -> None:
    """A unit that starts once its guest is ready, as that of a driver domain, with the same words as last time."""
    log = tmp_path / "console.log"
    log.write_text(READY)
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\nmv {log} {log}.old; printf '{READY}' >{log}\n")
    (tmp_path / "systemctl").chmod(0o755)
    spot = Spot("b", "xen", DISK, start_unit="u.service", console_log=str(log), ready=READY.strip(), ready_timeout_s=3)
    workload = WORKLOAD.validate_python({"tool": "start"})
    assert shell(command_of("client", workload, spot), tmp_path).stdout.startswith("ready after 0.")


@pytest.mark.parametrize("stays", [False, True])
def test_a_domain_of_xen_is_started_once_the_one_before_is_gone(tmp_path: Path, *, stays: bool) -> None:
    left = tmp_path / "left"
    left.write_text("..")
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    # Two looks find it, and then it is gone; or it never is, and nobody waits that long here.
    (tmp_path / "xl").write_text(f"#!/bin/sh\ntest -s {left} || exit 1; {':' if stays else f'truncate -s -1 {left}'}\n")
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for name in ("systemctl", "xl", "sleep"):
        (tmp_path / name).chmod(0o755)
    spot = spots("xen-pv")["fe0"]
    said = shell(command_of("prepare", WORKLOAD.validate_python({"tool": "start"}), spot), tmp_path)
    assert (said.returncode, left.read_text()) == ((1, "..") if stays else (0, ""))


def test_a_start_counts_what_did_not_run_before_from_its_start() -> None:
    spot = spots("xen-pv")["fe0"]
    workload = WORKLOAD.validate_python({"tool": "start"})
    steps = steps_of(spot, workload, {})
    assert [step["id"] for step in steps] == ["prepare", "client"] and not spot.serves
    before, after = counters(10, domains={"dom0": 5.0}), counters(20, domains={"dom0": 6.5, "fe0": 2.5})
    client = {"code": 0, "output": "ready after 4.25 s\n", "before": before, "after": after}
    seen = read({"prepare": {"code": 0}, "client": client}, spot, workload, {})
    found = {cost.side: cost.value for cost in seen.costs if cost.name == "cpu_of_domain"}
    assert found == {Side.FRONTEND: 2.5, Side.BACKEND: 1.5} and seen.void is None


def test_what_a_guest_serves_is_started_again_after_it() -> None:
    workload = WORKLOAD.validate_python({"tool": "start"})
    spot = spots("kvm-ring")["be0"]
    assert [step["id"] for step in steps_of(spot, workload, {})] == ["prepare", "client", "others"] and spot.serves
    client = around(counters(20), "ready after 4.25 s\n")
    said = {"prepare": {"code": 0}, "client": client, "others": {"code": 3, "output": "fe0 is not ready"}}
    assert read(said, spot, workload, {}).void is Void.TOOL_FAILED


def test_vtools_own_guest_has_what_the_steps_use() -> None:
    """Its shell's words, but for what the tools are and what a board runs."""
    applets = set((ROOT / "vtool/images/recipes/guest/applets.txt").read_text().split())
    known = {"fio", "iperf3", "sockperf", "mbw", "for", "do", "done", "if", "then", "fi", "true", "test", "[", "echo"}
    known |= {"command", "exit", ":", "exec", "c=$?", "in", "p", "f", "{", "}"}
    used: set[str] = set()
    for example in ("kvm-shared-ram", "kvm-ring"):
        for name, said in (
            ("disk0", {"tool": "fio", "pattern": "randrw"}),
            ("share0", {"tool": "fio", "pattern": "read"}),
            ("net0", {"tool": "iperf3"}),
            ("net0", {"tool": "sockperf"}),
            ("fe0", {"tool": "mbw"}),
        ):
            workload = WORKLOAD.validate_json(json.dumps(said))
            if (spot := spots(example).get(name)) is None:
                continue
            for step in steps_of(spot, workload, next(workload.points())):
                if step["op"] == "domain":
                    words = re.findall(
                        r"(?:^|[;&|({]|\$\(|\bdo\b|\bthen\b) *([A-Za-z0-9_=$?:\[]+)",
                        re.sub(r"'[^']*'|\"[^\"$]*\"", "", step["command"]),
                    )
                    used |= set(words)
    assert {word for word in used if word.isalpha() or word == "["} - known <= applets | {"mount", "umount"}


def test_a_port_at_which_a_connection_waits_for_its_end_is_not_listened_at() -> None:
    from vtool.bench.steps import _listening

    head = "  sl  local_address rem_address   st tx_queue\n"
    waits = "   0: 0100007F:2B67 0100007F:A7B0 06 00000000:00000000\n"
    listens = "   1: 00000000:2B67 00000000:0000 0A 00000000:00000000\n"
    six = f"   1: {'0' * 32}:2B67 {'0' * 32}:0000 07 00000000:00000000\n"
    for table, is_so in ((waits, 1), (waits + listens, 0), (six, 0), ("", 1)):
        done = subprocess.run(["sh", "-c", _listening(11111)], input=head + table, text=True)
        assert done.returncode == is_so


def test_memory_is_copied_in_a_guest_or_on_the_board() -> None:
    workload = WORKLOAD.validate_json('{"tool": "mbw", "where": ["guest", "board"], "size": "64MiB", "runs": 5}')
    guest, board = (steps_of(SPOT, workload, point) for point in workload.points())
    assert {step["id"]: step["op"] for step in guest} == {
        "prepare": "domain", "settle": "run", "client": "measured", "fetch": "domain",
    }  # fmt: skip
    assert [step["op"] for step in board] == ["run", "measured"] and BRING in board[0]
    said = around(counters(20), (RECORDED / "mbw-1.2.2.txt").read_text())
    seen = read({"prepare": {"code": 0}, "client": said}, SPOT, workload, [*workload.points()][1])
    assert seen.void is None and seen.metrics[0].name == "copy", seen.why
    assert not any(cost.side is Side.FRONTEND for cost in seen.costs)
