"""The building blocks of the model: strict base class, names, sizes, addresses.

A type here says what a single value may look like. What values mean together is said in
``vtool.check``, where a rule can point at two places at once.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from vtool.base.units import KIB, MAX_CPU, MIB, parse_cpu_list, parse_size
from vtool.model.partial import Unsound
from vtool.reading.language import VARIABLE_NAME


class Model(BaseModel):
    """Base of everything a user writes: frozen, strict, unknown keys are errors.

    All fields of one that was checked are set; one of a file with faults lacks what is wrong (vtool.model.partial).
    Its validator is built when it is first needed: by itself, or as a part of another model's. Modules of models
    do without ``from __future__ import annotations``: pydantic would compile the text of each annotation again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                return super().__getattr__(name)
            raise Unsound(name)


class MayHoldSecrets:
    """Marks a type whose values may hold secrets: they are never shown."""


class FoundByTag:
    """Marks a place for one of several models told apart by a key: each is found when a document has such a value.

    Importing all types of devices and building their validators takes longer than the rest of ``vtool validate``.
    Schema and errors are those of a union: what has a fault is read once more, by all.
    """

    def __init__(
        self, key: str, find: Callable[[str], type[Model] | None], every: Callable[[], tuple[type[Model], ...]]
    ) -> None:
        self.key, self.find, self.every = key, find, every

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        for model in self.every():
            model.model_rebuild()
        return handler(self._union({tag: model.__pydantic_core_schema__ for tag, model in self._tagged()}))

    def _read(self, value: Any) -> Any:
        if isinstance(value, Model):
            return value
        # As JSON, for the reason that ``vtool.model.validate`` has.
        text = json.dumps(value)
        tag = value.get(self.key) if isinstance(value, dict) else None
        model = self.find(tag) if isinstance(tag, str) else None
        if model is not None:
            with suppress(ValidationError):
                return model.model_validate_json(text)
        return self._by_all.validate_json(text)

    @functools.cached_property
    def _by_all(self) -> SchemaValidator:
        return SchemaValidator(self._union({tag: _reader(model) for tag, model in self._tagged()}))

    def _tagged(self) -> Iterator[tuple[str, type[Model]]]:
        for model in self.every():
            yield get_args(model.model_fields[self.key].annotation)[0], model

    def _union(self, choices: Mapping[Any, CoreSchema]) -> CoreSchema:
        return core_schema.tagged_union_schema(dict(choices), self.key)


def _reader(model: type[Model]) -> CoreSchema:
    return core_schema.no_info_plain_validator_function(lambda value: model.model_validate_json(json.dumps(value)))


def _to_size(value: Any) -> int:
    size = parse_size(value)
    if size == 0:
        raise ValueError("a size cannot be zero")
    if size >> 60:
        raise ValueError("a size is less than 1 EiB")
    return size


def _to_address(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        if value >> 64:
            raise ValueError("an address has at most 64 bits")
        return value
    raise ValueError(f"an address is a whole number such as 0x4000_0000, not {value!r}")


_NAME = r"^[a-z][a-z0-9-]{0,30}$"


def is_name(text: str) -> bool:
    """Whether a text may be a name; VT204 is said of a key that is none."""
    return re.match(_NAME, text) is not None


Name = Annotated[
    str,
    Field(
        pattern=_NAME,
        description="a name: a lower-case letter, then at most 30 lower-case letters, digits or '-'",
    ),
]
"""Names of boards, domains, regions and devices: they become unit names, device-tree labels, xl names."""

SocketPath = Annotated[
    str,
    Field(
        pattern=r"^/[A-Za-z0-9_.@:/-]{1,106}$",
        description="the path of a socket on the board: '/', then at most 106 letters, digits or any of _.@:/-",
    ),
]
"""A path that fits into a sockaddr_un (unix(7)), with nothing in it that QEMU or a unit would read otherwise."""

_SizeInput = (
    Annotated[int, Field(ge=1, lt=1 << 60)]
    | Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F][0-9a-fA-F_]*|[1-9][0-9_]*) ?(B|KiB|MiB|GiB|TiB)?$")]
)
Size = Annotated[
    int,
    BeforeValidator(_to_size, json_schema_input_type=_SizeInput),
    Field(description="a size such as 16MiB: bytes, or a whole number with B, KiB, MiB, GiB or TiB"),
]
"""Bytes, above zero; written as 16MiB."""

GRANULES = (4 * KIB, 16 * KIB, 64 * KIB)
"""Page sizes of arm64 (Arm DDI 0487, D8.1; Linux ARM64_4K_PAGES, ARM64_16K_PAGES, ARM64_64K_PAGES)."""


def _one_of(sizes: tuple[int, ...], words: str) -> Callable[[Any], int]:
    def to_size(value: Any) -> int:
        size = parse_size(value)
        if size not in sizes:
            raise ValueError(words)
        return size

    return to_size


HUGE_PAGES = (64 * KIB, 2 * MIB, 32 * MIB, 512 * MIB, 1024 * MIB)
"""Sizes of arm64's huge pages, of which a kernel has those that its own page size gives.

Linux Documentation/arch/arm64/hugetlbpage.rst.
"""


_HugePageInput = (
    Literal[65536, 2097152, 33554432, 536870912, 1073741824]
    | Annotated[str, Field(pattern=r"^(64 ?KiB|(2|32|512) ?MiB|1 ?GiB)$")]
)
HugePageSize = Annotated[
    int,
    BeforeValidator(
        _one_of(HUGE_PAGES, "huge pages are of 64KiB, 2MiB, 32MiB, 512MiB or 1GiB"),
        json_schema_input_type=_HugePageInput,
    ),
    Field(description="the size of huge pages: 64KiB, 2MiB, 32MiB, 512MiB or 1GiB"),
]
"""Bytes; a size of huge pages."""

_GranuleInput = Literal[4096, 16384, 65536] | Annotated[str, Field(pattern=r"^(4|16|64) ?KiB$")]
Granule = Annotated[
    int,
    BeforeValidator(_one_of(GRANULES, "a granule is 4KiB, 16KiB or 64KiB"), json_schema_input_type=_GranuleInput),
    Field(description="the page size of a kernel: 4KiB, 16KiB or 64KiB"),
]
"""Bytes; the page size of an arm64 kernel."""

# Other readers of YAML take a number with underscores for a text.
_AddressInput = (
    Annotated[int, Field(ge=0, lt=1 << 64)]
    | Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F][0-9a-fA-F_]*|[1-9][0-9_]*)$")]
)
Address = Annotated[
    int,
    BeforeValidator(_to_address, json_schema_input_type=_AddressInput),
    Field(description="a physical address such as 0x4000_0000"),
]
"""A physical address in bytes; written as 0x4000_0000."""

MOST_VECTOR_BITS = 2048
VECTOR_STEP_BITS = 128
LONGEST_VECTOR = 0
"""The value of ``sve: max``: what the platform has."""


def _to_vector_bits(value: Any) -> int:
    if value == "max":
        return LONGEST_VECTOR
    steps = range(VECTOR_STEP_BITS, MOST_VECTOR_BITS + 1, VECTOR_STEP_BITS)
    if isinstance(value, int) and not isinstance(value, bool) and value in steps:
        return value
    raise ValueError(f"{value!r} is not a vector length: a multiple of 128 up to 2048 bits, or max")


VectorBits = Annotated[
    int,
    BeforeValidator(
        _to_vector_bits,
        json_schema_input_type=Annotated[
            int, Field(ge=VECTOR_STEP_BITS, le=MOST_VECTOR_BITS, multiple_of=VECTOR_STEP_BITS)
        ]
        | Literal["max"],
    ),
    Field(description="the longest SVE vector: a multiple of 128 up to 2048 bits, or max"),
]
"""Bits of an SVE vector; LONGEST_VECTOR where ``max`` is written."""

_CpuNumber = Annotated[int, Field(ge=0, le=MAX_CPU)]
_CpuListInput = (
    _CpuNumber
    | Annotated[str, Field(pattern=r"^[0-9]{1,4}(-[0-9]{1,4})?(, ?[0-9]{1,4}(-[0-9]{1,4})?)*$")]
    | Annotated[list[_CpuNumber], Field(min_length=1)]
)
CpuList = Annotated[
    tuple[int, ...],
    BeforeValidator(parse_cpu_list, json_schema_input_type=_CpuListInput),
    Field(description="numbers of CPUs such as 0-3,5 or [0, 1, 4]"),
]
"""CPU numbers, ascending, each once, at least one."""
ColourList = Annotated[
    tuple[int, ...],
    BeforeValidator(functools.partial(parse_cpu_list, what="colour"), json_schema_input_type=_CpuListInput),
    Field(description="numbers of colours such as 0-3,5 or [0, 1, 4]"),
]
"""Colours of the last-level cache, ascending, each once, at least one."""

SecurityLabel = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.,-]+){2,3}$",
        max_length=100,
        description="a label of FLASK such as system_u:system_r:domU_t",
    ),
]

IncludedFiles = Annotated[
    tuple[Annotated[str, Field(min_length=1, pattern=r"^[^/]")], ...],
    Field(description="files merged before this one, in order; as seen from the folder of this file"),
]
Variables = Annotated[
    dict[
        Annotated[
            str,
            Field(
                pattern=f"^{VARIABLE_NAME}$",
                description="a variable's name: a lower-case letter, then at most 30 of a-z, 0-9, _ and -",
            ),
        ],
        str | int | bool,
    ],
    Field(description="values that stand where ${name} is written in any other value"),
]

ImageReference = Annotated[
    str,
    Field(
        min_length=1,
        pattern=r"^[^\x00-\x1f]+$",
        description="an image: vtool:NAME, or the path of a file beside the topology",
    ),
]
"""``vtool:NAME`` is an image that vtool builds; anything else is a file beside the topology."""

MacAddress = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$",
        description="a MAC address such as 52:54:00:12:34:56, in lower case",
    ),
]

KernelArguments = Annotated[
    str,
    Field(
        pattern=r"^[\x20-\x7e]*$",
        max_length=1024,
        description="words for a kernel command line: one line of at most 1024 printable ASCII characters",
    ),
]
"""Words for a kernel command line: printable ASCII, one line."""

ExtraLine = Annotated[
    str,
    Field(
        pattern=r"^[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*$",
        max_length=1000,
        description="one line of at most 1000 printable ASCII characters, in the words of the program that reads it",
    ),
]
"""A line that vtool hands on to xl, dtc, QEMU or systemd (vtool.platform.extra)."""

UnitExtra = Annotated[
    dict[Literal["Unit", "Service"], tuple[ExtraLine, ...]],
    Field(description="settings of systemd by their section, as a drop-in has them: {Service: [Nice=5]}"),
]

DeviceTreePath = Annotated[
    str,
    Field(
        pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9,._+-]{0,30}(@[0-9A-Za-z,]{1,31})?)+$",
        description="the path of a device-tree node such as /soc/ethernet@e6800000",
    ),
]
"""Devicetree Specification v0.4, 2.2.1 and 2.2.3; a name begins with a letter, and with `_` or a digit all the same."""

PciAddress = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$",
        description="the address of a PCI device as lspci -D shows it, such as 0000:01:00.0",
    ),
]
"""Domain, bus, device and function of a PCI device of the board."""

BlockDevicePath = Annotated[
    str,
    Field(
        pattern=r"^/dev(/[A-Za-z0-9][A-Za-z0-9._-]{0,63})+$",
        max_length=200,
        description="the path of a block device such as /dev/xvdb",
    ),
]
"""A block device inside a driver domain."""

BoardDevicePath = Annotated[
    str,
    Field(
        pattern=r"^/dev(/[A-Za-z0-9_.:+=@-]{1,255})+$",
        max_length=400,
        description="a block device of the board such as /dev/disk/by-partlabel/guest",
    ),
]
"""A partition or logical volume; what udev would have to escape in a name, and ``#``, are left out."""

FileBeside = Annotated[
    str,
    Field(
        min_length=1,
        pattern=r"^[^\x00-\x1f]+$",
        description="the path of a file beside the topology",
    ),
]

XvdName = Annotated[
    str,
    Field(pattern="^xvd[a-z]([1-9]|1[0-5])?$", description="a name from xvda to xvdz, or of a partition such as xvda1"),
]
"""xen-vbd-interface(7). Other names are for guests that look for these; Linux names all of them xvd."""

BoardFileName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="a plain file name: a letter or digit, then at most 63 letters, digits, '.', '_' or '-'",
    ),
]
"""A file in vtool's own folder on the board: a plain name, never a path."""

Line = Annotated[
    str,
    Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$", description="one line of text"),
]

NodePath = Annotated[
    str,
    Field(
        pattern=r"^(/|(/[A-Za-z0-9,._+@-]+)+)$",
        description="a path in the device tree, such as /cpus/cpu@0",
    ),
]
"""The absolute path of a device-tree node."""

FactsReference = Annotated[
    str,
    Field(
        pattern=r"^([a-z][a-z0-9-]{0,30}|[^\x00-\x1f\x7f]*(/[^\x00-\x1f\x7f]*|\.yaml))$",
        description="the name of a facts file that vtool ships, or the path of one such as ./my-board.yaml",
    ),
]
"""A shipped facts file by its name; anything with a '/' or ending in .yaml is a file beside the topology."""
