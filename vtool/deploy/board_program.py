"""vtool-board in one file: as a generation has it, and as it is sent to a board that is to be held."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import io
import marshal
import re
import zipfile
from pathlib import Path

from vtool.base.once import once
from vtool.board.pinned_keys import write_whole
from vtool.deploy.asking import packed
from vtool.files import kernel_image
from vtool.images.store import cache_folder

ON_BOARD = Path(__file__).with_name("on_board")
KERNEL_IMAGE = Path(kernel_image.__file__)
"""Read alike on both sides."""
MOST_IN_A_LINE = 120 << 10
"""Linux takes no argument of 128 KiB (MAX_ARG_STRLEN)."""
_DOCSTRINGS = re.compile(r'^( *)"""(?:.|\n)*?"""$', re.MULTILINE)
_ABOUT = re.compile("^COMPILED_FOR, .*$", re.MULTILINE)
_COMMENTS = re.compile(r"^ *#.*\n", re.MULTILINE)
_MARSHAL = 2
"""Of marshal's formats the last that tells nothing of who else refers to an object: the same code, the same bytes."""


@once
def board_program(*, compiled: bool = False) -> bytes:
    """Pack vtool-board into one executable file; the same sources give the same bytes.

    With ``compiled`` they are in it without comments and as this Python's code too, which a board's Python of the same
    version takes instead: most of a start is compiling. A generation has them as they are, independent of this Python.
    """
    sources = {f"on_board/{path.name}": path.read_text() for path in sorted(ON_BOARD.glob("*.py"))}
    sources["on_board/kernel_image.py"] = KERNEL_IMAGE.read_text()
    start = sources.pop("on_board/__main__.py")
    about = (
        importlib.util.MAGIC_NUMBER if compiled else b"",
        f"/run/vtool-board-{hashlib.sha256(repr(sources).encode()).hexdigest()[:16]}",
        list(sources),
    )
    sources["__main__.py"] = _ABOUT.sub(lambda _: f"COMPILED_FOR, FOLDER, MODULES = {about!r}", start)
    program = io.BytesIO(b"#!/usr/bin/python3 -IS\n")
    program.seek(0, io.SEEK_END)
    with zipfile.ZipFile(program, "a") as archive:
        for name, source in sources.items():
            if not compiled:
                archive.writestr(zipfile.ZipInfo(name), source)
                continue
            bare = _COMMENTS.sub("", _DOCSTRINGS.sub(r'\1""', source))
            code = compile(_running_only(ast.parse(bare)), name, "exec", dont_inherit=True, optimize=2)
            # Python's documentation of py_compile: unchecked, by a hash that nobody looks at.
            head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
            archive.writestr(zipfile.ZipInfo(name), bare)
            archive.writestr(zipfile.ZipInfo(f"{name}c"), head + marshal.dumps(code, _MARSHAL))
    return program.getvalue()


@once
def sent_program() -> str:
    """Return the program as a word of a command line, compiled; made once for the same sources and the same Python."""
    about = hashlib.sha256(importlib.util.MAGIC_NUMBER + Path(__file__).read_bytes() + board_program())
    kept = cache_folder() / "vtool-board" / about.hexdigest()
    with contextlib.suppress(OSError):
        return kept.read_text()
    word = packed(board_program(compiled=True))
    if len(word) > MOST_IN_A_LINE:
        word = packed(board_program())
    with contextlib.suppress(OSError):  # it is made again next time
        write_whole(kept, word.encode())
    return word


def _running_only(module: ast.Module) -> ast.Module:
    """Take what only readers want out of a module: columns, annotations, and imports for annotations alone."""
    for node in ast.walk(module):
        if isinstance(node, ast.stmt | ast.expr):  # a third of the code tells from where to where it is
            node.end_lineno, node.col_offset, node.end_col_offset = node.lineno, 0, 0
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.copy_location(ast.Constant(None), node)
    named = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    for node in (node for node in module.body if isinstance(node, ast.Import | ast.ImportFrom)):
        node.names = [name for name in node.names if (name.asname or name.name).partition(".")[0] in named]
    module.body = [node for node in module.body if getattr(node, "names", True)]
    return module
