"""From topologies, or a run folder, to a bundle. Enter at ``bundle_of``.

What users wrote is taken as it is, each file where it lies below the folder that all of them have in common. It is laid
out in a private folder first, and planned there: what is in the bundle is what its reader will make of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from vtool.base.progress import Progress
from vtool.base.records import record
from vtool.bench.cells import Prepare, Ready
from vtool.bench.matrix import digest_of
from vtool.bundle.archive import Content, member_of
from vtool.bundle.derived import as_json, derived, facts_digest, included, name_in_bundle, named_files
from vtool.bundle.failures import refused
from vtool.bundle.manifest import FILES, LABS, RESULTS, BoardPart, Image, Lab, MadeOf, Manifest, Member
from vtool.deploy.difference import Target, wanted_of
from vtool.diagnostics import Diagnostic, Severity, VtoolError
from vtool.diagnostics.codes import declare
from vtool.files.regular import read_regular, reason_of
from vtool.images import PREFIX
from vtool.images.build import ensure
from vtool.plan.lock import format_lock, lock_path
from vtool.reading.source import read
from vtool.results.run_folder import RECORDS, RunRead

declare(
    "VT968",
    what="this cannot be bundled",
    why="A bundle is deployed where its maker's folders are not, and holds results only with what was measured.",
    example="kernel: /srv/images/Image",
    fix="Write paths as seen from the topology's folder; measure again what was changed since.",
)
ImagePaths = Callable[[Ready], Callable[[str], Path]]
"""Builds what a topology needs; returns how any image's file is found."""
Targets = Callable[[Ready], Sequence[Target]]


@record
class Wish:
    """A topology that is to be bundled.

    ``id`` and ``digest``, that of the merged topology, are of the variant that was measured.
    """

    topology: Path
    overlays: tuple[Path, ...] = ()
    settings: tuple[str, ...] = ()
    id: str = ""
    digest: str | None = None


@record
class Means:
    """How the topologies are read and their images found; without ``targets`` no board is asked for anything."""

    prepare: Prepare
    image_paths: ImagePaths
    targets: Targets | None
    progress: Progress


@record
class Made:
    """A bundle that is to be written, and warnings. Its contents are read while it is written."""

    manifest: Manifest
    contents: Mapping[str, Content]
    warnings: tuple[Diagnostic, ...] = ()


def wishes_of(run: RunRead) -> list[Wish]:
    """Return the variants of a run that could be deployed."""
    return [
        Wish(run.file(one.topology), tuple(map(run.file, one.overlays)), one.settings, one.id, one.digest)
        for one in run.run.variants
        if not one.faults
    ]


def bundle_of(
    wishes: Sequence[Wish], means: Means, vtool: str, *, with_images: bool, run: RunRead | None = None
) -> Made:
    """Return everything that a bundle holds. VtoolError VT968, and of reading, planning, building and staging."""
    originals = _originals(wishes, means)
    sources = _Sources(wishes, originals)
    contents: dict[str, Content] = dict(sources.texts)
    images: dict[str, Image] = {}
    labs: list[Lab] = []
    with tempfile.TemporaryDirectory(prefix="vtool-bundle-") as folder:
        root = Path(folder)
        sources.lay_out(root)
        for number, (wish, original) in enumerate(zip(wishes, originals, strict=True), 1):
            lab = _Making(root, sources, means, wish, original, f"{LABS}/{number}")
            labs.append(lab.made(contents))
            images |= lab.images
            if with_images:
                contents |= lab.files
    if run is not None:
        contents |= _results(run)
    return Made(
        Manifest(
            vtool=vtool,
            of="topology" if run is None else "run",
            name=run.run.name if run else originals[0].topology.name,
            labs=tuple(labs),
            images=tuple(images[key] for key in sorted(images)),
            members=tuple(_member(path, contents[path]) for path in sorted(contents)),
        ),
        contents,
        tuple(run.warnings if run else ()) + tuple(_other_generations(labs, run)),
    )


def require_raw(run: RunRead) -> None:
    """Refuse a run without the tools' output that its records name, before anything is built. VtoolError VT968."""
    named = [run.folder / raw.path for one in run.repetitions for raw in one.raw]
    lacks = [path for path in named if not path.exists()]
    if not lacks:
        return
    message = (
        f"{len(lacks)} of {len(named)} outputs of tools that '{run.folder / RECORDS}' names are not there: "
        f"'{lacks[0]}' is the first"
    )
    hints = (
        "a bundle holds results with the outputs that they are of: bundle the run folder where it was measured, or "
        "copy all of it",
        "records alone can be compared and reported: vtool compare, vtool report",
        "a bundle of the lab without its results: vtool bundle TOPOLOGY -o FILE",
    )
    raise VtoolError(Diagnostic("VT968", message, hints=hints))


def _originals(wishes: Sequence[Wish], means: Means) -> list[Ready]:
    """Read the topologies where they lie. VtoolError VT968 where that is not what was measured."""
    if not wishes:
        raise VtoolError(Diagnostic("VT968", "the run has no variant that could be deployed"))
    measured = [wish for wish in wishes if wish.digest is not None]
    for wish in measured:
        for path in (wish.topology, *wish.overlays):
            if not path.exists():
                hint = "a run finds them from its folder, as they lay when it began; or call this where vtool bench was"
                message = f"'{path}' of variant '{wish.id}' is not there"
                raise VtoolError(Diagnostic("VT968", message, hints=(hint,)))
    originals = [means.prepare(wish.topology, wish.overlays, wish.settings) for wish in wishes]
    for wish, ready in zip(wishes, originals, strict=True):
        if wish.digest not in (None, digest_of(ready.document.value)):
            message = f"the topology of variant '{wish.id}' has changed since it was measured"
            raise VtoolError(Diagnostic("VT968", message, hints=("measure it again: vtool bench -o NEW",)))
    return originals


def _member(name: str, content: Content) -> Member:
    try:
        return member_of(name, content)
    except OSError as error:
        raise refused("VT100", Path(str(content)), f"cannot be read: {reason_of(error)}") from None
    except ValidationError:
        raise refused("VT968", Path(name), "is no name that a bundle can hold, or the file is too large") from None


class _Sources:
    """The files that topologies are written in or name. ``texts`` are by name in the bundle, ``others`` are images."""

    def __init__(self, wishes: Sequence[Wish], originals: Sequence[Ready]) -> None:
        texts: set[Path] = set()
        others: set[Path] = set()
        for wish, ready in zip(wishes, originals, strict=True):
            tops = [_absolute(path) for path in (wish.topology, *wish.overlays)]
            more = included(map(str, tops), lambda name: read(Path(name)).value)
            texts |= {*tops, *(Path(means) for _, _, means in more)}
            for reference, is_text in named_files(ready.document.value):
                if Path(reference).is_absolute():
                    hint = "write it as seen from the folder of the topology; it may begin with ../"
                    message = f"'{reference}', which '{wish.topology}' names, is absolute"
                    raise VtoolError(Diagnostic("VT968", message, hints=(hint,)))
                (texts if is_text else others).add(_absolute(wish.topology.parent / reference))
        self._root = Path(os.path.commonpath([path.parent for path in texts | others]))
        self.texts = {self.name(path): _read(path) for path in sorted(texts)}
        self.others = {self.name(path): path for path in sorted(others)}

    def name(self, path: Path) -> str:
        """Return where a file lies in the bundle."""
        return f"{FILES}/{_absolute(path).relative_to(self._root).as_posix()}"

    def lay_out(self, root: Path) -> None:
        """Write what was read into a folder as the bundle has it; images are only linked."""
        for name, text in self.texts.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text)
        for name, path in self.others.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(path)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links stay: where they lead to is content


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise refused("VT100", path, f"cannot be read: {reason_of(error)}") from None


class _Making:
    """One lab in the making. ``images`` and ``files`` are those that it needs: described, and where they lie."""

    def __init__(self, root: Path, sources: _Sources, means: Means, wish: Wish, original: Ready, folder: str) -> None:
        self._means, self._wish, self._folder = means, wish, folder
        self._topology = sources.name(wish.topology)
        self._overlays = tuple(map(sources.name, wish.overlays))
        self._root = root
        path = root / self._topology
        lock_path(path).write_text(format_lock(original.plan))
        self.ready = means.prepare(path, [root / name for name in self._overlays], wish.settings)
        self._digest = digest_of(self.ready.document.value)
        if self._digest != digest_of(original.document.value):
            what = "reads otherwise where its links are files: name each file once"
            raise refused("VT968", wish.topology, what)
        self._path_of = means.image_paths(self.ready)
        self.images: dict[str, Image] = {}
        self.files: dict[str, Content] = {}

    def made(self, contents: dict[str, Content]) -> Lab:
        """Describe the lab, and add what follows from it."""
        made = derived(self.ready, self._root)
        contents |= {f"{self._folder}/{name}": data for name, data in made.files.items()}
        self._describe(sorted({reference for each in made.images.values() for reference in each}))
        means = self._means
        targets = means.targets(self.ready) if means.targets else []
        wanted = wanted_of(self.ready.topology.name, targets, self._path_of)
        boards = {}
        for board in self.ready.plan.boards:
            staged = wanted.get(board.name)
            if staged is not None:
                contents[f"{self._folder}/{board.name}/generation.json"] = as_json(staged.generation)
            boards[board.name] = BoardPart(
                facts=board.facts.name,
                facts_digest=facts_digest(board),
                images=tuple(sorted(self._name(reference) for reference in made.images[board.name])),
                firmware=staged.firmware if staged else None,
                generation=staged.generation["generation"] if staged else None,
            )
        return Lab(
            id=self._wish.id or self.ready.topology.name,
            folder=self._folder,
            topology=self._topology,
            overlays=self._overlays,
            settings=self._wish.settings,
            digest=self._digest,
            boards=boards,
        )

    def _describe(self, references: Sequence[str]) -> None:
        own = [reference.removeprefix(PREFIX) for reference in references if reference.startswith(PREFIX)]
        built = ensure(own, self._means.progress)
        for reference in references:
            # A link is followed now: the folder that it lies in does not outlast this.
            path = Path(os.path.realpath(self._path_of(reference)))
            about = _member(f"{FILES}/image", path)
            made_of = None
            if (image := built.get(reference.removeprefix(PREFIX))) is not None and reference.startswith(PREFIX):
                made_of = MadeOf(inputs=digest_of(image.manifest["inputs"]), images=dict(image.manifest["needs"]))
            described = Image(name=self._name(reference), bytes=about.bytes, digest=about.digest, made_of=made_of)
            self.images[described.name] = described
            self.files[described.member] = path

    def _name(self, reference: str) -> str:
        """Return how the bundle calls an image: vtool's own as the topology does, others by where they lie."""
        return name_in_bundle(self._topology, reference)


def _results(run: RunRead) -> Iterator[tuple[str, Content]]:
    """Yield the whole records of a run, and the tools' output that they name. VtoolError VT968 where that changed."""
    records = run.folder / RECORDS
    yield f"{RESULTS}/{RECORDS}", _read_records(records, run.whole_bytes)
    for repetition in run.repetitions:
        for raw in repetition.raw:
            path = run.folder / raw.path
            name = f"{RESULTS}/{raw.path}"
            about = _member(name, path)
            if (about.digest, about.bytes) != (raw.digest, raw.bytes):
                raise refused("VT968", path, f"is not what '{records}' says that was measured")
            yield name, path


def _read_records(path: Path, whole_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(whole_bytes)
    except OSError as error:
        raise refused("VT100", path, f"cannot be read: {reason_of(error)}") from None


def _other_generations(labs: Sequence[Lab], run: RunRead | None) -> Iterator[Diagnostic]:
    """Warn of what was measured of another generation than vtool makes now."""
    made = {(lab.id, board): part.generation for lab in labs for board, part in lab.boards.items()}
    told: set[tuple[str, str]] = set()
    for one in run.deployments if run else ():
        key = (one.variant, one.board)
        now = made.get(key)
        if now and one.generation and one.generation != now and key not in told:
            told.add(key)
            message = f"variant '{one.variant}' was measured on '{one.board}' as generation {one.generation}"
            hint = "vtool, an image or the board's firmware changed since; the bundle has what vtool makes now"
            yield Diagnostic("VT968", f"{message}, now it is {now}", hints=(hint,), severity=Severity.WARNING)
