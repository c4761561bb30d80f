"""What tools print is read in their own units: recorded outputs, and properties of made ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from vtool.base.units import KIB, MIB, AddressRange
from vtool.bench.workloads import TOOLS, Workload
from vtool.bench.workloads.base import Commands, Outcome, Place, ToolFailedError, WorkloadBase

RECORDED = Path(__file__).parent / "recorded"
WORKLOAD: TypeAdapter[WorkloadBase] = TypeAdapter(Workload)
DISK = Place(
    frontend="fe0", cpus=2, memory_bytes=256 * MIB, has_shell=True, device="disk0", type="blk", block="/dev/vda",
    disk_bytes=64 * MIB, scratch=AddressRange.of_size(56 * MIB, 8 * MIB),
)  # fmt: skip
LINK = Place(
    frontend="fe0", cpus=2, memory_bytes=256 * MIB, has_shell=True, device="net0", type="net", interface="eth0",
    server_address="192.0.2.1",
)  # fmt: skip


def made(**said: Any) -> WorkloadBase:
    return WORKLOAD.validate_json(json.dumps(said))


def read(name: str, **said: Any) -> Outcome:
    workload = made(**said)
    (point,) = workload.points()
    return workload.read((RECORDED / name).read_text(), point)


def values(outcome: Outcome) -> dict[str, float]:
    return {metric.name: metric.value for metric in outcome.metrics}


def test_fio() -> None:
    told = json.loads((RECORDED / "fio-3.33-randread.json").read_text())["jobs"][0]["read"]
    outcome = read("fio-3.33-randread.json", tool="fio", pattern="randread", depth=32)
    seen = values(outcome)
    assert seen["throughput"] == pytest.approx(told["bw_bytes"], rel=1e-4)
    assert seen["requests"] == pytest.approx(told["iops"], rel=1e-4)
    assert seen["throughput"] == pytest.approx(seen["requests"] * 4096)
    assert seen["latency_p50"] == told["lat_ns"]["percentile"]["50.000000"] / 1e9
    assert outcome.work.requests == told["total_ios"] and outcome.work.bytes == told["io_bytes"]
    assert outcome.work.seconds == told["runtime"] / 1000


def test_a_percentile_of_fios_that_exceeds_the_maximum_is_the_maximum() -> None:
    told = json.loads((RECORDED / "fio-3.33-randread.json").read_text())["jobs"][0]["read"]["lat_ns"]
    told["percentile"]["99.990000"] = told["max"] + 1
    whole = json.loads((RECORDED / "fio-3.33-randread.json").read_text())
    whole["jobs"][0]["read"]["lat_ns"] = told
    workload = made(tool="fio", pattern="randread")
    seen = values(workload.read(json.dumps(whole), next(workload.points())))
    assert seen["latency_p99.99"] == seen["latency_max"] == told["max"] / 1e9


def test_fio_tells_both_ways_of_a_mixed_pattern() -> None:
    seen = values(read("fio-3.33-randrw.json", tool="fio", pattern="randrw", depth=4, jobs=2))
    assert seen["throughput"] == pytest.approx(seen["throughput_read"] + seen["throughput_write"])
    assert {"read_latency_p99", "write_latency_p99"} < set(seen) and "latency_p99" not in seen


def test_fio_is_read_behind_a_note_of_its_own() -> None:
    workload = made(tool="fio", pattern="randread")
    text = "note: both iodepth >= 1 and synchronous I/O engine\n" + (RECORDED / "fio-3.33-randread.json").read_text()
    assert values(workload.read(text, next(workload.points())))["throughput"] > 0


@pytest.mark.parametrize(
    ("name", "protocol", "direction"),
    [
        ("3.12-tcp", "tcp", "send"),
        ("3.12-tcp-r", "tcp", "receive"),
        ("3.12-udp", "udp", "send"),
        ("3.12-udp-r", "udp", "receive"),
        ("3.18-tcp", "tcp", "send"),
        ("3.18-udp", "udp", "send"),
    ],
)
def test_iperf3(name: str, protocol: str, direction: str) -> None:
    outcome = read(f"iperf3-{name}.json", tool="iperf3", protocol=protocol, direction=direction, length=1400)
    told = json.loads((RECORDED / f"iperf3-{name}.json").read_text())["end"]["sum_received"]
    seen = values(outcome)
    assert seen["throughput"] == pytest.approx(told["bits_per_second"] / 8, rel=1e-6)
    if protocol == "udp":
        assert seen["lost"] == pytest.approx(told["lost_percent"] / 100, rel=1e-3)
        length = 32768 if name.endswith("-r") else 1400
        assert outcome.work.requests is not None
        assert outcome.work.requests * length == pytest.approx(outcome.work.bytes, rel=3e-3)
    else:
        assert seen["retransmits"] >= 0 and outcome.work.requests is None


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_sockperf_tells_whole_round_trips(protocol: str) -> None:
    length = {"tcp": 64, "udp": 1400}[protocol]
    outcome = read(f"sockperf-3.7-{protocol}.txt", tool="sockperf", protocol=protocol, length=length)
    seen = values(outcome)
    # One at a time, so that the rate is what the mean round trip says, but for what is between two.
    assert seen["requests"] * seen["latency_mean"] == pytest.approx(1, rel=0.1)
    assert seen["latency_min"] <= seen["latency_p50"] <= seen["latency_p99.9"] <= seen["latency_max"]
    assert outcome.work.bytes == (outcome.work.requests or 0) * length


def test_mbw() -> None:
    outcome = read("mbw-1.2.2.txt", tool="mbw", size="64MiB", runs=5)
    assert values(outcome)["copy"] == pytest.approx(4920.352 * MIB, rel=1e-3) and outcome.work.bytes == 5 * 64 * MIB


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("fio-3.33-error.json", {"tool": "fio", "pattern": "randread"}, "error 21"),
        ("iperf3-3.12-err.json", {"tool": "iperf3"}, "Connection refused"),
        ("sockperf-3.7-error.txt", {"tool": "sockperf"}, "Connection refused"),
        ("sockperf-3.7-tcp.txt", {"tool": "mbw"}, "mbw: "),
        ("mbw-1.2.2.txt", {"tool": "mbw", "size": "16MiB"}, "mbw: "),
        ("mbw-1.2.2.txt", {"tool": "fio", "pattern": "read"}, "fio: AVG"),
        ("mbw-1.2.2.txt", {"tool": "iperf3"}, "iperf3: AVG"),
        ("mbw-1.2.2.txt", {"tool": "sockperf"}, "sockperf: AVG"),
        ("mbw-1.2.2.txt", {"tool": "start"}, "AVG"),
    ],
)
def test_a_tool_that_failed_is_told_in_its_words(name: str, said: dict[str, Any], words: str) -> None:
    with pytest.raises(ToolFailedError, match=words):
        read(name, **said)


EVERY = [
    ({"tool": "fio", "pattern": "randread"}, "fio-3.33-randread.json"),
    ({"tool": "iperf3"}, "iperf3-3.12-tcp.json"),
    ({"tool": "iperf3", "protocol": "udp"}, "iperf3-3.12-udp.json"),
    ({"tool": "sockperf"}, "sockperf-3.7-tcp.txt"),
    ({"tool": "mbw", "size": "64MiB", "runs": 5}, "mbw-1.2.2.txt"),
]


@given(st.data())
def test_output_that_was_cut_is_read_wholly_or_refused(data: st.DataObject) -> None:
    said, name = data.draw(st.sampled_from(EVERY))
    text = (RECORDED / name).read_text()
    cut = data.draw(st.integers(0, len(text)))
    workload = made(**said)
    point = next(workload.points())
    whole = workload.read(text, point)
    try:
        seen = workload.read(text[:cut], point)
    except ToolFailedError:
        return
    assert seen == whole


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=9), st.integers(1, 10**6), st.integers(14, 65507))
def test_sockperf_reads_what_it_prints(latencies: list[float], count: int, length: int) -> None:
    ordered = sorted(latencies)
    lines = [
        f"sockperf: [Total Run] RunTime=2.000 sec; Warm up time=400 msec; SentMessages={count + 1}; "
        f"ReceivedMessages={count}",
        f"sockperf: [Valid Duration] RunTime=1.500 sec; SentMessages={count}; ReceivedMessages={count}",
        f"sockperf: Summary: Round trip is {ordered[0]:.3f} usec",
        f"sockperf: ---> <MAX> observation = {ordered[-1]:.3f}",
        *(f"sockperf: ---> percentile {10 * i + 10:.3f} = {v:.3f}" for i, v in enumerate(ordered)),
        f"sockperf: ---> <MIN> observation = {ordered[0]:.3f}\n",
    ]
    workload = made(tool="sockperf", length=length)
    outcome = workload.read("\n".join(lines), next(workload.points()))
    seen = [metric.value for metric in outcome.metrics if metric.name.startswith("latency_p")]
    assert seen == pytest.approx([round(value, 3) / 1e6 for value in ordered]) and seen == sorted(seen)
    assert outcome.work.requests == count and values(outcome)["lost"] == 0


# -- points and where they fit


def test_every_tool_is_a_module_of_its_name() -> None:
    assert set(TOOLS) == {"fio", "iperf3", "mbw", "sockperf", "start"}
    for name, module in TOOLS.items():
        assert module.Workload.model_fields["tool"].annotation.__args__ == (name,)


def test_points_are_all_combinations() -> None:
    workload = made(tool="fio", pattern=["read", "randread"], block_size=["4KiB", "1MiB"], depth=1)
    words = [workload.words_of(point) for point in workload.points()]
    assert words == [f",pattern={p},block_size={b}" for p in ("read", "randread") for b in ("4KiB", "1MiB")]


def reasons(place: Place, **said: Any) -> Iterator[str]:
    workload = made(**said)
    for point in workload.points():
        yield from workload.unfit(point, place)


@pytest.mark.parametrize(
    ("place", "said", "words"),
    [
        (DISK, {"tool": "fio", "pattern": "read", "block_size": 513}, "no multiple of a sector"),
        (DISK, {"tool": "fio", "pattern": "read", "jobs": 3}, "more than the 2 CPUs"),
        (DISK, {"tool": "fio", "pattern": "randwrite", "block_size": "16MiB"}, "scratch space of 'disk0', 8MiB"),
        (DISK, {"tool": "fio", "pattern": "read", "block_size": "128MiB"}, "the disk of 'disk0', 64MiB"),
        (LINK, {"tool": "iperf3", "protocol": "udp", "length": "64KiB"}, "65507 of UDP"),
        (LINK, {"tool": "iperf3", "protocol": "udp", "length": 8}, "own header"),
        (LINK, {"tool": "iperf3", "mtu": 9000}, "1500"),
        (DISK, {"tool": "mbw", "size": "128MiB"}, "half the memory"),
        (DISK, {"tool": "mbw", "size": "1KiB"}, "whole number of MiB"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_why(place: Place, said: dict[str, Any], words: str) -> None:
    (why,) = reasons(place, **said)
    assert words in why


@pytest.mark.parametrize("pattern", ["write", "randwrite", "rw", "randrw"])
def test_nothing_is_written_outside_the_scratch_space(pattern: str) -> None:
    workload = made(tool="fio", pattern=pattern)
    (point,) = workload.points()
    client = workload.commands(point, DISK).client
    assert f"--offset={56 * MIB} --size={8 * MIB} " in client
    import dataclasses

    whole = dataclasses.replace(DISK, scratch=None)
    assert "may not be written to" in next(workload.unfit(point, whole))


@given(st.sampled_from(["read", "randrw"]), st.integers(1, 2048), st.integers(1, 128))
def test_fio_is_given_plain_numbers(pattern: str, sectors: int, depth: int) -> None:
    workload = made(tool="fio", pattern=pattern, block_size=sectors * 512, depth=depth)
    commands = workload.commands(next(workload.points()), DISK)
    assert f"--bs={sectors * 512} " in commands.client and f"--iodepth={depth} " in commands.client
    assert commands.prepare.startswith("test -b /dev/vda && fio "), "or fio makes a file of that name"


def test_the_defaults_fit_the_places_that_they_are_for() -> None:
    assert not [*reasons(DISK, tool="fio", pattern=["read", "write", "randrw"]), *reasons(DISK, tool="mbw")]
    assert not [*reasons(LINK, tool="iperf3"), *reasons(LINK, tool="sockperf", length=[64, 64 * KIB - 29])]


def test_as_many_requests_are_the_same_work_however_long_they_take() -> None:
    said: dict[str, Any] = {"tool": "fio", "pattern": "randread", "block_size": "64KiB"}

    def commands(**more: int) -> Commands:
        workload = made(**said, **more)
        return workload.commands(next(workload.points()), DISK)

    counted, timed = commands(requests=2000), commands()
    for command in (counted.client, counted.prepare):
        assert "--io_size=131072000" in command and "time" not in command, "as many to warm up"
    assert "--io_size" not in timed.client and "--time_based --runtime=10" in timed.client
    assert "--io_size" not in commands(requests=2000, warmup_s=0).prepare
