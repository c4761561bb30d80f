"""What an inventory says: the shape of ``inventory/*.yaml``, one entry a board, one kind of entry a driver."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vtool.board.inventory_words import Address, CommandLine, PlaceName, TagKey, TagValue
from vtool.board.power import PowerEntry
from vtool.model.host_words import HostKey, HostName, LocalPath, Port, UserName
from vtool.model.types import FactsReference, ImageReference, MayHoldSecrets, Model, Name


class BoardEntry(Model):
    """What is said of any board. One that ``stands_for`` a board of topologies is one of those that it may be."""

    facts: FactsReference
    stands_for: Name | None = None


class EmulatedEntry(BoardEntry):
    """A board made of QEMU on this machine.

    With ``clock: instructions`` its time is what it executes, which repeats where the machine's own time does not.
    ``disk`` is what it boots instead of vtool's own system: an image of vtool's or a file, copied when the board is
    made, whose ext4 partition named `root` (GPT) gets its keys; ``user`` may log in there, the first user or root.
    """

    driver: Literal["emulated"]
    clock: Literal["machine", "instructions"] = "machine"
    disk: ImageReference | None = None
    user: UserName = "root"


class ConsoleAccess(Model):
    """A file that another program keeps what the console says in, a command that joins the console, or both."""

    log: LocalPath | None = None
    join: CommandLine | None = None


class SshEntry(BoardEntry):
    """A board that is reached over ssh, with what power and console this machine has of it."""

    driver: Literal["ssh"]
    host: HostName
    port: Port = 22
    user: UserName = "root"
    identity_file: LocalPath | None = None
    host_key: HostKey | None = None
    known_hosts_file: LocalPath | None = None
    device_tree: LocalPath | None = None
    power: Annotated[PowerEntry | None, MayHoldSecrets()] = None
    console: Annotated[ConsoleAccess | None, MayHoldSecrets()] = None


class LabgridEntry(BoardEntry):
    """A place of a labgrid coordinator, by its name or by its tags, or any of those with such tags.

    The place's NetworkService says host, port and user.
    """

    driver: Literal["labgrid"]
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
