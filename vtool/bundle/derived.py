"""What vtool makes of a lab's topology: the members of a bundle that follow from the others.

Whoever makes a bundle and whoever checks one ask the same, of files that are laid out as they are in the bundle; so
nothing in them knows where that was. Enter at ``derived``.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtool.base.records import record
from vtool.bench.cells import Ready
from vtool.bench.matrix import digest_of
from vtool.deploy.stage import name_of_files
from vtool.images import PREFIX
from vtool.images.named_files import WANTED
from vtool.model.topology import OF_THE_BOARD
from vtool.model.validate import is_path, known_facts
from vtool.plan.lock import format_lock
from vtool.plan.types import BoardPlan
from vtool.render import render
from vtool.render.artifacts import Kind
from vtool.report.summary import plan_data

_READ_TO_PLAN = ("config",)
"""Of the files that a topology names, what is a text that plans depend on: always in the bundle."""


@record
class Derived:
    """What follows from a topology: files by names within the lab's folder, and by board the images it gets as is."""

    files: Mapping[str, bytes]
    images: Mapping[str, Sequence[str]]


def derived(ready: Ready, root: Path) -> Derived:
    """Return what vtool makes of a topology below ``root``."""
    images: dict[str, list[str]] = {}
    found = {
        "lock.json": format_lock(ready.plan).encode(),
        "plan.json": as_json(_without(plan_data(ready.plan), f"{root}/")),
    }
    for board in ready.plan.boards:
        artifacts, kinds = render(board).artifacts, (Kind.IMAGE, Kind.DISK)
        named = {artifact.content for artifact in artifacts if artifact.kind in kinds and artifact.content}
        images[board.name] = sorted(named - {OF_THE_BOARD})
        for artifact in artifacts:
            if artifact.kind not in kinds:
                name = f"{board.name}/artifacts/{artifact.place.value}/{artifact.name}"
                found[name] = artifact.content.encode()
    return Derived(found, images)


def as_json(value: Any) -> bytes:
    """Return plain data in its only spelling."""
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def _without(value: Any, prefix: str) -> Any:
    """Return plain data in whose texts the name of a folder is left out."""
    if isinstance(value, dict):
        return {key: _without(item, prefix) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, prefix) for item in value]
    return value.replace(prefix, "") if isinstance(value, str) else value


def files_in(generation: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each file of a generation, by ``place/name``.

    ValueError for what is none, or has another name than its files make (``vtool.deploy.stage``).
    """
    try:
        rows = [(str(f["place"]), str(f["name"]), int(f["mode"]), str(f["sha256"])) for f in generation["files"]]
        name = generation["generation"]
    except (KeyError, TypeError):
        raise ValueError("it is no generation") from None
    if name != name_of_files(rows):
        raise ValueError("its files are of another generation")
    return {f"{place}/{name}": digest for place, name, _, digest in rows}


def included(files: Iterable[str], value_of: Callable[[str], Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each entry of ``include`` in files and in what they include: the file, the entry, the file that it means.

    A file is read when the entry that names it was taken: who refuses one ends it there. What is no entry is left out:
    the reader of topologies says so.
    """
    todo, done = [*files], set[str]()
    while todo:
        file = todo.pop()
        if file in done:
            continue
        done.add(file)
        value = value_of(file)
        entries = value.get("include") if isinstance(value, dict) else None
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, str) and not posixpath.isabs(entry):
                means = name_in_bundle(file, entry)
                yield file, entry, means
                todo.append(means)


def name_in_bundle(file: str, reference: str) -> str:
    """Return how a bundle calls what a file in it refers to; it may lead out of it. Images of vtool's own stay so."""
    return reference if reference.startswith(PREFIX) else posixpath.normpath(f"{posixpath.dirname(file)}/{reference}")


def facts_digest(board: BoardPlan) -> str:
    """Return the SHA-256 of a board's facts as vtool read them, whatever their file looks like."""
    return digest_of(plan_data(board.facts))


def named_files(value: Any) -> Iterator[tuple[str, bool]]:
    """Yield each file that a merged topology names, and whether it is read to plan; of vtool's own images none."""
    shipped = known_facts()
    boards, domains = (_mappings(value, key) for key in ("boards", "domains"))
    places: list[Mapping[str, Any]] = [*domains]
    for board in boards:
        facts = board.get("facts")
        if isinstance(facts, str) and facts not in shipped and is_path(facts):
            yield facts, True
        if isinstance(board.get("hypervisor"), dict):
            places.append(board["hypervisor"])
    for device in _mappings(value, "devices"):
        scsi = device.get("scsi")
        luns = scsi.get("disks") if isinstance(scsi, dict) else None
        for disk in (device.get("disk"), *(luns if isinstance(luns, list) else ())):
            if isinstance(disk, dict) and isinstance(disk.get("source"), str):
                yield disk["source"], False
    for place in places:
        for key in WANTED:
            reference = place.get(key)
            of_the_board = key in ("kernel", "ramdisk") and reference == OF_THE_BOARD
            if isinstance(reference, str) and not reference.startswith(PREFIX) and not of_the_board:
                yield reference, key in _READ_TO_PLAN


def _mappings(value: Any, key: str) -> list[Mapping[str, Any]]:
    inner = value.get(key) if isinstance(value, dict) else None
    return [item for item in inner.values() if isinstance(item, dict)] if isinstance(inner, dict) else []
