"""What vtool says when something is wrong: diagnostics as data, and the one exception that carries them.

Owns the shape of a diagnostic and its rendering as text and JSON. The table of codes is
``vtool.diagnostics.codes``. Knows nothing of where diagnostics come from.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from vtool.base.records import record
from vtool.diagnostics.codes import declare

_KEY = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)[\"']?\s*:\s+(?=\S)")
_SECRETS = frozenset(
    ("pass", "password", "passwd", "passphrase", "passcode", "pwd", "pw", "pin", "secret", "secrets", "token", "tokens")
) | frozenset(("credential", "credentials", "auth", "community", "apikey"))
_VERY_LONG = re.compile(r"\S{161,}")
# Of a very long source line so many columns are shown, so many of them before the place.
_SHOWN_COLUMNS = 160
_SHOWN_BEFORE = 40


class Severity(Enum):
    """How bad a finding is; only errors stop."""

    ERROR = "error"
    WARNING = "warning"


class ExitCode(Enum):
    """Exit codes of every verb; documented in docs/reference/exit-codes.md."""

    OK = 0
    TOPOLOGY_WRONG = 1
    USAGE = 2
    BOARD_FAILED = 3
    BUG = 70
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text file: 1-based line and column of the first and one past the last character.

    ``text`` is the line itself where there is no file to read it from (an option of the command line).
    """

    path: Path
    line: int
    column: int
    end_line: int
    end_column: int
    text: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@record
class Label:
    """A span with what is to be said of it."""

    span: Span
    message: str


@record
class Diagnostic:
    """One finding: a permanent code, the place, what is wrong, the other side of a clash, what to do.

    ``span`` is None where there is no file to point at (a board that does not answer).
    ``detail`` holds lines to be shown verbatim, such as the tail of a console.
    """

    code: str
    message: str
    span: Span | None = None
    labels: tuple[Label, ...] = ()
    hints: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR

    def to_json(self) -> dict[str, Any]:
        """Return the diagnostic as plain data for ``--format json``."""

        def place(span: Span | None) -> dict[str, Any] | None:
            if span is None:
                return None
            return {
                "file": str(span.path),
                "line": span.line,
                "column": span.column,
                "end_line": span.end_line,
                "end_column": span.end_column,
            }

        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "place": place(self.span),
            "labels": [{"place": place(label.span), "message": label.message} for label in self.labels],
            "hints": list(self.hints),
            "detail": list(self.detail),
        }


class VtoolError(Exception):
    """Carries all diagnostics of a stage to the edge; the only exception a user ever meets.

    ``exit_code`` says whose fault it is. A failure that control flow asks for is a subclass with its code; whoever
    makes it by that code (``board_failed``), in this process or of what another one said, makes that class.
    """

    _by_code: ClassVar[dict[str, type[VtoolError]]] = {}

    def __init_subclass__(cls, *, code: str, what: str, why: str, example: str, fix: str) -> None:
        super().__init_subclass__()
        VtoolError._by_code[declare(code, what=what, why=why, example=example, fix=fix)] = cls

    @staticmethod
    def class_of(code: str) -> type[VtoolError]:
        """Return the class of failure that has the code: VtoolError itself for one that nothing asks for."""
        return VtoolError._by_code.get(code, VtoolError)

    def __init__(
        self, diagnostics: Iterable[Diagnostic] | Diagnostic, exit_code: ExitCode = ExitCode.TOPOLOGY_WRONG
    ) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = (
            (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        )
        self.exit_code = exit_code
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in self.diagnostics))


def in_order(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return findings file by file in the order of the file; those without a place first."""

    def place(finding: Diagnostic) -> tuple[str, int, int, str]:
        span = finding.span
        return (str(span.path), span.line, span.column, finding.code) if span else ("", 0, 0, finding.code)

    return sorted(found, key=place)


def said_of(found: Iterable[Diagnostic]) -> str:
    """Return how many errors and warnings there are, "OK" if there are none."""
    severities = [finding.severity for finding in found]
    numbers = {what: severities.count(what) for what in Severity}
    words = [f"{number} {what.value}{'' if number == 1 else 's'}" for what, number in numbers.items()]
    return ", ".join(words) if severities else "OK"


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return a hint with the known name that looks most like this one, or nothing."""
    import difflib  # noqa: PLC0415 - only faults need it

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return (f"did you mean '{close[0]}'?",) if close else ()


def board_failed(code: str, message: str, *, hints: Sequence[str] = (), detail: Sequence[str] = ()) -> VtoolError:
    """Make the error for a board or an image that failed (exit code 3)."""
    found = Diagnostic(code, message, hints=tuple(hints), detail=tuple(detail))
    return VtoolError.class_of(code)(found, ExitCode.BOARD_FAILED)


def tool_failed(tool: str, what: str, returncode: int, *, silent: bool) -> str:
    """Return that a tool did not take something, in words; below 0 it was ended by that signal."""
    if returncode < 0:
        return f"'{tool}' was ended by signal {-returncode} on {what}{' and gave no reason' if silent else ''}"
    return f"'{tool}' refuses {what}{' and gives no reason' if silent else ''}"


declare(
    "VT501",
    what="a tool or package of this machine is missing",
    why="vtool uses Debian's own tools and packages.",
    example="mmdebstrap is not installed",
    fix="Install the package that the hint names; in a checkout, run make setup.",
)


_PACKAGES = {
    "cpp": "cpp",
    "dot": "graphviz",
    "dtc": "device-tree-compiler",
    "fdtoverlay": "device-tree-compiler",
    "mkimage": "u-boot-tools",
    "qemu-img": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
"""Which package of Debian has a program."""


def not_installed(program: str) -> VtoolError:
    """Make the error for a program that this machine lacks (VT501)."""
    hint = "in a checkout of vtool `make setup` installs it; its debian-packages.txt lists what vtool uses"
    if program in _PACKAGES:
        hint = f"Debian's package {_PACKAGES[program]} has it: apt install {_PACKAGES[program]}"
    return board_failed("VT501", f"'{program}' is not installed", hints=(hint,))


_REFUSALS = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)

declare(
    "VT151",
    what="this machine does not let vtool have a file or folder",
    why="A disk is full or read-only, a folder is another user's, or a limit of the process is reached.",
    example="vtool deploy in a container whose /tmp is read-only",
    fix="Make room or give the right; VTOOL_STATE, VTOOL_CACHE, XDG_RUNTIME_DIR and TMPDIR name other folders.",
)


def refused_by_this_machine(error: OSError, *hints: str) -> Diagnostic:
    """Return an operating system's refusal as a diagnostic (VT151)."""
    words = error.strerror or str(error)
    where = f" '{error.filename}'" if error.filename else ""
    return Diagnostic("VT151", f"this machine does not let vtool have{where or ' what it needs'}: {words}", hints=hints)


def refusal_of(error: BaseException) -> VtoolError | None:
    """Return what an exception says if this machine refused something, None for what may be a bug."""
    if isinstance(error, OSError) and (isinstance(error, PermissionError) or error.errno in _REFUSALS):
        return VtoolError(refused_by_this_machine(error), ExitCode.BOARD_FAILED)
    return None


def format_diagnostic(diagnostic: Diagnostic) -> str:
    """Write a diagnostic as the text a person reads, with the source line under it where it can be read."""
    lines: list[str] = []
    message = _VERY_LONG.sub(lambda word: f"{word[0][:60]}...{word[0][-10:]}", diagnostic.message)
    head = f"{diagnostic.severity.value}[{diagnostic.code}]: {message}"
    if diagnostic.span is None:
        lines.append(head)
    else:
        lines.append(f"{diagnostic.span}: {head}")
        source = diagnostic.span.text or source_line(diagnostic.span)
        if source is not None:
            number = f"{diagnostic.span.line:>6}"
            width = (
                diagnostic.span.end_column - diagnostic.span.column
                if diagnostic.span.end_line == diagnostic.span.line
                else len(source) - diagnostic.span.column + 1
            )
            start = diagnostic.span.column - 1
            first = max(0, min(start - _SHOWN_BEFORE, len(source) - _SHOWN_COLUMNS))
            shown = source[first : first + _SHOWN_COLUMNS]
            lines.append(f"{number} | {shown}")
            lines.append(
                " " * 7 + "| " + " " * (start - first) + "^" * max(1, min(width, _SHOWN_COLUMNS - start + first))
            )
    for label in diagnostic.labels:
        lines.append(f"   {label.span}: {label.message}")
    for hint in diagnostic.hints:
        lines.append(f"   hint: {hint}")
    for line in diagnostic.detail:
        lines.append(f"   | {line}")
    return "\n".join(lines)


def may_be_secret(key: str) -> bool:
    """Whether a value, by its key, may be a secret, which is never shown."""
    words = re.split("[_-]", key.lower())
    of_words = not _SECRETS.isdisjoint(words) or words[-2:] in (["private", "key"], ["api", "key"], ["access", "key"])
    return of_words or words[-1].endswith(("password", "passwd", "secret", "token"))


def _without_secrets(line: str) -> str:
    line, private, _ = line.partition("-----BEGIN ")
    for match in _KEY.finditer(line):
        if may_be_secret(match[1]):
            return f"{line[: match.end()]}..."
    return f"{line}..." if private else line


def source_line(span: Span) -> str | None:
    """Return the line of a place without what may be a secret, or None when it cannot be read."""
    try:
        lines = span.path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return _without_secrets(lines[span.line - 1].replace("\t", " ")) if 0 < span.line <= len(lines) else None
