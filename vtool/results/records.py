"""The records of a run: what a benchmark writes, one JSON object a line, and what compares and reports read.

Holds shape and units only; docs/reference/bench-format.md says what each means. All numbers are in base units: bytes,
seconds, 1/s, counts. Enter at ``Record``.
"""

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

FORMAT: Literal["vtool-bench"] = "vtool-bench"
VERSION: Literal[1] = 1
"""The version of run folders that this vtool reads and writes: one more with every change that is not an addition."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="a SHA-256 in hexadecimal")]
Moment = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        description="UTC by the clock of the machine that measures: 2026-11-30T09:41:05.120Z",
    ),
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
AxisValues = dict[str, str]
"""An axis of the matrix to one of its values."""


class Part(BaseModel):
    """Base of everything in a run: frozen, exact types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


_SMALL = ConfigDict(extra="forbid", strict=True)
"""Of parts of which a run has a hundred thousand: dataclasses with slots take a sixth of the memory of models."""


class Clock(Enum):
    """What a repetition's times are measured by.

    ``instructions``: an emulated board whose clock advances by a nanosecond for each instruction that it executes
    (QEMU ``-icount shift=0,sleep=off``), so that 1e-9 s stand for one instruction; nothing is said of real time.
    """

    REAL = "real"
    EMULATED = "emulated"
    """An emulated board with a clock of the machine it is emulated on: its times mean nothing."""
    INSTRUCTIONS = "instructions"


class Better(Enum):
    """Which way of a number is the good one."""

    HIGHER = "higher"
    LOWER = "lower"


class Side(Enum):
    """Where a cost arises: the guest that uses a device, what serves it, the guest's VMM, the hypervisor, the board."""

    FRONTEND = "frontend"
    BACKEND = "backend"
    VMM = "vmm"
    HYPERVISOR = "hypervisor"
    BOARD = "board"


class Void(Enum):
    """Why a repetition does not count."""

    NOT_DEPLOYED = "not-deployed"
    NOT_PROVEN_BEFORE = "not-proven-before"
    NOT_PROVEN_AFTER = "not-proven-after"
    POOL_BYPASSED = "pool-bypassed"
    CLOCK_JUMPED = "clock-jumped"
    THROTTLED = "throttled"
    DISTURBED = "disturbed"
    TOOL_MISSING = "tool-missing"
    TOOL_FAILED = "tool-failed"
    GUEST_SILENT = "guest-silent"
    BOARD_LOST = "board-lost"
    INTERRUPTED = "interrupted"


class Fault(Part):
    """A diagnostic that says why a cell cannot be: its code, words, and place as file:line:column."""

    code: str
    message: str
    place: str = ""


class DomainMemory(Part):
    """What a domain's memory comes to, in bytes.

    ``owns``: its RAM and regions, which it pays for. ``borrows``: regions of others. ``exposed``: what of it backends
    have mapped or may map, whatever is asked of them; pages that are granted or mapped for a request are not in it.
    """

    owns: int
    borrows: int
    exposed: int


class Variant(Part):
    """One topology that is deployed: a base with one value of every axis, or what is wrong with it.

    ``plans`` are the plans' digests by board, ``memory`` is by domain.
    """

    id: str
    axes: AxisValues
    topology: str
    settings: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    digest: Digest | None = None
    plans: dict[str, Digest] = Field(default_factory=dict)
    memory: dict[str, DomainMemory] = Field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


class WorkloadUsed(Part):
    """One workload with one value of every parameter; ``parameters`` are in base units."""

    id: str
    tool: str
    parameters: dict[str, str | int | float | bool]


class Cell(Part):
    """What is measured: a workload on a device of a variant. ``baseline`` is the cell that it is compared with.

    With ``faults`` it cannot be. ``data_path``, ``hypervisor``, ``type``, ``program``, ``transport`` are the device's;
    empty where a workload needs none.
    """

    id: str
    variant: str
    workload: str
    board: str = ""
    frontend: str = ""
    device: str = ""
    hypervisor: str = ""
    type: str = ""
    data_path: str = ""
    program: str = ""
    transport: str = ""
    baseline: str | None = None
    faults: tuple[Fault, ...] = ()


class Run(Part):
    """The first record: what shall be measured. ``matrix`` is the matrix as it was understood, as plain data.

    ``called_from`` is the folder that the names of its files start at, as seen from the run folder; empty where nobody
    knew.
    """

    record: Literal["run"] = "run"
    format: Literal["vtool-bench"] = FORMAT
    version: Literal[1] = VERSION
    id: str
    name: str
    created: Moment
    vtool: str
    command: tuple[str, ...]
    called_from: str = ""
    matrix: dict[str, Any]
    matrix_digest: Digest
    repetitions: Annotated[int, Field(ge=1)]
    axes: dict[str, tuple[str, ...]]
    baseline: AxisValues
    variants: tuple[Variant, ...]
    workloads: tuple[WorkloadUsed, ...]
    cells: tuple[Cell, ...]


class Session(Part):
    """One start of ``vtool bench`` on this folder, from 1; ``set_aside`` names what a broken last line went into."""

    record: Literal["session"] = "session"
    number: Annotated[int, Field(ge=1)]
    started: Moment
    vtool: str
    command: tuple[str, ...]
    set_aside: str | None = None


class Environment(Part):
    """What a number was measured on. ``id`` is the digest of ``facts``; repetitions name it.

    ``facts`` are names with dots (``cpu.features``, ``kernel.release``, ...), listed in docs/reference/bench-format.md;
    what could not be found out is null.
    """

    record: Literal["environment"] = "environment"
    id: Digest
    board: str
    clock: Clock
    facts: dict[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True, config=_SMALL)
class Metric:
    """One result of a workload's tool, in a base unit (B, s, B/s, 1/s, 1)."""

    name: str
    unit: str
    value: Finite
    better: Better


class Work(Part):
    """What was done while costs were counted; None is not known. ``seconds`` are the frontend's."""

    requests: int | None = None
    bytes: int | None = None
    seconds: Finite | None = None


@dataclass(frozen=True, slots=True, config=_SMALL)
class Cost:
    """A difference around a repetition: what was spent on one side, where the number is from."""

    name: str
    side: Side
    unit: str
    value: Finite
    source: str


class ProofSeen(Part):
    """A proof before or after: how many rows were proven, and each that was not as ``subject, what: seen``."""

    rows: int
    proven: int
    failed: tuple[str, ...] = ()


class Raw(Part):
    """A file of the run folder with a tool's output as it was."""

    path: str
    bytes: int
    digest: Digest


class Repetition(Part):
    """One measurement of one cell. It counts unless ``void``; ``why`` are the words to that.

    ``number`` is from 1 to the run's repetitions; a void one is measured again, with the next ``attempt``.
    ``conditions`` are what the board was like: load, temperature, frequency before and after.
    """

    record: Literal["repetition"] = "repetition"
    cell: str
    number: Annotated[int, Field(ge=1)]
    attempt: Annotated[int, Field(ge=1)] = 1
    session: int
    environment: Digest | None = None
    clock: Clock
    started: Moment
    seconds: Finite
    void: Void | None = None
    why: str = ""
    metrics: tuple[Metric, ...] = ()
    work: Work = Work()
    costs: tuple[Cost, ...] = ()
    conditions: dict[str, Finite] = Field(default_factory=dict)
    before: ProofSeen | None = None
    after: ProofSeen | None = None
    raw: tuple[Raw, ...] = ()


class RowSeen(Part):
    """A row of a deployment's whole proof: of what, what had to be shown, what was expected and seen.

    One that is ``noted`` is told, and neither proves nor fails anything.
    """

    subject: str
    what: str
    expected: str
    seen: str
    proven: bool
    noted: bool = False


class Deployment(Part):
    """A variant was deployed for a round of repetitions, how, and how long that took.

    ``rows`` are its whole proof, with what each backend could reach: the rows before and after a repetition are the
    cheap ones alone.
    """

    record: Literal["deployment"] = "deployment"
    variant: str
    board: str
    session: int
    started: Moment
    seconds: Finite
    rebooted: bool = False
    generation: str = ""
    failure: tuple[Fault, ...] = ()
    rows: tuple[RowSeen, ...] = ()


class Moved(Part):
    """Cells that are compared with each other go on with another board, from the first repetition.

    What was measured of them before this record, on the boards that are lost, does not count.
    """

    record: Literal["moved"] = "moved"
    cells: tuple[str, ...]
    session: int
    at: Moment
    before: str
    after: str
    why: str


class Ended(Part):
    """A session's end; without this record it was cut off. ``boards`` says what each was left running."""

    record: Literal["ended"] = "ended"
    session: int
    at: Moment
    how: Literal["complete", "interrupted", "failed"]
    boards: dict[str, str] = Field(default_factory=dict)


Record = Annotated[Run | Session | Environment | Deployment | Repetition | Moved | Ended, Field(discriminator="record")]
"""One line of ``run.jsonl``."""

RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def records_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a line of ``run.jsonl``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **RECORD.json_schema()}
