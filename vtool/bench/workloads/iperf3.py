"""iperf3 between frontend and backend domain (man iperf3(1), 3.12 and 3.18): TCP and UDP, both ways.

In its JSON all is in bytes, seconds and bits per second, in which M is 10^6; in sizes on its command line M is 2^20, so
that plain numbers are given. It exits with 0 although something failed: then its JSON has a member ``error``.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from vtool.base.units import KIB
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
from vtool.files.json_text import from_json
from vtool.model.types import Size
from vtool.results.records import Metric, Work

PORT = 5201
_MOST_UDP = 65507
"""65535 less the headers of IPv4 and UDP."""
_MOST_TCP = 1024 * KIB
"""iperf3's MAX_BLOCKSIZE."""


class Protocol(Enum):
    """What carries the data."""

    TCP = "tcp"
    UDP = "udp"


class Direction(Enum):
    """Who sends: the frontend, or the backend's domain."""

    SEND = "send"
    RECEIVE = "receive"


class Workload(WorkloadBase):
    """One stream of messages of ``length`` bytes; UDP at ``rate`` bits per second, 0 for as fast as it goes."""

    tool: Literal["iperf3"]
    protocol: Sweep[Protocol] = (Protocol.TCP,)
    direction: Sweep[Direction] = (Direction.SEND,)
    length: Sweep[Size] = (64 * KIB,)
    mtu: Sweep[Annotated[int, Field(ge=576, le=65535)]] = (1500,)
    streams: Sweep[Annotated[int, Field(ge=1, le=128)]] = (1,)
    rate: Annotated[int, Field(ge=0, le=10**12)] = 0

    TYPES: ClassVar = ("net",)
    SWEPT: ClassVar = ("protocol", "direction", "length", "mtu", "streams")
    PROGRAMS: ClassVar = ("iperf3",)
    SERVER_PROGRAMS: ClassVar = ("iperf3",)

    def unfit(self, point: Point, place: Place) -> Iterator[str]:
        """Messages have their protocol's limits, and no frame is larger than the backend's interface takes."""
        length, most = int(point["length"]), _MOST_UDP if point["protocol"] == "udp" else _MOST_TCP
        if length > most:
            yield f"messages of {length} bytes are more than the {most} of {str(point['protocol']).upper()}"
        if point["protocol"] == "udp" and length < 16:
            yield "datagrams of less than 16 bytes have no room for iperf3's own header"
        if int(point["mtu"]) > 1500:
            yield f"an MTU of {point['mtu']} is more than the 1500 of the backend's interface"
        if not place.server_address:
            yield f"'{place.device}' has no `backend_address` to send to"

    def commands(self, point: Point, place: Place) -> Commands:
        """Return server and client."""
        words = [
            *("iperf3", f"--client {place.server_address}", f"--port {PORT}", "--json", f"--length {point['length']}"),
            *(f"--parallel {point['streams']}",),
            *(["--udp", f"--bitrate {self.rate}"] if point["protocol"] == "udp" else []),
            *(["--reverse"] if point["direction"] == "receive" else []),
        ]
        client = " ".join(words)
        warm = f"{client} --time {point['warmup_s']} >/dev/null" if point["warmup_s"] else "true"
        return Commands(
            client=f"{client} --time {point['seconds']}",
            server=f"exec iperf3 --server --port {PORT}",
            port=PORT,
            prepare=f"ip link set dev {place.interface} mtu {point['mtu']} && {warm}",
            clean=f"ip link set dev {place.interface} mtu 1500",
            timeout_s=deadline_s(point),
        )

    def read(self, output: str, point: Point) -> Outcome:
        """Read ``--json``: what arrived, by the receiver's time (``sum_received``; of UDP ``sum`` is the sender's)."""
        end = _end_in(output)
        received, sent = end["sum_received"], end["sum_sent"]
        seconds, arrived = received["seconds"], received["bytes"]
        if seconds <= 0 or not arrived:
            raise ToolFailedError("iperf3: nothing arrived")
        metrics: list[Metric] = [higher("throughput", "B/s", arrived / seconds)]
        requests = None
        if point["protocol"] == "udp":
            requests = received["packets"] - received["lost_packets"]
            metrics += [
                higher("requests", "1/s", requests / seconds),
                lower("lost", "1", received["lost_percent"] / 100),
                lower("jitter", "s", received["jitter_ms"] / 1000),
            ]
        elif "retransmits" in sent:
            metrics.append(lower("retransmits", "1", sent["retransmits"]))
        return Outcome(tuple(metrics), Work(requests=requests, bytes=arrived, seconds=seconds))


def _end_in(output: str) -> dict[str, Any]:
    try:
        said = from_json(output[max(0, output.find("{")) :])
    except ValueError:
        raise ToolFailedError("iperf3: " + (output.strip().splitlines() or ["it printed nothing"])[-1][:200]) from None
    if "error" in said:
        raise ToolFailedError(f"iperf3: {said['error']}")
    if "sum_received" not in said.get("end", {}):
        raise ToolFailedError("iperf3 ended before its test did")
    return dict(said["end"])
