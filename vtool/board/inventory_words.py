"""The words of an inventory: names, addresses, keys and command lines.

Every word that reaches a command line is narrow here: no name can be an option, a wildcard or a template.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vtool.model.types import Line, MayHoldSecrets

LocalPath = Annotated[
    str,
    Field(
        min_length=1,
        pattern=r"^[^\x00-\x1f\x7f\"'{}%\\]+$",
        description="the path of a file on this machine, without quotes, braces, % and backslashes",
    ),
]
"""As seen from the inventory's folder; ``~`` is the user's home."""

HostName = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$",
        description="the name or address of a host",
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]
UserName = Annotated[
    str,
    Field(
        pattern=r"^[a-z_][a-z0-9_-]{0,31}$",
        description="a user's name: a lower-case letter or '_', then at most 31 of a-z, 0-9, '_' and '-'",
    ),
]
HostKey = Annotated[
    str,
    Field(
        pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*( [^\x00-\x1f\x7f]*)?$",
        description="a public host key such as ssh-ed25519 AAAA... (see /etc/ssh/ssh_host_ed25519_key.pub there)",
    ),
]
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
