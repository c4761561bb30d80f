"""What a bundle says of itself: the first member of the file, and the only one that is believed before it is checked.

docs/reference/bundle-format.md says what each part means. Enter at ``Manifest``.
"""

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from vtool.bundle import MANIFEST
from vtool.images import PREFIX
from vtool.results.records import Digest, Part

FORMAT: Literal["vtool-bundle"] = "vtool-bundle"
VERSION: Literal[1] = 1
"""The version of bundles that this vtool reads and writes: one more with every change that is not an addition."""
MOST_MEMBER_BYTES = 4 << 30
"""More than any image; what the header of a tar can say is twice this."""
FILES, IMAGES, LABS, RESULTS = "files", "images", "labs", "results"
"""The folders of a bundle: what users wrote, what vtool built, what it decided, what was measured."""


def _is_plain(text: str) -> str:
    """Refuse a name that could lead anywhere but below the folder it is seen from. ValueError."""
    parts = text.split("/")
    if not text.isprintable() or "\\" in text or any(part in ("", ".", "..") for part in parts):
        raise ValueError("a member's name is relative, without '.', '..', '\\\\' and control characters")
    if text == MANIFEST or parts[0] not in (FILES, IMAGES, LABS, RESULTS) or len(parts) < 2:
        raise ValueError(f"a member is in one of the folders {FILES}, {IMAGES}, {LABS}, {RESULTS}")
    return text


MemberPath = Annotated[str, AfterValidator(_is_plain), Field(max_length=255)]
"""A member's name, with ``/`` between folders."""


def _is_shown(text: str) -> str:
    """Refuse what a terminal would take for a command. ValueError."""
    if not text.isprintable():
        raise ValueError("there are control characters in it")
    return text


Words = Annotated[str, AfterValidator(_is_shown), Field(max_length=4096)]
"""What is shown to whoever opens a bundle."""


class Member(Part):
    """A file of the bundle, with its size and the SHA-256 of its content."""

    path: MemberPath
    bytes: Annotated[int, Field(ge=0, le=MOST_MEMBER_BYTES)]
    digest: Digest


def _is_image(text: str) -> str:
    """Refuse what is neither an image of vtool's own nor a member below ``files``. ValueError."""
    if not re.fullmatch(rf"{PREFIX}[a-z0-9][a-z0-9.-]*", text) and not _is_plain(text).startswith(f"{FILES}/"):
        raise ValueError(f"an image is {PREFIX}NAME, or a file below {FILES}/")
    return text


class MadeOf(Part):
    """What an image of vtool's own is made of: the SHA-256 of all that goes into its recipe, and of other images."""

    inputs: Digest
    images: dict[Words, Digest] = Field(default_factory=dict)


class Image(Part):
    """A kernel, ramdisk, hypervisor or program that boards get as it is.

    ``name`` is ``vtool:NAME``, or where it lies or would lie in the bundle. ``made_of`` is known of vtool's own.
    """

    name: Annotated[str, AfterValidator(_is_image), Field(max_length=255)]
    bytes: Annotated[int, Field(ge=0, le=MOST_MEMBER_BYTES)]
    digest: Digest
    made_of: MadeOf | None = None

    @property
    def member(self) -> str:
        """Return the name of its file, where the bundle has it."""
        own = self.name.startswith(PREFIX)
        return f"{IMAGES}/{self.name.removeprefix(PREFIX)}" if own else self.name


class BoardPart(Part):
    """What a lab needs of a board, which is known by its name alone: how it is reached stays at home.

    ``facts_digest`` is of the facts as vtool read them, ``firmware`` of the device tree that the board's firmware hands
    over, ``generation`` the name of what is deployed. Without boards the latter two are not known.
    """

    facts: Words
    facts_digest: Digest
    images: tuple[Words, ...]
    firmware: Digest | None = None
    generation: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None


class Lab(Part):
    """One topology with what was merged over it, and what vtool makes of it, in ``folder``.

    ``digest`` is the SHA-256 of the merged topology as JSON with sorted keys and no spaces.
    """

    id: Words
    folder: MemberPath
    topology: MemberPath
    overlays: tuple[MemberPath, ...] = ()
    settings: tuple[Words, ...] = ()
    digest: Digest
    boards: dict[Words, BoardPart]

    @property
    def lock(self) -> str:
        """Return the name of its lock file: every number that vtool chose."""
        return f"{self.folder}/lock.json"


class Manifest(Part):
    """All of a bundle. ``of`` says what it was made of; a run's labs are its variants that can be deployed."""

    format: Literal["vtool-bundle"] = FORMAT
    version: Literal[1] = VERSION
    vtool: Words
    of: Literal["topology", "run"]
    name: Words
    labs: Annotated[tuple[Lab, ...], Field(min_length=1)]
    images: tuple[Image, ...]
    members: tuple[Member, ...]

    def faults(self) -> list[str]:
        """Return what its parts say against each other."""
        members = {member.path: member for member in self.members}
        names = [member.path for member in self.members]
        found = [f"'{name}' is there twice" for name, number in Counter(names).items() if number > 1]
        if names != sorted(names):
            found.append("its members are not sorted by their names")
        folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
        found += [f"'{name}' is a file and a folder" for name in sorted(members.keys() & folders)]
        wanted = [file for lab in self.labs for file in (lab.topology, *lab.overlays, lab.lock)]
        found += [f"'{file}' is named and not there" for file in dict.fromkeys(wanted) if file not in members]
        for image in self.images:
            file = members.get(image.member)
            if file is not None and (file.digest, file.bytes) != (image.digest, image.bytes):
                found.append(f"'{file.path}' is not the image '{image.name}'")
        unique = {
            "labs": [lab.id for lab in self.labs],
            "folders": [lab.folder for lab in self.labs],
            "images": [image.name for image in self.images],
        }
        return found + [f"two of its {what} have one name" for what, ids in unique.items() if len(ids) != len(set(ids))]


def bundle_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a bundle's manifest."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
