"""Device trees from files: a blob as it is, source by the C preprocessor and dtc, with the place of each line."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vtool.diagnostics import Diagnostic, Span, VtoolError, not_installed, tool_failed
from vtool.files.kinds import HEAD_BYTES, Kind, kind_of
from vtool.files.regular import read_regular, reason_of
from vtool.platform.devicetree import UNRESOLVED, Node, Tree, read_blob

_INCLUDED = re.compile(rb"""(?:#[ \t]*include[ \t]*|/include/[ \t]*|/incbin/[ \t]*\(\s*)["<]([^">\n]+)[">]""")
_MAGIC = bytes.fromhex("d00dfeed")
_SOURCE = ("device-tree source", "text")
_NO_LABEL = re.compile(r"\(phandle_references\): (/[^\s:]*): Reference to non-existent node or label \"([^\"]*)\"")
"""Words of dtc's checks.c, 1.6.1 to 1.7.2."""
_DEADLINE_S = 60
# A line of `dtc -O dts -T -T`: a node or property, then where it stands.
_ANNOTATED = re.compile(r"^\t*(?:[\w]+: )*(?P<name>[^\s=;{]+)(?P<rest>.*?)(?: /\* (?P<place>[^*]*) \*/)?$")
_PLACE = re.compile(r"(?P<path>.+):(?P<line>\d+):(?P<column>\d+)-(?P<end_line>\d+):(?P<end_column>\d+)$")


def read_tree(path: Path, include: Sequence[Path] = ()) -> Tree:
    """Read a ``.dtb`` or ``.dts`` file (by content, not by name). VtoolError VT100, VT801, or VT501 without dtc.

    ``include`` are folders, after the file's own, where source finds what it includes.
    """
    return read_blob_and_tree(path, include)[1]


def read_blob_and_tree(path: Path, include: Sequence[Path] = ()) -> tuple[bytes, Tree]:
    """Read a ``.dtb`` or ``.dts`` file as ``read_tree`` does; return it compiled, too."""
    data = _read(path)
    blob, tree = _decoded(path, data) if data.startswith(_MAGIC) else _read_source(path, data, include)
    if {"images", "configurations"} <= tree.root.children.keys():
        raise unreadable(path, "it is a FIT image of U-Boot, which has the tree in it: dumpimage -l FILE", ())
    return blob, tree


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        hints = (f"dtc -I fs -O dtb -o board.dtb {path} makes a file of it",) if _is_unpacked(path) else ()
        raise VtoolError(Diagnostic("VT100", f"'{path}' cannot be read: {reason_of(error)}", hints=hints)) from None


def _is_unpacked(path: Path) -> bool:
    """Whether a folder is a device tree as Linux shows it: /sys/firmware/devicetree/base, /proc/device-tree."""
    return any((path / name).is_file() for name in ("#address-cells", "compatible", "model"))


def read_board_tree(path: Path, include: Sequence[Path] = ()) -> Tree:
    """Read a board's whole tree from a file, as ``read_tree``. VtoolError VT801 for an overlay, too."""
    return whole(read_tree(path, include), path)


def whole(tree: Tree, path: Path) -> Tree:
    """Return a tree; VtoolError VT801 for one that is no board's but a piece of one."""
    if any("__overlay__" in node.children for node in tree.root.children.values()):
        raise unreadable(path, "it is an overlay, a piece that is merged into a board's tree", ())
    return tree


def _decoded(path: Path, data: bytes) -> tuple[bytes, Tree]:
    try:
        return data, read_blob(data)
    except ValueError as error:
        raise unreadable(path, str(error), ()) from None


def _read_source(path: Path, data: bytes, include: Sequence[Path]) -> tuple[bytes, Tree]:
    what = kind_of(data[:HEAD_BYTES], len(data))
    # Source may be in any encoding, and then nothing tells what it is.
    if b"\0" in data or not data.strip() or (what.kind is not Kind.UNKNOWN and what.words not in _SOURCE):
        raise unreadable(path, f"it is {what.words}", (), *what.hints(Kind.DEVICE_TREE))
    _refuse_waiting(path, data, (path.parent, *include))
    if re.search(rb"^[ \t]*#[ \t]*(include|define|if)", data, re.MULTILINE):
        folders = [word for folder in (path.parent, *include) for word in ("-I", str(folder))]
        cpp = ["cpp", "-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp", *folders, str(path)]
        data, _ = _run(path, cpp, b"")
    # With a preprocessor, line markers name the files; without, dtc reads the file by its name.
    # -f: what dtc finds wrong beyond syntax is for the rules to report.
    source = [*(word for folder in (path.parent, *include) for word in ("-i", str(folder))), "-"]
    blob, complaints = _run(path, ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", *source], data)
    annotated, _ = _run(path, ["dtc", "-q", "-f", "-I", "dts", "-O", "dts", "-T", "-T", *source], data)
    try:
        tree = read_blob(blob)
    except ValueError as error:
        raise unreadable(path, str(error), ()) from None
    _add_places(tree, annotated.decode("utf-8", "replace"), path)
    return blob, replace(tree, unresolved=tuple(_unresolved(tree, complaints)))


def _unresolved(tree: Tree, complaints: str) -> Iterator[tuple[str, str, str]]:
    """Yield where labels are referred to that nothing has: dtc names node and label, the source the property."""
    for path, label in _NO_LABEL.findall(complaints):
        node = tree.node(path)
        for name, found in node.properties.items() if node else ():
            if UNRESOLVED in found.cells and found.place and f"&{label}" in _text_at(found.place):
                yield path, name, label


def _text_at(place: Span) -> str:
    try:
        lines = read_regular(place.path).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    covered = lines[place.line - 1 : place.end_line]
    if covered:
        covered[-1] = covered[-1][: place.end_column - 1]
        covered[0] = covered[0][place.column - 1 :]
    return "\n".join(covered)


def _refuse_waiting(path: Path, data: bytes, folders: Sequence[Path]) -> None:
    """Refuse source that includes a pipe or device, which dtc and cpp would wait for. VtoolError VT801."""
    seen: set[Path] = set()
    waiting = [(path.parent, data)]
    while waiting:
        beside, text = waiting.pop()
        for name in _INCLUDED.findall(text):
            found = next((file for folder in (beside, *folders) if (file := folder / os.fsdecode(name)).exists()), None)
            if found is None or found in seen:
                continue
            seen.add(found)
            try:
                waiting.append((found.parent, read_regular(found)))
            except OSError as error:
                raise unreadable(path, f"'{os.fsdecode(name)}', which it includes: {reason_of(error)}", ()) from None


def _add_places(tree: Tree, annotated: str, path: Path) -> None:
    node: Node | None = None
    sources: dict[Path, list[str]] = {}
    for line in annotated.splitlines():
        match = _ANNOTATED.match(line)
        if match is None or line.startswith("/memreserve/"):
            continue
        place = _span(match["place"] or "", path)
        rest = match["rest"].strip()
        if match["name"] == "}":
            node = node.parent if node else None
        elif rest == "{":
            node = tree.root if node is None else node.children.get(match["name"])
            if node is None:
                return
            node.place = _of_name(place, sources)
        elif node is not None and match["name"] in node.properties:
            found = node.properties[match["name"]]
            node.properties[found.name] = found._replace(place=place)


def _of_name(place: Span | None, sources: dict[Path, list[str]]) -> Span | None:
    """Return the place of a node's name, given that of its opening brace, which is what dtc says."""
    if place is None:
        return None
    if place.path not in sources:
        try:
            sources[place.path] = place.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            sources[place.path] = []
    text = "".join(sources[place.path][place.line - 1 : place.line])
    name = re.search(r"[^\s;{}]+\s*$", text[: place.column - 1])
    if name is None or text[place.column - 1 : place.column] != "{":
        return place
    return Span(place.path, place.line, name.start() + 1, place.line, name.start() + 1 + len(name[0].rstrip()))


def _span(annotation: str, path: Path) -> Span | None:
    match = _PLACE.match(annotation.split(", ", 1)[0])
    if match is None:
        return None
    file = path if match["path"] == "<stdin>" else Path(match["path"])
    numbers = (int(match[key]) for key in ("line", "column", "end_line", "end_column"))
    line, column, end_line, end_column = numbers
    return Span(file, line, column, end_line, end_column)


def _run(path: Path, command: list[str], data: bytes) -> tuple[bytes, str]:
    """Return what a program makes of source, and what it says."""
    try:
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=_DEADLINE_S)
    except FileNotFoundError:
        raise not_installed(command[0]) from None
    except subprocess.TimeoutExpired:
        raise unreadable(path, f"'{command[0]}' did not end within {_DEADLINE_S} s", ()) from None
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0:
        detail = said.replace("<stdin>", str(path)).strip().splitlines()[:10]
        raise unreadable(path, tool_failed(command[0], "it", done.returncode, silent=not detail), detail)
    return done.stdout, said


def unreadable(path: Path, reason: str, detail: Sequence[str], hint: str | None = None) -> VtoolError:
    """Make the error for what is no device tree (VT801), with what a program said of it."""
    message = f"'{path}' cannot be read as a device tree: {reason}"
    return VtoolError(Diagnostic("VT801", message, detail=tuple(detail), hints=(hint,) if hint else ()))
