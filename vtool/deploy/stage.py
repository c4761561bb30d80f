"""From artifacts in memory to the files of a generation: compile, merge, name by content.

What comes out is complete: every file with its
digest, the generation's and the boot set's names, the digest of what each unit is made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from vtool.base.once import once_per_file
from vtool.base.runtime import working_folder
from vtool.base.units import MIB, AddressRange
from vtool.board.own_system import OwnFile, OwnSystem
from vtool.check.loads import too_large
from vtool.deploy.base_tree import fitted, refused, refused_loads
from vtool.deploy.board_program import board_program
from vtool.deploy.disks import disk_entries, disk_of
from vtool.deploy.merge import compile_overlay, merge_host, run_tool
from vtool.deploy.merged_tree import absent_nodes, as_booted, new_faults
from vtool.deploy.needs import needs_of
from vtool.deploy.own_kernel import for_own_system
from vtool.deploy.partial_tree import other_nodes
from vtool.deploy.proof import Proof, proofs, saved
from vtool.deploy.transfer import checksums_of
from vtool.diagnostics import Diagnostic, Severity, VtoolError, board_failed
from vtool.files.boot_files import BootFile, look_at
from vtool.files.kernel_image import GZIP, unpacked
from vtool.files.kinds import Found
from vtool.files.kinds import Kind as FileKind
from vtool.images.disks import disk_file
from vtool.model.board_facts import Boot, UBoot
from vtool.model.load_windows import load_windows
from vtool.model.topology import OF_THE_BOARD
from vtool.plan.types import BoardPlan, Bridge
from vtool.platform.devicetree import Node, Tree, read_blob
from vtool.platform.host_memory import Taken
from vtool.render import render
from vtool.render.artifacts import Artifact, ArtifactSet, Kind, Place

_STAGED_BYTES = 16 * MIB


def stage_folder(boards: int) -> AbstractContextManager[Path]:
    """Make a folder for staging: in memory where there is room, since a disk that others sync is slow to remove files.

    Images are not copied there; what is made for a board, its device trees above all, takes a few MiB.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is this user's alone
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > boards * _STAGED_BYTES
    return working_folder(memory if has_room else Path(tempfile.gettempdir()), "vtool-staged-")


@dataclass(frozen=True)
class StagedFile:
    """One file as it will lie on the board; ``path`` is where its bytes are here, or ``own`` where they are there.

    ``asked_by`` is the part of the topology that made it necessary, ``image`` the reference it comes from.
    """

    place: Place
    name: str
    mode: int
    path: Path | None
    sha256: str
    size_bytes: int
    used_by: tuple[str, ...]
    asked_by: tuple[str, ...] = ()
    image: str = ""
    own: OwnFile | None = None

    @property
    def content(self) -> bytes:
        """Return the bytes of what is not the board's own."""
        assert self.path is not None
        return self.path.read_bytes()


@dataclass(frozen=True)
class Staged:
    """A complete generation: its files, the JSON that vtool-board applies, and what it will have to show.

    ``board`` is the plan that it is made of, with what the board's own tree says. ``images`` are what its disks begin
    as, by digest; a board is sent those of disks that it has not yet.
    """

    files: tuple[StagedFile, ...]
    generation: dict[str, Any]
    proofs: list[Proof]
    board: BoardPlan
    images: Mapping[str, Path] = field(default_factory=dict)

    @property
    def objects(self) -> dict[str, Path]:
        """Return every file that a board may have to be sent, by its digest."""
        return {**{file.sha256: file.path for file in self.files if file.path}, **self.images}


def stage(
    topology: str,
    board: BoardPlan,
    artifacts: ArtifactSet,
    base_tree: bytes,
    image_path: Callable[[str], Path],
    work: Path,
    own: OwnSystem | None = None,
) -> Staged:
    """Compile and merge what rendering made into ``work``. ``own`` is what the board runs now, where that is taken.

    Raises VtoolError VT417, VT496, VT505, VT701, VT702, VT713, VT817 to VT820 for what the base tree has no room for,
    and lint's codes for what Xen or Linux would not take of the merged one.
    """
    tree = read_blob(base_tree)
    found = [*absent_nodes(tree, board), *refused(board, tree), *other_nodes(board, image_path)]
    if errors := [finding for finding in found if finding.severity is Severity.ERROR]:
        raise VtoolError(errors)
    (work / "base.dtb").write_bytes(base_tree)
    images: dict[str, Path] = {}
    files = [
        _of_the_board(artifact, board, own)
        if artifact.kind is Kind.IMAGE and artifact.content == OF_THE_BOARD
        else _stage_disk(artifact, board, image_path, work, images)
        if artifact.kind is Kind.DISK
        else _stage_one(artifact, board, image_path, work)
        for artifact in artifacts.pushed
    ]
    _lint(board, tree, files)
    (work / "vtool-board").write_bytes(board_program())
    program = Artifact(Place.GENERATION, "vtool-board", Kind.TEXT, "", ("boards", board.name), mode=0o755)
    files.append(_staged(program, program.name, work / "vtool-board"))
    shown = proofs(board)
    kept = Artifact(Place.GENERATION, saved.NAME, Kind.TEXT, saved.to_json(shown), ("boards", board.name))
    files.append(_stage_one(kept, board, image_path, work))
    files.sort(key=lambda file: (file.place.value, file.name))
    return Staged(tuple(files), _generation(topology, board, files), shown, board, images)


def stage_on(
    topology: str,
    board: BoardPlan,
    base_tree: bytes,
    image_path: Callable[[str], Path],
    work: Path,
    running: Tree | None = None,
    own: OwnSystem | None = None,
) -> Staged:
    """Render for the board's own tree and system, and stage. Raises VtoolError as ``stage``, and VT455, VT813, VT821.

    ``running`` is the tree of the system that runs, where another one is merged into that may not know firmware.
    """
    if running is not None:
        errors = [found for found in refused(board, running) if found.severity is Severity.ERROR]
        if errors:
            raise VtoolError(errors)
    board = fitted(board, read_blob(base_tree), f"the device tree of board '{board.name}'")
    if own is not None:
        board = for_own_system(board, own)
    return stage(topology, board, render(board), base_tree, image_path, work, own)


def _lint(board: BoardPlan, base: Tree, files: list[StagedFile]) -> None:
    """Refuse, with lint's codes, what Xen or Linux would not take: what the base came with is not the plan's fault."""
    sizes = {file.name: file.size_bytes for file in files if file.place is Place.BOOT}
    partial = {guest.device_tree.file for guest in board.xen_boot.guests if guest.device_tree}
    partial |= {f"domains/{guest.name}/partial.dtb" for guest in board.xen_guests if guest.passthrough}
    found = refused_loads(base, _loads(board, sizes))
    for file in files:
        if file.name in partial:
            found += new_faults(Tree(Node("", "/", None)), read_blob(file.content), board.xen_release)
        if file.name == "board.dtb":
            booted = read_blob(as_booted(file.content, board, sizes))
            found += new_faults(base, booted, board.xen_release)
    if errors := [finding for finding in found if finding.severity is Severity.ERROR]:
        raise VtoolError(errors)


def _loads(board: BoardPlan, sizes: Mapping[str, int]) -> Iterator[Taken]:
    """Yield what U-Boot loads where, beside boot modules, which Xen is told of."""
    load = board.facts.load
    if load is None:
        return
    places = {"Image": load.kernel, "board.dtb": load.device_tree, "xen": load.hypervisor}
    if board.control.ramdisk_window is not None:
        places["initrd"] = board.control.ramdisk_window.base
    for name, base in places.items():
        if size := sizes.get(name):
            yield Taken(f"'{name}', which the boot loader puts there,", AddressRange.of_size(base, size))


def _stage_one(artifact: Artifact, board: BoardPlan, image_path: Callable[[str], Path], work: Path) -> StagedFile:
    if artifact.kind is Kind.IMAGE:
        path = image_path(artifact.content)
        if artifact.place is Place.BOOT and artifact.name in _LOADED:
            path = _to_be_loaded(artifact, path, work)
        _check_window(artifact, board, artifact.name, path)
        return _staged(artifact, artifact.name, path)
    source = work / artifact.place.value / artifact.name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(artifact.content)
    name, output = artifact.name, source
    match artifact.kind:
        case Kind.TEXT:
            pass
        case Kind.OVERLAY:
            name, output = artifact.name.removesuffix(".dts") + ".dtbo", compile_overlay(source)
        case Kind.TREE:
            name, output = artifact.name.removesuffix(".dts") + ".dtb", source.with_suffix(".dtb")
            # Quiet: a node of the board may be such that dtc warns. What Xen and Linux do not take, lint says.
            run_tool(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(output), str(source)])
        case Kind.HOST_OVERLAY:
            name = artifact.name.removesuffix(".dts") + ".dtb"
            output = source.with_suffix(".dtb")
            output.write_bytes(merge_host(work / "base.dtb", source, board))
            _check_window(artifact, board, name, output)
        case Kind.BOOT_SCRIPT:
            name = artifact.name.removesuffix(".cmd") + ".scr"
            output = source.with_suffix(".scr")
            command = ["mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-n", name, "-d", str(source)]
            run_tool([*command, str(output)])
        case Kind.DISK:
            raise AssertionError("_stage_disk does that")
        case _ as never:
            assert_never(never)
    return _staged(artifact, name, output)


def _of_the_board(artifact: Artifact, board: BoardPlan, own: OwnSystem | None) -> StagedFile:
    """Return a file of a boot set that lies on the board: as vtool-board puts it there, a kernel unpacked."""
    assert own is not None, "who stages what the board runs asks the board for it"
    file = own.kernel if artifact.name == "Image" else own.ramdisk
    assert file is not None, "the plan was changed where there is none"
    offset, size = file.header or (0, 0)
    kind = Found(FileKind.KERNEL, FileKind.KERNEL.value)
    started = BootFile(kind, file.path, file.size_bytes, text_offset=offset, image_size=size or None)
    _require_room(board, artifact.name, f"'{file.path}' of board '{board.name}'", file.size_bytes, started)
    return StagedFile(
        place=artifact.place,
        name=artifact.name,
        mode=artifact.mode,
        path=None,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        used_by=artifact.used_by,
        asked_by=artifact.asked_by,
        image=artifact.content,
        own=file,
    )


def _stage_disk(
    artifact: Artifact, board: BoardPlan, image_path: Callable[[str], Path], work: Path, images: dict[str, Path]
) -> StagedFile:
    """Make what a disk begins as, and the file of the generation that says which that is."""
    disk = disk_of(board, Path(artifact.name).stem)
    path = disk_file(image_path(artifact.content) if artifact.content else None, disk)
    digest = _digest_of(path)
    images[digest] = path
    told = {"sha256": digest, "size_bytes": path.stat().st_size, "source": Path(artifact.content).name}
    note = work / artifact.place.value / artifact.name
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(told, sort_keys=True) + "\n")
    return _staged(artifact, artifact.name, note)


def begin(board: BoardPlan, image_path: Callable[[str], Path]) -> None:
    """Begin with what takes long of staging, while the board is reached; what fails is told later.

    That is compiling templates, and reading the images of disks.
    """

    def ahead() -> None:
        with contextlib.suppress(VtoolError):
            render(board)
        for guest in board.guests:
            for disk in (disk for device in guest.devices for disk in device.files if disk.image):
                reference = disk.image.reference if disk.image else ""
                with contextlib.suppress(VtoolError, OSError):
                    path = disk_file(image_path(reference) if reference else None, disk)
                    _digest_of(path)
                    checksums_of(path)

    threading.Thread(target=ahead, daemon=True).start()


def _to_be_loaded(artifact: Artifact, path: Path, work: Path) -> Path:
    """Return what a loader is given of a board's kernel or hypervisor: unpacked, whatever the file is.

    ``booti`` unpacks only into what ``kernel_comp_addr_r`` names, firmware not at all. VtoolError VT505.
    """
    with path.open("rb") as stream:
        if stream.read(2) != GZIP:
            return path
        stream.seek(0)
        output = work / artifact.place.value / artifact.name
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with output.open("wb") as target:
                target.writelines(unpacked(stream))
        except ValueError as error:
            message = f"'{artifact.content}' cannot be used: it is {error}"
            raise VtoolError(Diagnostic("VT505", message)) from None
    return output


def _check_window(artifact: Artifact, board: BoardPlan, name: str, path: Path) -> None:
    """Refuse what is larger than the room that it is loaded into (VtoolError VT713)."""
    if artifact.place is Place.BOOT:
        what = f"'{artifact.content}'" if artifact.kind is Kind.IMAGE else f"the device tree of board '{board.name}'"
        _require_room(board, name, what, path.stat().st_size, look_at(path) if _starts(board, name) else None)


def _require_room(board: BoardPlan, name: str, what: str, size_bytes: int, started: BootFile | None) -> None:
    windows = {module.file: module.window for module in board.xen_boot.modules}
    windows |= {"initrd": board.control.ramdisk_window} if board.control.ramdisk_window else {}
    window = windows.get(name) or load_windows(board.facts).get(_LOADED.get(name, ""))
    message = too_large(what, window, size_bytes, started if _starts(board, name) else None) if window else None
    if message is not None:
        raise board_failed("VT713", message)


def _starts(board: BoardPlan, name: str) -> bool:
    """Whether the loader itself starts a file: the hypervisor, or the kernel where there is none."""
    return name == ("Image" if board.xen_image is None else "xen")


_LOADED = {"Image": "kernel", "xen": "hypervisor", "board.dtb": "device_tree"}
"""What of a boot set goes to which of the facts' load addresses."""


def _staged(artifact: Artifact, name: str, path: Path) -> StagedFile:
    about = path.stat()
    digest = _digest_of(path)
    return StagedFile(
        place=artifact.place,
        name=name,
        mode=artifact.mode,
        path=path,
        sha256=digest,
        size_bytes=about.st_size,
        used_by=artifact.used_by,
        asked_by=artifact.asked_by,
        image=artifact.content if artifact.kind is Kind.IMAGE else "",
    )


@once_per_file
def _digest_of(path: Path) -> str:
    """Return a file's digest; an image that many boards use is read once."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _generation(topology: str, board: BoardPlan, files: list[StagedFile]) -> dict[str, Any]:
    boot = [f for f in files if f.place is Place.BOOT]
    units = sorted({unit for file in files for unit in file.used_by})
    # What each is made of, by the disk's name.
    made = {Path(f.name).stem: json.loads(f.path.read_text()) for f in files if f.path and f.name.startswith("disks/")}
    return {
        "format": 2,
        "topology": topology,
        "board": board.name,
        "generation": _digest(files),
        "boot_set": _digest(boot),
        "boot": _boot(board.facts.boot) if board.facts.boot else None,
        "files": [
            {
                "place": f.place.value,
                "name": f.name,
                "mode": f.mode,
                "sha256": f.sha256,
                "size_bytes": f.size_bytes,
                "used_by": list(f.used_by),
                **({"own": {"path": f.own.path, "packed": f.own.packed}} if f.own else {}),
            }
            for f in files
        ],
        "units": {unit: _digest(f for f in files if unit in f.used_by) for unit in units},
        "needs": needs_of(files),
        "disks": disk_entries(board, made),
        "networks": [*map(_bridge, board.bridges), *({"direct": name} for name in board.direct)],
    }


def _bridge(bridge: Bridge) -> dict[str, Any]:
    """Write what the board is to look at of a bridge before it is changed."""
    said: dict[str, Any] = {"name": bridge.name}
    if bridge.address:
        said["network"] = bridge.network
    if bridge.existing:
        said["existing"] = True
    return {**said, "uplink": bridge.uplink} if bridge.uplink else said


def _boot(facts: Boot) -> dict[str, Any]:
    said: dict[str, Any] = {"loader": facts.loader, "mount": facts.partition_mount}
    if not isinstance(facts, UBoot):
        return said
    if isinstance(facts.state, str):
        return {**said, "state": facts.state}
    return {**said, "state_device": facts.state.device, "state_sector": facts.state.sector}


def _digest(files: Iterable[StagedFile]) -> str:
    return name_of_files((f.place.value, f.name, f.mode, f.sha256) for f in files)


def name_of_files(files: Iterable[tuple[str, str, int, str]]) -> str:
    """Return what a generation or boot set of these files (place, name, mode, SHA-256) is called."""
    lines = [f"{place} {name} {mode:o} {digest}\n" for place, name, mode, digest in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
