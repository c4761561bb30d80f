"""The golden files on disk: a file that cases share stands once, so that a changed template is one diff.

``CASE/files.txt`` lists everything that a case renders, a line each:

    board0/generation/manifest.json                             this case's alone: in its own folder
    board0/boot/board.dts = shared/boot/board.dts               shared with other cases
    board0/boot/boot.cmd = shared/boot/boot.cmd@xen-pinned      shared with fewer: xen-pinned is the first of them
    board0/boot/Image < vtool:linux                             an image, by the name that refers to it
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent
SHARED = "shared"
LISTING = "files.txt"
IMAGE = "vtool:"
"""What the reference to an image starts with."""


def stored() -> dict[str, str]:
    """Everything that is checked in: path below this folder → text."""
    return {
        str(path.relative_to(HERE)): path.read_text()
        for path in HERE.glob("*/**/*")
        if path.suffix != ".pyc" and path.is_file()
    }


def read(case: str) -> dict[str, str]:
    """What a case is to render, as ``rendered`` returns it."""
    files = {}
    for line in (HERE / case / LISTING).read_text().splitlines():
        name, _, image = line.partition(" < ")
        name, _, elsewhere = name.partition(" = ")
        files[name] = f"{image}\n" if image else (HERE / (elsewhere or f"{case}/{name}")).read_text()
    return files


def laid_out(cases: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Say what is to be checked in of what cases render: path below this folder → text."""
    texts = {
        (case, name): text
        for case, files in cases.items()
        for name, text in files.items()
        if not text.startswith(IMAGE)
    }
    shared = dict(shared_places(texts))
    files = {shared.get(key, "/".join(key)): text for key, text in texts.items()}
    for case, names in cases.items():
        lines = (f"{name}{where(shared.get((case, name)), text)}\n" for name, text in names.items())
        files[f"{case}/{LISTING}"] = "".join(sorted(lines))
    return files


def where(shared: str | None, text: str) -> str:
    if text.startswith(IMAGE):
        return f" < {text.rstrip()}"
    return f" = {shared}" if shared else ""


def shared_places(texts: Mapping[tuple[str, str], str]) -> Iterator[tuple[tuple[str, str], str]]:
    """Say where each file stands that several cases share; what most of them share has the plain name."""
    groups: dict[str, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for (case, name), text in texts.items():
        groups[name.split("/", 1)[1]][text].append((case, name))  # whatever the board is called
    taken = set[str]()
    for name, by_text in groups.items():
        several = [sorted(keys) for keys in by_text.values() if len(keys) > 1]
        for rank, keys in enumerate(sorted(several, key=lambda keys: (-len(keys), keys))):
            place = f"{SHARED}/{name}" if rank == 0 else f"{SHARED}/{name}@{keys[0][0]}"
            if place in taken:  # by another board of the same case
                place += f".{keys[0][1].partition('/')[0]}"
            taken.add(place)
            yield from ((key, place) for key in keys)


def write(cases: Mapping[str, Mapping[str, str]]) -> None:
    """Check in what the cases render, and nothing else."""
    for folder in HERE.glob("*/"):
        shutil.rmtree(folder)
    for name, text in laid_out(cases).items():
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / name).write_text(text)
