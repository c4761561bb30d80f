"""What of a lab would not be the same here, before anything is changed. Enter at ``differs_here``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vtool.bench.cells import Ready
from vtool.bundle.checking import files_of, not_following
from vtool.bundle.derived import derived, files_in, name_in_bundle
from vtool.bundle.manifest import Lab
from vtool.bundle.opened import Opened
from vtool.deploy.difference import Target, wanted_of
from vtool.diagnostics import board_failed
from vtool.diagnostics.codes import declare
from vtool.images.store import file_sha256

declare(
    "VT966",
    what="here a bundle would become another lab",
    why="A bundle stands for a lab byte for byte. Nothing was changed on any board.",
    example="the firmware of board 'board0' hands over another device tree",
    fix="Use what its maker used; or deploy it as it is here: vtool deploy FILE --accept-differences.",
)


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
    follows = derived(ready, bundle.folder)
    found = not_following(bundle, lab, ready, follows)
    known = {image.name: image for image in bundle.manifest.images}
    for reference in sorted({reference for plan, _ in targets for reference in follows.images[plan.name]}):
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
                found += _other_files(files_of(bundle, lab, name, part.generation), files_in(wanted.generation))
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
