"""What rendering makes: files in memory, each with its place on the board and why it exists.

Text is final; only compilation (dtc, fdtoverlay, mkimage) is left to ``vtool.deploy.stage``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Place(Enum):
    """Where an artifact goes: vtool's folder on the board, its boot partition, or other tools."""

    GENERATION = "generation"
    BOOT = "boot"
    EXPORT = "export"
    """Not pushed: for other tools, written by ``vtool render`` only."""


class Kind(Enum):
    """What has to happen to an artifact before it is pushed."""

    TEXT = "text"
    OVERLAY = "overlay"
    """Device-tree overlay source; compiled to ``.dtbo``."""
    HOST_OVERLAY = "host-overlay"
    """Device-tree overlay source for the host; merged into the board's base tree."""
    TREE = "tree"
    """Device-tree source of a guest's partial tree; compiled to ``.dtb``."""
    BOOT_SCRIPT = "boot-script"
    """U-Boot commands; wrapped by mkimage into ``.scr``."""
    IMAGE = "image"
    """A reference to an image, not text."""
    DISK = "disk"
    """A reference to the image that a disk begins as, or nothing for an empty one; its digest is pushed instead."""


@dataclass(frozen=True)
class Artifact:
    """One file: ``name`` is relative to its place, ``content`` is text or, for IMAGE, the reference.

    ``asked_by`` is the data path in the topology that made it necessary; ``used_by`` are the units that
    restart when it changes.
    """

    place: Place
    name: str
    kind: Kind
    content: str
    asked_by: tuple[str, ...]
    used_by: tuple[str, ...] = ()
    mode: int = 0o644


@dataclass(frozen=True)
class ArtifactSet:
    """All artifacts of one board, ordered by place and name, names unique."""

    board: str
    artifacts: tuple[Artifact, ...]

    def __post_init__(self) -> None:
        keys = [(artifact.place.value, artifact.name) for artifact in self.artifacts]
        if keys != sorted(set(keys)):
            raise ValueError(f"artifacts of '{self.board}' are not unique and sorted: {keys}")

    @property
    def pushed(self) -> tuple[Artifact, ...]:
        """Return what goes to the board."""
        return tuple(artifact for artifact in self.artifacts if artifact.place is not Place.EXPORT)

    def get(self, name: str) -> Artifact:
        """Return the artifact of that name; KeyError when there is none."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(name)
