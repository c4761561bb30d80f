"""A bundle that was read: its labs laid out in a private folder, as if they had been written here. Enter at ``opened``.

What is in one was chosen by somebody else. Nothing of a lab is read from outside of that folder but what the manifest
knows by its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vtool.bench.cells import Prepare, Ready
from vtool.bench.matrix import digest_of
from vtool.bundle.archive import read_bundle
from vtool.bundle.derived import derived, facts_digest, files_in, images_of, included, name_in_bundle, named_files
from vtool.bundle.failures import refused
from vtool.bundle.manifest import LABS, RESULTS, Image, Lab, Manifest
from vtool.deploy.difference import Target, wanted_of
from vtool.diagnostics import Diagnostic, ExitCode, Span, VtoolError, board_failed, nearest, source_line
from vtool.diagnostics.codes import declare
from vtool.files.json_text import from_json
from vtool.files.regular import fault_of, read_text, reason_of
from vtool.images import PREFIX
from vtool.images.store import file_sha256
from vtool.plan.lock import lock_path
from vtool.reading.language import read_topology
from vtool.reading.source import read
from vtool.results.run_folder import RECORDS, read_run

declare(
    "VT965",
    what="a bundle's topology names a file that is not in it",
    why="A bundle comes from elsewhere: what it names outside of itself would be a file of whoever opens it.",
    example="include: [../../secrets.yaml]",
    fix="Get the images from whoever made it and put them beside it, or a bundle made with --with-images.",
)
declare(
    "VT966",
    what="here a bundle would become another lab",
    why="A bundle stands for a lab byte for byte. Nothing was changed on any board.",
    example="the firmware of board 'board0' hands over another device tree",
    fix="Use what its maker used; or deploy it as it is here: vtool deploy FILE --accept-differences.",
)
declare(
    "VT967",
    what="a bundle does not follow from its topologies",
    why="What is in it is not what this vtool makes of them: another vtool made it, or it was put together by hand.",
    example="a plan with another address than the topology leads to",
    fix="Check it with the vtool that made it, which the message names.",
)


@dataclass(frozen=True)
class Opened:
    """A bundle, and the folder in which its members are, which is gone afterwards."""

    path: Path
    folder: Path
    manifest: Manifest

    def lab(self, name: str | None) -> Lab:
        """Return the lab of that name, the only one without a name. VtoolError VT441 (usage) when it is not clear."""
        labs = {lab.id: lab for lab in self.manifest.labs}
        if name is None and len(labs) == 1:
            return self.manifest.labs[0]
        if name in labs:
            return labs[name]
        message = (
            f"'{self.path}' has {len(labs)} variants" if name is None else f"'{self.path}' has no variant '{name}'"
        )
        hints = (*(nearest(name, labs) if name else ()), f"name one with --variant: {', '.join(labs)}")
        raise VtoolError(Diagnostic("VT441", message, hints=hints), ExitCode.USAGE)

    @contextlib.contextmanager
    def placed(self) -> Iterator[None]:
        """Let what is found in the private folder be shown as what it is: a place in the bundle."""
        try:
            yield
        except VtoolError as error:
            raise VtoolError(map(self._placed, error.diagnostics), error.exit_code) from None

    def _placed(self, found: Diagnostic) -> Diagnostic:
        def moved(span: Span) -> Span:
            text = span.text or source_line(span)
            return replace(span, path=Path(str(span.path).replace(f"{self.folder}/", f"{self.path}/")), text=text)

        return replace(
            found,
            message=self._plain(found.message),
            span=moved(found.span) if found.span else None,
            labels=tuple(replace(label, span=moved(label.span)) for label in found.labels),
            hints=tuple(map(self._plain, found.hints)),
            detail=tuple(map(self._plain, found.detail)),
        )

    def _plain(self, text: str) -> str:
        return text.replace(f"{self.folder}/", "")


@contextlib.contextmanager
def opened(path: Path, *, results: bool = False) -> Iterator[Opened]:
    """Read and check a whole bundle, and unpack it; what was measured only on demand.

    VtoolError VT100, VT960 to VT964, VT969, and VT965 for one whose topologies include what is not in it.
    """
    with tempfile.TemporaryDirectory(prefix="vtool-bundle-") as name:
        folder = Path(name)

        def places(manifest: Manifest) -> Mapping[str, Path]:
            names = (member.path for member in manifest.members)
            return {name: folder / name for name in names if results or not name.startswith(f"{RESULTS}/")}

        found = Opened(path, folder, read_bundle(path, places))
        with found.placed():
            yield found


def lay_out(bundle: Opened, lab: Lab) -> Path:
    """Make a lab ready to be read like any topology, and return its file.

    VtoolError VT965 for what it names and the bundle does not have.
    """
    _require_includes(bundle, lab)
    topology = bundle.folder / lab.topology
    document = read_topology(topology, [bundle.folder / name for name in lab.overlays], lab.settings)
    images = {image.name: image for image in bundle.manifest.images}
    for reference, is_text in named_files(document.value):
        name = name_in_bundle(lab.topology, reference)
        file = bundle.folder / name
        if name.startswith("/") or name.split("/")[0] == ".." or (name not in images and not file.is_file()):
            raise _leads_out(bundle, f"its topology names '{reference}'")
        if not file.exists() and not is_text:
            _link_from_beside(bundle, images[name], file)
    try:
        lock = lock_path(topology)
        shutil.copyfile(bundle.folder / lab.lock, lock)
    except OSError as error:
        raise refused("VT969", bundle.path, f"cannot be unpacked: {reason_of(error)}") from None
    return topology


def _leads_out(bundle: Opened, what: str, *hints: str) -> VtoolError:
    return refused("VT965", bundle.path, f"{what}, which is not in it", hints=hints)


def _require_includes(bundle: Opened, lab: Lab) -> None:
    """Follow what files include before anything else does."""
    members = {member.path for member in bundle.manifest.members}
    tops = [lab.topology, *lab.overlays]
    for file, entry, means in included(tops, lambda name: read(bundle.folder / name).value):
        if means not in members:
            raise _leads_out(bundle, f"'{file}' includes '{entry}'")


def _link_from_beside(bundle: Opened, image: Image, file: Path) -> None:
    """Find an image that the bundle knows by its digest alone: beside the bundle, at the same place."""
    way = Path(*Path(image.name).parts[1:])  # below files/
    beside = bundle.path.absolute().parent / way
    fault = fault_of(beside)
    if fault is None and file_sha256(beside) != image.digest:
        fault = "it is another file"
    if fault is not None:
        hint = f"looked for at '{beside}', SHA-256 {image.digest}: {fault}"
        raise _leads_out(bundle, f"it needs '{way}'", hint, "vtool bundle --with-images puts it in")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(beside)
    except OSError as error:
        raise refused("VT969", bundle.path, f"cannot be unpacked: {reason_of(error)}") from None


def own_images(bundle: Opened) -> dict[str, Path]:
    """Return those of vtool's images that the bundle has, by their names: they need not be built."""
    found = {image.name: bundle.folder / image.member for image in bundle.manifest.images}
    return {name: path for name, path in found.items() if name.startswith(PREFIX) and path.is_file()}


# ---------------------------------------------------------------- what follows from what


def not_following(bundle: Opened, lab: Lab, ready: Ready) -> list[str]:
    """Return what of a lab's members this vtool does not make of its topology, in words."""
    made = {f"{lab.folder}/{name}": data for name, data in derived(ready, bundle.folder).items()}
    members = {member.path: member for member in bundle.manifest.members}
    there = {name for name in members if name.startswith(f"{lab.folder}/")}
    there -= {_generation(lab, board) for board in lab.boards}
    found = []
    if digest_of(ready.document.value) != lab.digest:
        found.append(f"{lab.topology} is another topology than the manifest says")
    planned = {board.name: board for board in ready.plan.boards}
    for name, part in lab.boards.items():
        if name not in planned:
            found.append(f"there is no board '{name}' in the topology")
        elif facts_digest(planned[name]) != part.facts_digest:
            found.append(f"the facts '{part.facts}' of board '{name}' are others")
    for name, part in lab.boards.items():
        if part.generation is not None:
            found += _not_its_generation(bundle, lab, name, part.generation)
        elif _generation(lab, name) in members:
            found.append(f"{_generation(lab, name)} follows from nothing")
    found += [f"board '{name}' is missing" for name in planned if name not in lab.boards]
    found += [f"{name} is missing" for name in sorted(made.keys() - there)]
    found += [f"{name} follows from nothing" for name in sorted(there - made.keys())]
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}
    return found + [f"{n} is another one" for n in sorted(made.keys() & there) if members[n].digest != digests[n]]


def _generation(lab: Lab, board: str) -> str:
    return f"{lab.folder}/{board}/generation.json"


def _files_of(bundle: Opened, lab: Lab, board: str, generation: str) -> dict[str, str]:
    """Return the files that a board was to get, by ``place/name``. ValueError where the bundle does not tell."""
    try:
        said = from_json(read_text(bundle.folder / _generation(lab, board)))
    except OSError as error:
        raise ValueError(reason_of(error)) from None
    files = files_in(said)
    if said["generation"] != generation:
        raise ValueError("it is another generation than the manifest says")
    return files


def _not_its_generation(bundle: Opened, lab: Lab, board: str, generation: str) -> Iterator[str]:
    try:
        _files_of(bundle, lab, board, generation)
    except ValueError as error:
        yield f"{_generation(lab, board)} cannot be used: {error}"


def check_bundle(bundle: Opened, prepare: Prepare, vtool: str) -> None:
    """Check that everything follows from the topologies, and results from their run.

    VtoolError VT967, VT965, of the topologies, and VT930, VT932 of the results; nothing is built or asked.
    """
    for lab in bundle.manifest.labs:
        topology = lay_out(bundle, lab)
        ready = prepare(topology, [bundle.folder / name for name in lab.overlays], lab.settings)
        if wrong := not_following(bundle, lab, ready):
            raise _does_not_follow(bundle, f"lab '{lab.id}' does not follow from its topology", vtool, wrong)
    known = {f"{lab.folder}/" for lab in bundle.manifest.labs}
    members = [member.path for member in bundle.manifest.members]
    stray = [name for name in members if name.startswith(f"{LABS}/") and not name.startswith(tuple(known))]
    if stray:
        raise _does_not_follow(bundle, f"'{stray[0]}' is of no lab", vtool, ())
    _check_results(bundle, vtool)


def _check_results(bundle: Opened, vtool: str) -> None:
    """Check that what was measured is all there, and was measured with these topologies."""
    members = {m.path: m for m in bundle.manifest.members if m.path.startswith(f"{RESULTS}/")}
    if bundle.manifest.of == "topology":
        if members:
            raise _does_not_follow(bundle, "it has results and is of no run", vtool, ())
        return
    run = read_run(bundle.folder / RESULTS)
    digests = {lab.id: lab.digest for lab in bundle.manifest.labs}
    wrong = [f"variant '{v.id}' was another topology" for v in run.run.variants if v.digest != digests.get(v.id)]
    raws = {f"{RESULTS}/{raw.path}": raw for one in run.repetitions for raw in one.raw}
    for name, raw in raws.items():
        member = members.get(name)
        if member is None or (member.digest, member.bytes) != (raw.digest, raw.bytes):
            wrong.append(f"{name} is not what was measured")
    wrong += [f"{name} is named by no record" for name in members if name not in {*raws, f"{RESULTS}/{RECORDS}"}]
    if wrong:
        raise _does_not_follow(bundle, "its results are not of its labs", vtool, wrong)


def _does_not_follow(bundle: Opened, what: str, vtool: str, detail: Sequence[str]) -> VtoolError:
    hint = f"vtool {bundle.manifest.vtool} made it, this is vtool {vtool}"
    return refused("VT967", bundle.path, what, hints=(hint,), detail=detail[:20])


# ---------------------------------------------------------------- what differs here


def differs_here(
    bundle: Opened,
    lab: Lab,
    ready: Ready,
    targets: Sequence[Target],
    image_path: Callable[[str], Path],
) -> list[str]:
    """Return what would not be as it is in the bundle if it were deployed here, in words. Asks boards, changes nothing.

    Raises VtoolError as ``wanted_of``.
    """
    found = not_following(bundle, lab, ready)
    known = {image.name: image for image in bundle.manifest.images}
    for reference in sorted({reference for plan, _ in targets for reference in images_of(plan)}):
        image = known.get(name_in_bundle(lab.topology, reference))
        digest = file_sha256(image_path(reference))
        if image is not None and digest != image.digest:  # one that is not known is another artifact, too
            found.append(f"image '{image.name}' is {digest[:16]} here, {image.digest[:16]} there")
    for name, wanted in wanted_of(ready.topology.name, targets, image_path).items():
        part = lab.boards.get(name)
        if part is None or part.generation is None:
            continue
        if wanted.firmware != part.firmware:
            found.append(f"the firmware of board '{name}' hands over another device tree")
        if wanted.generation["generation"] != part.generation:
            now = wanted.generation["generation"]
            found.append(f"board '{name}' would get generation {now}, it was {part.generation}")
            with contextlib.suppress(ValueError):  # which was said above
                found += _other_files(_files_of(bundle, lab, name, part.generation), files_in(wanted.generation))
    return found


def _other_files(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            how = "is another file" if name in was and name in now else "is new" if name in now else "is gone"
            yield f"  {name} {how}"


def require_same(bundle: Opened, found: Sequence[str], vtool: str) -> None:
    """Raise VT966 for what differs here."""
    if found:
        what = f"'{bundle.path}' would become another lab here; nothing was changed"
        hint = f"vtool {bundle.manifest.vtool} made it, this is vtool {vtool}"
        accept = "deploy it as it is here: --accept-differences"
        raise board_failed("VT966", what, hints=(hint, accept), detail=found[:40])
