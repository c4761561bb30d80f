"""The building blocks of the model: strict base class, names, sizes, addresses.

A type here says what a single value may look like. What values mean together is said in
``vtool.check``, where a rule can point at two places at once.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vtool.language import VARIABLE_NAME
from vtool.units import MAX_CPU, parse_cpu_list, parse_size


class Model(BaseModel):
    """Base of everything a user writes: frozen, strict, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _to_size(value: Any) -> int:
    size = parse_size(value)
    if size == 0:
        raise ValueError("a size cannot be zero")
    if size >> 60:
        raise ValueError("a size is less than 1 EiB")
    return size


def _to_address(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"an address is a whole number such as 0x4000_0000, not {value!r}")


Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9-]{0,30}$",
        description="a name: a lower-case letter, then at most 30 lower-case letters, digits or '-'",
    ),
]
"""Names of boards, domains, regions and devices: they become unit names, device-tree labels, xl names."""

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

# Other readers of YAML take a number with underscores for a text.
_AddressInput = (
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F][0-9a-fA-F_]*|[1-9][0-9_]*)$")]
)
Address = Annotated[
    int,
    BeforeValidator(_to_address, json_schema_input_type=_AddressInput),
    Field(description="a physical address such as 0x4000_0000"),
]
"""A physical address in bytes; written as 0x4000_0000."""

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

DeviceTreePath = Annotated[
    str,
    Field(
        pattern=r"^(/[A-Za-z0-9,._+-]{1,31}(@[0-9A-Za-z,]{1,31})?)+$",
        description="the path of a device-tree node such as /soc/ethernet@e6800000",
    ),
]
"""Devicetree Specification v0.4, 2.2.1 and 2.2.3."""

BlockDevicePath = Annotated[
    str,
    Field(
        pattern=r"^/dev(/[A-Za-z0-9][A-Za-z0-9._-]{0,63})+$",
        max_length=200,
        description="the path of a block device such as /dev/xvdb",
    ),
]
"""A block device inside a driver domain."""

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
