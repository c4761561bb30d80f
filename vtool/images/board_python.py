"""The interpreter for boards that have none: Debian's Python with its own loader and libraries, in one folder.

It runs wherever Linux for arm64 does, whatever C library the board has. vtool-board is started by it
(``vtool.deploy.interpreter``).
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from vtool.diagnostics import board_failed
from vtool.images import debian, recipe_lines, recipe_text
from vtool.images.store import Build, Image, Recipe, cache_folder

HOME = "/var/lib/vtool/python"
"""The folder on a board with interpreters, each in one that is named by the digest of what was sent."""
PROGRAM = f"{HOME}/python3"
"""The link there to the one that is used."""
_LIBRARIES = "usr/lib/aarch64-linux-gnu/"
_LOADER = "ld-linux-aarch64.so.1"


def _inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    return {
        "suite": debian.SUITE,
        "release": debian.pinned_release(cache_folder() / debian.RELEASE_LOCK),
        "packages": recipe_lines(recipe_text("board-python/packages.txt")),
        "libraries": recipe_lines(recipe_text("board-python/libraries.txt")),
        "excluded": recipe_lines(recipe_text("board-python/excluded.txt")),
        "start": recipe_text("board-python/python3"),
        "layout": 1,
    }


def _build(build: Build) -> None:
    packages = build.folder / "packages.tar"
    command = debian.mmdebstrap(f"--include={','.join(build.inputs['packages'])}")
    target = (debian.SUITE, str(packages), debian.archive())
    build.run("extract packages", [*command, *target], env={"SOURCE_DATE_EPOCH": "0"})
    build.progress.update(build.task, "pack")
    excluded = re.compile("|".join(build.inputs["excluded"]))
    with tarfile.open(packages) as tar:
        members = {member.name.removeprefix("./"): member for member in tar}
        wanted = dict(_wanted(members, build.inputs["libraries"]))
        files = {name: _content(tar, members, member) for name, member in wanted.items() if not excluded.search(name)}
    version = next((found[1] for name in files if (found := re.fullmatch(r"bin/(python3\.\d+)", name))), None)
    missing = [name for name in build.inputs["libraries"] if not files.get(f"lib/aarch64-linux-gnu/{name}")]
    if version is None or missing:
        lack = ", ".join(missing) or "the interpreter"
        raise board_failed("VT502", f"the packages of an interpreter for boards lack {lack}")
    files["bin/python3"] = build.inputs["start"].replace("@PYTHON@", version).encode()
    build.facts["version"] = version
    _pack(build, dict(sorted(files.items())))
    packages.unlink()


def _wanted(
    members: Mapping[str, tarfile.TarInfo], libraries: Collection[str]
) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield what goes into the folder, by its name there: links are followed, so that there are files alone."""
    for name, member in members.items():
        if member.isdir():
            continue
        if name.removeprefix(_LIBRARIES) in libraries:
            yield f"lib/aarch64-linux-gnu/{name.removeprefix(_LIBRARIES)}", member
        elif re.match(r"usr/lib/python3\.\d+/", name) or re.fullmatch(r"usr/bin/python3\.\d+", name):
            yield name.removeprefix("usr/"), member


def _content(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], member: tarfile.TarInfo) -> bytes:
    seen = 0
    while member.issym() and seen < 10:
        base = "" if member.linkname.startswith("/") else member.name.removeprefix("./").rpartition("/")[0] + "/"
        target = (base + member.linkname).lstrip("/")
        member, seen = members.get(target, members.get(f"usr/{target}", member)), seen + 1
    stream = tar.extractfile(member) if member.isfile() or member.islnk() else None
    return stream.read() if stream else b""


def _pack(build: Build, files: Mapping[str, bytes]) -> None:
    with (
        build.output.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755 if name.startswith("bin/") or name.endswith(_LOADER) else 0o644
            tar.addfile(member, io.BytesIO(data))


RECIPE = Recipe("board-python", "python.tar.gz", _inputs, _build)
