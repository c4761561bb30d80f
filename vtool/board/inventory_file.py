"""What an inventory says: the shape of ``inventory/*.yaml``, one entry a board, one kind of entry a driver.

Every word that reaches a command line is narrow here: no name can be an option, a wildcard or a template.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vtool.model.types import FactsReference, Line, MayHoldSecrets, Model, Name

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


class EmulatedEntry(Model):
    """A board made of QEMU on this machine."""

    driver: Literal["emulated"]
    facts: FactsReference


class PowerCommands(Model):
    """Commands of this machine that switch a board; ``status`` ends with 0 for on, 1 for off."""

    on: CommandLine
    off: CommandLine
    status: CommandLine


class ConsoleAccess(Model):
    """A file that another program keeps what the console says in, a command that joins the console, or both."""

    log: LocalPath | None = None
    join: CommandLine | None = None


class SshEntry(Model):
    """A board that is reached over ssh, with what power and console this machine has of it."""

    driver: Literal["ssh"]
    facts: FactsReference
    host: HostName
    port: Port = 22
    user: UserName = "root"
    identity_file: LocalPath | None = None
    host_key: HostKey | None = None
    known_hosts_file: LocalPath | None = None
    device_tree: LocalPath | None = None
    power: Annotated[PowerCommands | None, MayHoldSecrets()] = None
    console: Annotated[ConsoleAccess | None, MayHoldSecrets()] = None


class LabgridEntry(Model):
    """A place of a labgrid coordinator, by its name or by its tags, or any of those with such tags.

    The place's NetworkService says host, port and user.
    """

    driver: Literal["labgrid"]
    facts: FactsReference
    coordinator: Address = "127.0.0.1:20408"
    place: PlaceName | None = None
    tags: Annotated[dict[TagKey, TagValue], Field(min_length=1)] | None = None
    wait_s: Annotated[int, Field(ge=0, le=86400)] = 0
    identity_file: LocalPath | None = None
    host_key: HostKey | None = None
    known_hosts_file: LocalPath | None = None
    device_tree: LocalPath | None = None


Entry = Annotated[EmulatedEntry | SshEntry | LabgridEntry, Field(discriminator="driver")]


class InventoryFile(Model):
    """An inventory: board name to entry. A key in it that is not known may be one for a password."""

    unknown_keys_hold_secrets: ClassVar[bool] = True

    version: Literal[1]
    boards: Annotated[dict[Name, Entry], Field(min_length=1)]
