"""Device trees from files: a blob as it is, source by the C preprocessor and dtc, with the place of each line."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vtool.devicetree import Node, Tree, read_blob
from vtool.diagnostics import Diagnostic, ExitCode, Span, VtoolError, board_failed, not_installed
from vtool.files import read_regular, reason_of
from vtool.model.board_facts import LIVE_TREE

_INCLUDED = re.compile(rb"""(?:#[ \t]*include[ \t]*|/include/[ \t]*|/incbin/[ \t]*\(\s*)["<]([^">\n]+)[">]""")
_MAGIC = bytes.fromhex("d00dfeed")
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
    if data.startswith(_MAGIC):
        return read_blob_file(path)
    return _read_source(path, data, include)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise VtoolError(Diagnostic("VT100", f"'{path}' cannot be read: {reason_of(error)}")) from None


def read_blob_file(path: Path) -> tuple[bytes, Tree]:
    """Read a ``.dtb`` file, as bytes and as a tree. VtoolError VT100, VT801."""
    data = _read(path)
    try:
        return data, read_blob(data)
    except ValueError as error:
        raise _unreadable(path, str(error), ()) from None


def read_tree_over_ssh(host: str, config: Path | None = None) -> Tree:
    """Read the tree that a running board was booted with, by OpenSSH's client; VtoolError VT816, VT801.

    ``host`` is what ssh takes; ``config`` stands for the user's ssh configuration.
    """
    if not host or host.startswith("-"):
        raise VtoolError(Diagnostic("VT816", f"'{host}' is not a host's name"), ExitCode.USAGE)
    command = ["ssh", *(["-F", str(config)] if config else []), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    try:
        done = subprocess.run(
            [*command, "--", host, f"cat {LIVE_TREE}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_DEADLINE_S,
        )
    except FileNotFoundError:
        raise not_installed("ssh") from None
    except subprocess.TimeoutExpired:
        raise board_failed("VT816", f"'{host}' did not send {LIVE_TREE} within {_DEADLINE_S} s") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-5:]
        hints = (f"only root may read {LIVE_TREE}",) if any(LIVE_TREE in line for line in said) else ()
        raise board_failed("VT816", f"'{host}' does not give its {LIVE_TREE}", hints=hints, detail=said)
    try:
        return read_blob(done.stdout)
    except ValueError as error:
        raise _unreadable(Path(f"{host}:{LIVE_TREE}"), str(error), ()) from None


def _read_source(path: Path, data: bytes, include: Sequence[Path]) -> tuple[bytes, Tree]:
    if b"\0" in data or not data.strip():
        raise _unreadable(path, "it is neither a flattened device tree nor source", ())
    _refuse_waiting(path, data, (path.parent, *include))
    if re.search(rb"^[ \t]*#[ \t]*(include|define|if)", data, re.MULTILINE):
        folders = [word for folder in (path.parent, *include) for word in ("-I", str(folder))]
        cpp = ["cpp", "-nostdinc", "-undef", "-D__DTS__", "-x", "assembler-with-cpp", *folders, str(path)]
        data = _run(path, cpp, b"")
    # With a preprocessor, line markers name the files; without, dtc shall read the file by its name.
    # -f: what dtc finds wrong beyond syntax is for the rules to report.
    source = [*(word for folder in (path.parent, *include) for word in ("-i", str(folder))), "-"]
    blob = _run(path, ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", *source], data)
    annotated = _run(path, ["dtc", "-q", "-f", "-I", "dts", "-O", "dts", "-T", "-T", *source], data)
    try:
        tree = read_blob(blob)
    except ValueError as error:
        raise _unreadable(path, str(error), ()) from None
    _add_places(tree, annotated.decode("utf-8", "replace"), path)
    return blob, tree


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
                raise _unreadable(path, f"'{os.fsdecode(name)}', which it includes: {reason_of(error)}", ()) from None


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


def _run(path: Path, command: list[str], data: bytes) -> bytes:
    try:
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=_DEADLINE_S)
    except FileNotFoundError:
        raise not_installed(command[0]) from None
    except subprocess.TimeoutExpired:
        raise _unreadable(path, f"'{command[0]}' did not end within {_DEADLINE_S} s", ()) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").replace("<stdin>", str(path)).strip().splitlines()
        raise _unreadable(path, f"'{command[0]}' refuses it", said[:10])
    return done.stdout


def _unreadable(path: Path, reason: str, detail: tuple[str, ...] | list[str]) -> VtoolError:
    return VtoolError(Diagnostic("VT801", f"'{path}' cannot be read as a device tree: {reason}", detail=tuple(detail)))
