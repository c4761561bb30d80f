"""Disks of guests: files that begin empty or as an image, and devices of the board that are given away.

A disk that starts anew with another image is a file of the generation that did that, with a link in the generation's
folder: what a guest wrote before is there as long as anything leads back to it. All others are files that stay. Enter
at ``check``, which changes nothing, and ``make``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from . import qcow2
from .base import FOLDER, STORE, BoardError, read_json, replace_file, replace_link, sync_folder
from .delta import data_ranges, first_base
from .given import check_device, is_empty, mounted
from .typed import Any

DISKS = FOLDER / "disks"
ANEW = ".anew"
"""The folder below that has the files of disks that start anew; no disk's name begins so."""
OURS = ".ours.json"
"""What vtool was let write to, and which devices it was given: what is found there later is its own or a guest's."""


def files(generation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the disks of a generation that are files."""
    return [disk for disk in generation["disks"] if "path" in disk] if generation else []


def devices(generation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return those that are devices of the board."""
    return [disk for disk in generation["disks"] if "device" in disk]


def link(generation: dict[str, Any], disk: dict[str, Any]) -> Path:
    """Return the link to the file of a disk that starts anew."""
    return FOLDER / "generations" / str(generation["generation"]) / "disks" / str(disk["name"])


def file_of(generation: dict[str, Any], disk: dict[str, Any]) -> Path:
    """Return the file of a disk of a generation that was laid out."""
    if not disk.get("resets"):
        return Path(disk["path"])
    way = link(generation, disk)
    return Path(os.readlink(way)) if way.is_symlink() else way


def target(disk: dict[str, Any], generation: dict[str, Any], running: dict[str, Any] | None) -> tuple[Path, bool]:
    """Return the file that a disk is to have, and whether it has to be made."""
    if not disk.get("resets"):
        path = Path(disk["path"])
        return path, not path.exists()
    about = ("name", "resets", "image", "size_bytes", "format")
    for other in files(running):
        if running and all(other.get(key) == disk.get(key) for key in about):
            path = file_of(running, other)
            if path.exists():
                return path, False
    return DISKS / ANEW / f"{disk['name']}-{generation['generation']}", True


def to_make(generation: dict[str, Any], running: dict[str, Any] | None) -> list[tuple[dict[str, Any], Path]]:
    """Return the disks that have to be made, each with its file."""
    found = [(disk, *target(disk, generation, running)) for disk in files(generation)]
    return [(disk, path) for disk, path, is_new in found if is_new]


def images(generation: dict[str, Any], running: dict[str, Any] | None) -> dict[str, int]:
    """Return the images that disks to be made begin as: bytes by digest."""
    return {d["image"]["sha256"]: d["image"]["size_bytes"] for d, _ in to_make(generation, running) if d.get("image")}


def bases(
    wanted: dict[str, Any], missing: set[str], older: list[dict[str, Any] | None]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each image that is missing for which an older generation has a disk of that name or from that file."""
    for disk in files(wanted):
        digest = disk.get("image", {}).get("sha256")
        if digest not in missing:
            continue
        alike = [
            (other["name"] != disk["name"], str(file_of(generation, other)))
            for generation in older
            if generation
            for other in files(generation)
            if other.get("image") and (disk["name"] == other["name"] or disk["source"] == other["source"])
        ]
        if base := first_base((Path(path), str(Path(path).relative_to(FOLDER))) for _, path in sorted(alike)):
            yield digest, base


def needed_bytes(generation: dict[str, Any], running: dict[str, Any] | None) -> int:
    """Return what the disks that have to be made may grow to, without what is there of their images."""
    there = sum(path.stat().st_blocks * 512 for d in images(generation, running) if (path := STORE / d).exists())
    wanted = 0
    for disk, _ in to_make(generation, running):
        wanted += max(disk["size_bytes"] or 0, disk.get("image", {}).get("size_bytes", 0))
    return max(0, wanted - there)


# ---------------------------------------------------------------- before anything changes


def check(generation: dict[str, Any], running: dict[str, Any] | None, older: list[dict[str, Any] | None]) -> None:
    """Raise VT466 for a device that cannot be given away, VT467 for scratch space with data in it, VT706 for sizes."""
    ours = read_json(DISKS / OURS) or {}
    for disk in files(generation):
        path, is_new = target(disk, generation, running)
        if not is_new:
            _check_file(disk, path)
            before = [other for one in older for other in files(one) if other["path"] == disk["path"]]
            # Before there were records of it, whatever was there was vtool's.
            if all("scratch" in other for other in before):
                _check_scratch(disk, path, ours)
    runs = [disk["device"] for disk in devices(running)] if running else []
    for disk in devices(generation):
        check_device(
            disk,
            generation["boot"],
            runs=disk["device"] in runs,
            known=disk["device"] in ours.get("devices", ()),
        )
        _check_scratch(disk, Path(disk["device"]), ours)
    numbers: dict[int, str] = {}
    for disk in devices(generation):
        other = numbers.setdefault(Path(disk["device"]).stat().st_rdev, disk["device"])
        if other != disk["device"]:
            raise BoardError("VT466", f"{other} and {disk['device']} are one device of the board, given to two guests")


def _check_file(disk: dict[str, Any], path: Path) -> None:
    made, wanted = read_json(_record(path)) or {}, disk.get("format", "raw")
    with path.open("rb") as stream:
        head = stream.read(32)
    size, is_qcow2 = path.stat().st_size, made.get("format", wanted) == "qcow2" and head.startswith(qcow2.MAGIC)
    found = "qcow2" if is_qcow2 else "raw"
    hint = ["give the disk another file name, or change it on the board yourself"]
    if found != wanted:
        raise BoardError("VT706", f"disk {path} is there as a {found} file, the topology says {wanted}", hint)
    if is_qcow2:
        size = qcow2.size_of(head)
    if disk.get("sized", True) and size != disk["size_bytes"]:
        hint = ["give the disk another file name, or change its size on the board yourself"]
        raise BoardError("VT706", f"disk {path} is {size} bytes, the topology says {disk['size_bytes']}", hint)


def _check_scratch(disk: dict[str, Any], path: Path, ours: dict[str, Any]) -> None:
    scratch = disk.get("scratch")
    if scratch and [str(path), *scratch] not in ours.get("scratch", []) and not is_empty(path, *scratch):
        raise BoardError(
            "VT467",
            f"`verify: write` writes to the last {(scratch[1] - scratch[0]) >> 20} MiB of {path}, and there is data",
            [
                "leave out `verify: write`; or, if nobody needs what is there, make it zeros: "
                f"dd if=/dev/zero of={path} bs=1M seek={scratch[0] >> 20} count={(scratch[1] - scratch[0]) >> 20} "
                "conv=notrunc"
            ],
        )


def require_there(generation: dict[str, Any]) -> None:
    """Raise VT468 when a generation that was laid out has lost a disk."""
    for disk in files(generation):
        path = file_of(generation, disk)
        if not path.exists():
            message = f"disk {path} of generation {generation['generation']} is not there any more"
            raise BoardError("VT468", message, ["deploy its topology again, which makes it anew"])


def lost(generation: dict[str, Any]) -> list[str]:
    """Return the disks of a generation that are not there, by what they are called in words."""
    gone = [f"disk {Path(disk['path']).name}" for disk in files(generation) if not file_of(generation, disk).exists()]
    return gone + [disk["device"] for disk in devices(generation) if not Path(disk["device"]).is_block_device()]


# ---------------------------------------------------------------- making them


def make(generation: dict[str, Any], running: dict[str, Any] | None) -> None:
    """Make the disks that are not there yet, and let vtool's users have them; what is in one that is there stays."""
    for folder in (DISKS, DISKS / ANEW):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
    found = [(disk, *target(disk, generation, running)) for disk in files(generation)]
    new = [(disk, path) for disk, path, is_new in found if is_new]
    for number, (disk, path) in enumerate(new):
        image = disk.get("image")
        again = any(other.get("image") == image for other, _ in new[number + 1 :])
        _make(disk, path, keeps_object=again)
    for disk, path, _ in found:
        if disk.get("resets"):
            way = link(generation, disk)
            way.parent.mkdir(exist_ok=True)
            replace_link(way, path)
        _give(path)
    _remember(generation, running)


def changed(generation: dict[str, Any], running: dict[str, Any] | None, *, laid_out: bool) -> list[str]:
    """Return what becomes of disks that start anew with another image, in words; none where all stay as they are.

    ``laid_out``: the generation is gone back to, and has its disks.
    """
    before = {disk["name"]: file_of(running, disk) for disk in files(running) if running and disk.get("resets")}
    words = []
    for disk in files(generation):
        if disk.get("resets") and disk["name"] in before:
            path = file_of(generation, disk) if laid_out else target(disk, generation, running)[0]
            what = "is as that generation left it" if laid_out else f"starts anew from {disk['source']}"
            words += [f"disk {disk['name']} {what}"] if path != before[disk["name"]] else []
    return words


def _make(disk: dict[str, Any], path: Path, *, keeps_object: bool) -> None:
    """Make one file beside its place, and put it there when it is whole and on the disk."""
    partial, image = path.with_name(f".{path.name}.partial"), disk.get("image")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    if image is None:
        partial.touch()
    else:
        source = STORE / image["sha256"]
        if not source.exists():
            message = f"the image that disk {path} begins as is not on the board"
            raise BoardError("VT468", message, ["deploy again"])
        if keeps_object or source.stat().st_dev != path.parent.stat().st_dev:
            copy_sparse(source, partial)
        else:
            source.rename(partial)
    with partial.open("r+b") as stream:
        if disk.get("format", "raw") == "raw" and disk["size_bytes"]:
            stream.truncate(disk["size_bytes"])
        os.fsync(stream.fileno())
    if image is not None:
        record = {"sha256": image["sha256"], "format": disk.get("format", "raw"), "source": disk.get("source", "")}
        replace_file(_record(path), json.dumps(record).encode())
    partial.rename(path)
    sync_folder(path.parent)


def copy_sparse(source: Path, copy: Path) -> None:
    """Copy a file with its holes."""
    with source.open("rb", buffering=0) as old, copy.open("wb", buffering=0) as new:
        for start, end in data_ranges(old):
            at = start
            while at < end:
                at += os.pwrite(new.fileno(), os.pread(old.fileno(), min(1 << 20, end - at), at), at)
        new.truncate(os.fstat(old.fileno()).st_size)


def _give(path: Path) -> None:
    shutil.chown(path, "vtool-backend", "vtool")
    path.chmod(0o600)


def _record(path: Path) -> Path:
    return path.with_name(f".{path.name}.made")


def _remember(generation: dict[str, Any], running: dict[str, Any] | None) -> None:
    """Note what vtool may write to from now on, and which devices it has."""
    ours = read_json(DISKS / OURS) or {}
    scratch, given = ours.get("scratch", []), ours.get("devices", [])
    for disk in generation["disks"]:
        path = disk.get("device") or str(target(disk, generation, running)[0])
        if disk.get("scratch"):
            scratch.append([path, *disk["scratch"]])
        if "device" in disk:
            given.append(path)
    unique = [json.loads(text) for text in sorted({json.dumps(one) for one in scratch})]
    if unique or given:
        replace_file(DISKS / OURS, json.dumps({"scratch": unique, "devices": sorted(set(given))}).encode())


def collect(kept: list[dict[str, Any]]) -> None:
    """Remove the files of disks that started anew since, and to which no generation that is kept leads."""
    needed = {file_of(generation, disk) for generation in kept for disk in files(generation) if disk.get("resets")}
    for path in (DISKS / ANEW).glob("*"):
        if not path.name.startswith(".") and path not in needed:
            path.unlink()
            with contextlib.suppress(FileNotFoundError):
                _record(path).unlink()
    for path in (*DISKS.glob(".*.partial"), *(DISKS / ANEW).glob(".*.partial")):
        path.unlink()


def give_back() -> list[str]:
    """Let the board's own user have the devices again; return those that there are."""
    given = [path for path in (read_json(DISKS / OURS) or {}).get("devices", []) if Path(path).is_block_device()]
    for path in given:
        with contextlib.suppress(LookupError, OSError):
            shutil.chown(path, "root", "disk")
    return given


# ---------------------------------------------------------------- looking


def look(generation: dict[str, Any], path: str) -> dict[str, Any]:
    """Say of a disk of a generation what it was made of, in which format its file is, and where it is mounted."""
    disk = next(d for d in generation["disks"] if path in (d.get("path"), d.get("device")))
    if "device" in disk:
        return {"mounted": ", ".join(mounted(Path(path).stat().st_rdev)) or "nowhere"}
    file = file_of(generation, disk)
    with file.open("rb") as stream:
        is_qcow2 = stream.read(4) == qcow2.MAGIC
    made = read_json(_record(file)) or {}
    return {
        "format": "qcow2" if is_qcow2 and made.get("format") == "qcow2" else "raw",
        "made": made.get("sha256", ""),
        "wanted": disk.get("image", {}).get("sha256", ""),
    }
