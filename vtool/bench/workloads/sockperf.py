"""sockperf's ping-pong between frontend and backend domain (its README and ``sockperf ping-pong -h``, 3.7).

Without ``--full-rtt`` it halves the round trip; the whole one is what is told here. Times are microseconds. Its exit
status is 0 although it failed: then it printed a line with ERROR.
"""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vtool.bench.workloads.base import (
    Commands,
    Outcome,
    Place,
    Point,
    Sweep,
    ToolFailedError,
    WorkloadBase,
    deadline_s,
    higher,
    lower,
)
from vtool.bench.workloads.iperf3 import Protocol
from vtool.model.types import Size
from vtool.results.records import Metric, Work

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
PORT = 11111
_LEAST, _MOST = 14, 65507
"""sockperf's MIN_PAYLOAD, and what fits into a datagram."""


class Workload(WorkloadBase):
    """One message of ``length`` bytes at a time, sent and sent back."""

    tool: Literal["sockperf"]
    protocol: Sweep[Protocol] = (Protocol.TCP,)
    length: Sweep[Annotated[Size, Field(ge=_LEAST, le=_MOST)]] = (64,)

    TYPES: ClassVar = ("net",)
    SWEPT: ClassVar = ("protocol", "length")
    PROGRAMS: ClassVar = ("sockperf",)
    SERVER_PROGRAMS: ClassVar = ("sockperf",)

    def unfit(self, point: Point, place: Place) -> Iterator[str]:  # noqa: ARG002 - the base's
        """There has to be somebody to answer."""
        if not place.server_address:
            yield f"'{place.device}' has no `backend_address` to send to"

    def commands(self, point: Point, place: Place) -> Commands:
        """Return server and client; each run of the client warms up by itself for 0.4 s."""
        tcp = " --tcp" if point["protocol"] == "tcp" else ""
        client = (
            f"sockperf ping-pong --ip {place.server_address} --port {PORT}{tcp} --msg-size {point['length']} --full-rtt"
        )
        warm = f"{client} --time {point['warmup_s']} >/dev/null" if point["warmup_s"] else "true"
        return Commands(
            client=f"{client} --time {point['seconds']}",
            # Connections of the repetition before may wait for their end at this port.
            server=f"exec sockperf server --ip 0.0.0.0 --port {PORT}{tcp} --uc-reuseaddr",
            port=PORT,
            prepare=warm,
            timeout_s=deadline_s(point),
        )

    def read(self, output: str, point: Point) -> Outcome:
        """Read the summary: round trips of the valid time, which is without a start and an end; work is all of it."""
        text = _COLOUR.sub("", output)
        if error := re.search(r"ERROR: (.*)", text):
            raise ToolFailedError(f"sockperf: {error[1].strip()}")
        mean = re.search(rf"Summary: Round trip is {_NUMBER} usec", text)
        valid = re.search(
            rf"\[Valid Duration\] RunTime={_NUMBER} sec; SentMessages=(\d+); ReceivedMessages=(\d+)", text
        )
        whole = re.search(rf"\[Total Run\] RunTime={_NUMBER} sec;.*ReceivedMessages=(\d+)", text)
        if mean is None or valid is None or whole is None:
            raise ToolFailedError("sockperf: " + (text.strip().splitlines() or ["it printed nothing"])[-1][:200])
        seconds, sent, received = float(valid[1]), int(valid[2]), int(valid[3])
        if not received or seconds <= 0:
            raise ToolFailedError("sockperf: nothing came back")
        metrics: list[Metric] = [
            higher("requests", "1/s", received / seconds),
            higher("throughput", "B/s", received * int(point["length"]) / seconds),
            lower("latency_mean", "s", float(mean[1]) / 1e6),
            *(lower(f"latency_p{float(p):g}", "s", float(v) / 1e6) for p, v in _percentiles(text)),
        ]
        least, most = (re.search(rf"<{word}> observation =\s*{_NUMBER}\n", text) for word in ("MIN", "MAX"))
        if least is None or most is None:
            raise ToolFailedError("sockperf: its summary has no end")
        metrics += [lower("latency_min", "s", float(least[1]) / 1e6), lower("latency_max", "s", float(most[1]) / 1e6)]
        metrics.append(lower("lost", "1", (sent - received) / sent))
        done = int(whole[2])
        return Outcome(tuple(metrics), Work(requests=done, bytes=done * int(point["length"]), seconds=float(whole[1])))


def _percentiles(text: str) -> list[tuple[str, str]]:
    return re.findall(rf"percentile {_NUMBER} =\s*{_NUMBER}", text)
