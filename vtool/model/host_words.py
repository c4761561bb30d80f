"""The words that say how a host is reached: names, addresses, keys, files of this machine.

Every word that reaches a command line is narrow here: no name can be an option, a wildcard or a template.
"""

from typing import Annotated

from pydantic import Field

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
