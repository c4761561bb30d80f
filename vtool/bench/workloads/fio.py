"""fio on a disk or in a share (fio's HOWTO; man fio(1), 3.33 and 3.39).

Sizes are given as plain numbers of bytes: what a unit means in a job file depends on ``kb_base``. The output goes into
a file, since what fio prints may begin with a note that is no JSON. Its time is what a job ran, without its start.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from vtool.base.units import KIB, MIB, format_size
from vtool.bench.workloads.base import (
    AFTER,
    BEFORE,
    Commands,
    Outcome,
    Place,
    Point,
    Requests,
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

_OUTPUT = "/tmp/vtool-fio.json"  # noqa: S108 - in a guest, which has one user
_SHARE = "/tmp/vtool-bench"  # noqa: S108
_SHARE_FILE_BYTES = 8 * MIB
_PERCENTILES = "50:90:95:99:99.9:99.99"
_SECTOR = 512
_OF_AMOUNT_S = 90
"""So much longer may a number of requests take, of which nobody knows how long they do."""


class Pattern(Enum):
    """In which order, and which way (fio's ``rw``); the mixed ones read as much as they write."""

    READ = "read"
    WRITE = "write"
    RANDOM_READ = "randread"
    RANDOM_WRITE = "randwrite"
    MIXED = "rw"
    RANDOM_MIXED = "randrw"


class Workload(WorkloadBase):
    """Reads and writes past the guest's page cache (``direct=1``), ``depth`` requests at a time in each job.

    With ``requests`` each job makes so many, however long they take.
    """

    tool: Literal["fio"]
    pattern: Sweep[Pattern]
    block_size: Sweep[Size] = (4 * KIB,)
    depth: Sweep[Annotated[int, Field(ge=1, le=128)]] = (1,)
    jobs: Sweep[Annotated[int, Field(ge=1, le=128)]] = (1,)
    requests: Requests = 0

    TYPES: ClassVar = ("blk", "fs")
    SWEPT: ClassVar = ("pattern", "block_size", "depth", "jobs")
    PROGRAMS: ClassVar = ("fio",)

    def unfit(self, point: Point, place: Place) -> Iterator[str]:
        """A disk is written to in its scratch space alone, and every block has to fit."""
        size, writes = int(point["block_size"]), "read" not in str(point["pattern"])
        if size % _SECTOR:
            yield f"blocks of {format_size(size)} are no multiple of a sector of {_SECTOR} bytes"
        if int(point["jobs"]) > place.cpus:
            yield f"{point['jobs']} jobs are more than the {place.cpus} CPUs of '{place.frontend}'"
        if place.type == "fs":
            if place.read_only:
                yield f"'{place.device}' is read-only, and a file has to be laid out in it"
            return
        if writes and place.scratch is None:
            yield f"it writes, and '{place.device}' may not be written to: its disk has no `verify: write`"
        start, room = _room(point, place)
        if room is not None and size > room:
            where = "the scratch space" if start else "the disk"
            yield f"a block of {format_size(size)} is more than {where} of '{place.device}', {format_size(room)}"

    def commands(self, point: Point, place: Place) -> Commands:
        """Return the job; fio itself would make a file where there is no such disk, and measure the guest's RAM."""
        if place.type == "fs":
            mounted = f"grep -q ' {_SHARE} ' /proc/mounts"
            prepare = f"mkdir -p {_SHARE} && {{ {mounted} || mount -t virtiofs {place.tag} {_SHARE}; }}"
            where = [f"--filename={_SHARE}/vtool-bench.tmp", f"--size={_SHARE_FILE_BYTES}"]
            clean = f"rm -f {_SHARE}/vtool-bench.tmp; umount {_SHARE}"
        else:
            prepare, clean = f"test -b {place.block}", ""
            offset, room = _room(point, place)
            where = [f"--filename={place.block}", f"--offset={offset}", *([f"--size={room}"] if room else [])]
        words = [
            *("fio", "--name=vtool", *where),
            *(f"--rw={point['pattern']}", f"--bs={point['block_size']}", f"--iodepth={point['depth']}"),
            *(f"--numjobs={point['jobs']}", "--thread", "--group_reporting", "--ioengine=libaio", "--direct=1"),
            *("--randrepeat=1", "--lat_percentiles=1", f"--percentile_list={_PERCENTILES}"),
            *("--output-format=json", f"--output={_OUTPUT}"),
        ]
        job = " ".join(words)
        amount = int(point["requests"]) * int(point["block_size"])
        lasting, warming = (
            f"--io_size={amount}" if amount else f"--time_based --runtime={point[name]}"
            for name in ("seconds", "warmup_s")
        )
        warm = f"{job} {warming} >/dev/null" if point["warmup_s"] else "true"
        # Each job would run them. What they print, fio puts into files where it is.
        counts = point["jobs"] == 1
        hooks = f"cd /tmp && {job} --exec_prerun='sh {BEFORE}' --exec_postrun='sh {AFTER}'" if counts else job
        return Commands(
            counts=counts,
            client=f"{hooks} {lasting} && cat {_OUTPUT}; rm -f {_OUTPUT}",
            prepare=f"{prepare} && {warm}",
            clean=clean,
            timeout_s=deadline_s(point) + (_OF_AMOUNT_S if amount else 0),
        )

    def read(self, output: str, point: Point) -> Outcome:  # noqa: ARG002 - the base's
        """Read ``--output-format=json``: bytes, nanoseconds, milliseconds of run time.

        A percentile is the upper end of a bucket of fio's histogram, and so may be above the maximum; the lower of both
        is told. A direction without requests has no percentiles, and is left out.
        """
        job = _job_in(output)
        sides = {name: job[name] for name in ("read", "write") if job[name]["total_ios"]}
        if not sides:
            raise ToolFailedError("fio made no request")
        metrics: list[Metric] = []
        total = {"bytes": 0.0, "requests": 0.0}
        for name, side in sides.items():
            seconds = side["runtime"] / 1000
            if seconds <= 0:
                raise ToolFailedError(f"fio says that its {name}s took no time")
            rate = side["io_bytes"] / seconds
            total["bytes"] += rate
            total["requests"] += side["total_ios"] / seconds
            metrics += [higher(f"throughput_{name}", "B/s", rate)] if len(sides) > 1 else []
            metrics += _latencies("" if len(sides) == 1 else f"{name}_", side["lat_ns"])
        work = Work(
            requests=sum(side["total_ios"] for side in sides.values()),
            bytes=sum(side["io_bytes"] for side in sides.values()),
            seconds=max(side["runtime"] for side in sides.values()) / 1000,
        )
        first = (higher("throughput", "B/s", total["bytes"]), higher("requests", "1/s", total["requests"]))
        return Outcome((*first, *metrics), work)


def _room(point: Point, place: Place) -> tuple[int, int | None]:
    """Return offset and size of what is used of a disk, None where its size is not known."""
    if "read" in str(point["pattern"]) or place.scratch is None:
        return 0, place.disk_bytes
    return place.scratch.base, place.scratch.size_bytes


def _job_in(output: str) -> dict[str, Any]:
    begin = output.find("{")
    try:
        said = from_json(output[begin:]) if begin >= 0 else {}
        (job,) = said["jobs"]
    except (ValueError, KeyError, TypeError):
        raise ToolFailedError("fio: " + (output.strip().splitlines() or ["it printed nothing"])[-1][:200]) from None
    if job["error"]:
        raise ToolFailedError(f"fio ended with error {job['error']}: {output[:begin].strip()[:200]}")
    return dict(job)


def _latencies(prefix: str, told: dict[str, Any]) -> Iterator[Metric]:
    most = told["max"]
    yield lower(f"{prefix}latency_mean", "s", told["mean"] / 1e9)
    yield lower(f"{prefix}latency_min", "s", told["min"] / 1e9)
    for percent, value in told.get("percentile", {}).items():
        yield lower(f"{prefix}latency_p{float(percent):g}", "s", min(value, most) / 1e9)
    yield lower(f"{prefix}latency_max", "s", most / 1e9)
