"""A bundle that was read: its labs laid out in a private folder, as if they had been written here. Enter at ``opened``.

What is in one was chosen by somebody else. Nothing of a lab is read from outside of that folder but what the manifest
knows by its digest.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vtool.bundle.archive import read_bundle
from vtool.bundle.derived import included, name_in_bundle, named_files
from vtool.bundle.failures import refused
from vtool.bundle.manifest import RESULTS, Image, Lab, Manifest
from vtool.diagnostics import Diagnostic, ExitCode, Span, VtoolError, nearest, source_line
from vtool.diagnostics.codes import declare
from vtool.files.regular import fault_of, reason_of
from vtool.images import PREFIX
from vtool.images.store import file_sha256
from vtool.plan.lock import lock_path
from vtool.reading.language import read_topology
from vtool.reading.source import read

declare(
    "VT965",
    what="a bundle's topology names a file that is not in it",
    why="A bundle comes from elsewhere: what it names outside of itself would be a file of whoever opens it.",
    example="include: [../../secrets.yaml]",
    fix="Get the images from whoever made it and put them beside it, or a bundle made with --with-images.",
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
