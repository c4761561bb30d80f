"""What verbs that show a plan share: which board and domain are meant, where the text goes."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from vtool.cli.arguments import add_topology_file
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, nearest
from vtool.files.regular import reason_of
from vtool.files.replacing import replacing
from vtool.plan.types import Plan


def add_view(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the topology argument, and an example to the help."""
    add_topology_file(parser)
    add_example(parser, example)


def add_example(parser: argparse.ArgumentParser, example: str) -> None:
    """Add an example to the help."""
    parser.epilog = f"example: {example}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add ``--board`` and ``--domain``."""
    parser.add_argument("--board", metavar="NAME", help="show only this board and its domains")
    parser.add_argument("--domain", metavar="NAME", help="show only this domain")


def check_selection(arguments: argparse.Namespace, plan: Plan, domains: Iterable[str]) -> None:
    """Raise VtoolError VT441 for a board or domain that the topology does not have."""
    for what, name, known in (
        ("board", arguments.board, [board.name for board in plan.boards]),
        ("domain", arguments.domain, list(domains)),
    ):
        if name is not None and name not in known:
            message = f"'{plan.name}' has no {what} '{name}'"
            hints = (*nearest(name, known), f"there are: {', '.join(known)}")
            raise VtoolError(Diagnostic("VT441", message, hints=hints), ExitCode.USAGE)


def write_text(text: str, path: Path | None) -> None:
    """Write UTF-8 to a file, or to stdout when there is none. VtoolError VT100 when the file cannot be written."""
    data = text.encode("utf-8", "replace")  # whatever the terminal's encoding: SVG and HTML say UTF-8
    if path is not None:
        write_bytes(data, path)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file. VtoolError VT100 when it cannot be written; what was there before is there still."""
    with replaced(path) as new:
        new.write_bytes(data)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a path to write to, as ``vtool.files.replacing``. VtoolError VT100 when it cannot be written."""
    try:
        with replacing(path) as new:
            yield new
    except OSError as error:
        raise VtoolError(Diagnostic("VT100", f"cannot write '{path}': {reason_of(error)}")) from None
