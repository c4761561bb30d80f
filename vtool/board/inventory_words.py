"""The words of an inventory: names, addresses, keys and command lines.

Every word that reaches a command line is narrow here: no name can be an option, a wildcard or a template.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vtool.model.types import Line, MayHoldSecrets

CommandLine = Annotated[tuple[Line, ...], Field(min_length=1), MayHoldSecrets()]
"""The words of a command, run without a shell; a password may be among them."""

PlaceName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="a place's name: a letter or digit, then at most 63 letters, digits, '.', '_' or '-'",
    ),
]
TagKey = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]+$", description="a tag's key: a lower-case letter, then a-z, 0-9 and '_'")
]
TagValue = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="a tag's value: letters, digits, '.', '_', '-'"),
]
Address = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
        description="HOST or HOST:PORT",
    ),
]
