"""What every workload is made of: what a user writes of it, its points, the commands of its tool, how it is read.

Enter at ``WorkloadBase``. A workload is one module beside this one, found by its file's name, and has a class
``Workload`` whose ``tool`` is that name.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from vtool.base.records import record
from vtool.base.units import AddressRange, format_size
from vtool.model.types import Model, Name
from vtool.results.records import Better, Metric, Work

Point = Mapping[str, str | int]
"""One value of every parameter, in base units."""
Item = TypeVar("Item")

Seconds = Annotated[int, Field(ge=1, le=3600)]
Requests = Annotated[int, Field(ge=0, le=10**9)]
"""How many requests a repetition makes, and as many to warm up: the same work each time. 0: what goes in its time."""


def _to_sweep(item: Any) -> Callable[[Any], Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(tuple[item, ...], config=ConfigDict(strict=True))

    def read(value: Any) -> Any:
        if isinstance(value, tuple):
            return value
        # As JSON, for the reason that ``vtool.model.shape`` has.
        return adapter.validate_json(json.dumps(value if isinstance(value, list) else [value]))

    return read


if TYPE_CHECKING:
    Sweep = tuple[Item, ...]
    """One value, or a list of values of which each is measured."""
else:

    class Sweep:
        """One value, or a list of values of which each is measured."""

        def __class_getitem__(cls, item: Any) -> Any:
            """Return the annotation of a sweep of such items."""
            made = BeforeValidator(_to_sweep(item), json_schema_input_type=item | Annotated[tuple[item, ...], _SOME])
            return Annotated[tuple[item, ...], _SOME, made]

    _SOME = Field(min_length=1)


@record
class Place:
    """Where a workload runs: a guest, and in most cases one of its devices with what its backend is reached by.

    ``block`` and ``interface`` are shell words inside the guest. ``scratch`` is the part of a disk that may be written
    to. ``has_shell``: commands can be run in the guest; ``commands_at`` is ADDRESS:PORT where not on its console.
    ``at_boot``: Xen builds it.
    """

    frontend: str
    cpus: int
    memory_bytes: int
    has_shell: bool
    commands_at: str = ""
    at_boot: bool = False
    device: str = ""
    type: str = ""
    block: str = ""
    interface: str = ""
    tag: str = ""
    disk_bytes: int | None = None
    scratch: AddressRange | None = None
    read_only: bool = False
    server_address: str = ""
    backend: str = ""
    served_by_board: bool = True


BEFORE, AFTER = "/tmp/vtool-bench-before", "/tmp/vtool-bench-after"  # noqa: S108 - in a guest, which has one user
"""Scripts between which is what is counted; of a tool that runs them itself, without its own start and end."""


GRACE_S = 60
"""How long a tool may take beside the time that it is given: so long is a guest that hangs waited for. By the board's
clock, of which one that counts instructions needs minutes of ours while a processor is busy."""


def deadline_s(point: Point) -> int:
    """Return how long a tool may take that runs for as long as it is told to, to warm up or to measure."""
    return max(int(point["seconds"]), int(point["warmup_s"])) + GRACE_S


@record
class Commands:
    """What is run for one repetition, as shell lines.

    ``client`` runs in the frontend; what it prints is read. It ``counts`` when it runs BEFORE and AFTER itself,
    each once. ``server`` runs beside it in the backend domain until it is
    killed, at ``port``. ``prepare`` and ``clean`` run in the frontend and are not measured. ``on_board``: all run in
    the board's control domain instead.
    """

    client: str
    counts: bool = False
    server: str = ""
    port: int = 0
    prepare: str = ""
    clean: str = ""
    timeout_s: int = 120
    on_board: bool = False


@record
class Outcome:
    """What a tool's output says: metrics in base units, and how much work was done in all."""

    metrics: tuple[Metric, ...]
    work: Work


class ToolFailedError(ValueError):
    """A tool failed, or said what nobody reads; the words are the tool's where it has some."""


class WorkloadBase(Model):
    """What all workloads have. ``device`` is the device to measure; left out, each device that it fits.

    Of a workload with faults whose tool is not known, this much is known, so that it is no abstract class.
    """

    if TYPE_CHECKING:
        tool: str

    device: Name | None = None
    seconds: Seconds = 10
    warmup_s: Annotated[int, Field(ge=0, le=600)] = 2

    TYPES: ClassVar[tuple[str, ...]] = ()
    """The types of devices that it measures; none: it measures a guest."""
    SWEPT: ClassVar[tuple[str, ...]] = ()
    """The parameters that may have several values."""
    PROGRAMS: ClassVar[tuple[str, ...]] = ()
    """What the guest needs on its path."""
    SERVER_PROGRAMS: ClassVar[tuple[str, ...]] = ()
    """What the domain of the backend needs."""

    def points(self) -> Iterator[Point]:
        """Yield every combination of the parameters that may have several values, with the others."""
        values = [getattr(self, name) for name in self.SWEPT]
        others = (name for name in type(self).model_fields if name not in ("tool", "device", *self.SWEPT))
        fixed = {name: _plain(getattr(self, name)) for name in others}
        for combination in itertools.product(*values):
            named = dict(zip(self.SWEPT, map(_plain, combination), strict=True))
            yield {**named, **fixed}

    def words_of(self, point: Point) -> str:
        """Return what sets a point apart from the workload's others, for its name."""
        several = [name for name in self.SWEPT if len(getattr(self, name)) > 1]
        sizes = {name: point[name] for name in several}
        return "".join(f",{name}={_shown(name, value)}" for name, value in sizes.items())

    def unfit(self, point: Point, place: Place) -> Iterator[str]:
        """Yield why a point cannot be measured at a place, in words that follow its name."""
        raise NotImplementedError

    def commands(self, point: Point, place: Place) -> Commands:
        """Return what is run."""
        raise NotImplementedError

    def read(self, output: str, point: Point) -> Outcome:
        """Read what the client printed. ToolFailedError."""
        raise NotImplementedError

    def estimated_s(self) -> float:
        """Return about how long one repetition runs, without what deploying takes."""
        return self.seconds + self.warmup_s + 2.0


def _plain(value: Any) -> str | int:
    plain: str | int = value.value if isinstance(value, Enum) else value
    return plain


def _shown(name: str, value: str | int) -> str:
    return format_size(int(value)) if name.endswith("size") or name == "length" else str(value)


def higher(name: str, unit: str, value: float) -> Metric:
    """Return a metric of which more is better."""
    return Metric(name=name, unit=unit, value=float(value), better=Better.HIGHER)


def lower(name: str, unit: str, value: float) -> Metric:
    """Return a metric of which less is better."""
    return Metric(name=name, unit=unit, value=float(value), better=Better.LOWER)
