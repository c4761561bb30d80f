"""Talking to a domain: its console, a command in its shell, what it said, QEMU's monitor, the power button."""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import select
import shlex
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

from .base import BoardError, run
from .domains import clean_lines, console_text, manifest
from .processes import CONTROL_GROUPS, control_group
from .typed import Any

PATIENCE_S = 20.0
"""How long a guest may take until it takes commands."""
_LOOK_S = 0.05
XENS_CONSOLE = ["its console is Xen's: `vtool board console`, and Ctrl-A three times goes from domain to domain"]


class SilentError(BoardError):
    """A domain that does not run, or says nothing where it has to: only a new start will have it talk again."""

    def __init__(self, message: str, detail: Any = ()) -> None:
        super().__init__("VT710", message, detail=detail)


@contextlib.contextmanager
def domain_console(name: str, domain: dict[str, Any]) -> Iterator[int]:
    """Yield a file descriptor of the domain's console; one user at a time (VT709)."""
    lock_folder = Path("/run/lock/vtool")
    lock_folder.mkdir(exist_ok=True)
    with (lock_folder / f"{name}.console").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BoardError("VT709", f"the console of domain '{name}' is in use by another vtool") from None
        if domain["kind"] == "dom0less":
            raise BoardError("VT710", f"domain '{name}' has no console here: Xen built it at boot", XENS_CONSOLE)
        if domain["kind"] == "xen":
            domid = run("xl", "domid", name, check=False, timeout=20).stdout.strip()
            if not domid:
                raise SilentError(f"domain '{name}' does not run")
            path = run("xenstore-read", f"/local/domain/{domid}/console/tty").stdout.strip()
            descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(descriptor, termios.TCSANOW)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
            return
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5.0)
            try:
                connection.connect(domain["console"])
            except OSError:
                raise SilentError(f"domain '{name}' does not run") from None
            connection.settimeout(None)
            yield connection.fileno()


_PIECE_BYTES, _BETWEEN_PIECES_S = 200, 0.005


class Answer:
    """What a domain's shell answers to a command that was typed into it."""

    def __init__(self, name: str, command: str, console: int, token: str) -> None:
        self._name, self._command, self._console = name, command, console
        self._begin, self._end = f"VT-BEGIN-{token}".encode(), f"VT-END-{token} ".encode()
        self._text = b""

    def until(self, words: str, deadline: float) -> None:
        """Wait until the command has said a line of these words; BoardError VT710 where it never does."""
        while self._begin not in self._text or f"\n{words}".encode() not in self._text.split(self._begin, 1)[1]:
            if self._end in self._text:
                raise BoardError("VT710", f"'{self._command[:60]}' ended and never said '{words}'", detail=self._tail())
            self._read(deadline)

    def enter(self) -> None:
        """Type a line feed."""
        os.write(self._console, b"\n")

    def end(self, deadline: float) -> dict[str, Any]:
        """Wait for the end; return exit code and output."""
        while self._end not in self._text or b"\n" not in self._text[self._text.find(self._end) :]:
            self._read(deadline)
        body, _, tail = self._text.partition(self._end)
        output = body.split(self._begin, 1)[-1].replace(b"\r", b"").lstrip(b"\n")
        return {"code": int(tail.split()[0]), "output": output.decode(errors="replace")}

    def _read(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        data = os.read(self._console, 65536) if left > 0 and select.select([self._console], [], [], left)[0] else b""
        if not data:
            words = f"domain '{self._name}' did not answer '{self._command[:60]}' in time"
            raise SilentError(words, self._tail())
        self._text += data

    def _tail(self) -> list[str]:
        return clean_lines(self._text)[-5:]


_LINE_BYTES = 500
"""How long a line may be that is typed: busybox takes 1024 with line editing (FEATURE_EDITING_MAX_LEN), a tty 4096."""


def as_typed(command: str) -> tuple[list[str], str]:
    """Return the lines to type first, and a word that a shell then reads as the command.

    No line editing on the way can change it: it is quoted, where all of it is printable, and base64 otherwise, which
    costs the guest three processes. What is too long for a line is put together in a variable.
    """
    printable = command.isascii() and command.isprintable()
    text = command if printable else base64.b64encode(command.encode()).decode()
    if len(text) <= _LINE_BYTES:
        first, whole = [], shlex.quote(text)
    else:
        pieces = [text[start : start + _LINE_BYTES] for start in range(0, len(text), _LINE_BYTES)]
        first, whole = ["VTOOL=", *(f'VTOOL="$VTOOL"{shlex.quote(piece)}' for piece in pieces)], '"$VTOOL"'
    return first, whole if printable else f'"$(echo {whole} | base64 -d)"'


def press(console: int, keys: bytes) -> None:
    """Write to a console, in pieces that a tty's input queue can hold."""
    for start in range(0, len(keys), _PIECE_BYTES):
        if start:
            time.sleep(_BETWEEN_PIECES_S)
        os.write(console, keys[start : start + _PIECE_BYTES])


@contextlib.contextmanager
def typed(name: str, command: str, address: str | None = None, *, reads: bool = False) -> Iterator[Answer]:
    """Type a command into a domain's shell: on its console, or at an address where it takes commands.

    Markers are spelled so that their echo does not look like them. With ``reads`` it has what is typed as its input.
    """
    domain = deployed_domain(name)
    token = base64.b16encode(os.urandom(6)).decode()
    first, word = as_typed(command)
    last = f'echo "V""T-BEGIN-{token}"; (eval {word}){"" if reads else " </dev/null"} 2>&1; echo "V""T-END-{token} $?"'
    with _commands_at(name, address) if address else domain_console(name, domain) as console:
        # \x15 empties a half-typed line.
        press(console, (b"" if address else b"\x15") + "".join(f"{line}\n" for line in (*first, last)).encode())
        yield Answer(name, command, console, token)


@contextlib.contextmanager
def _commands_at(name: str, address: str) -> Iterator[int]:
    """Yield a connection to a domain's shell at ADDRESS:PORT, which may be about to be opened; VT710 where none is."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = socket.create_connection((host, int(port)), timeout=5)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise SilentError(f"domain '{name}' takes no commands at {address}: {error}") from None
            time.sleep(0.1)  # between two attempts; the loop has the deadline
    with connection:
        connection.settimeout(None)
        yield connection.fileno()


def domain_shell(name: str, command: str, timeout_s: float, address: str | None = None) -> dict[str, Any]:
    """Run a command in a domain's shell; return its exit code and output. BoardError VT710 past the deadline."""
    with typed(name, command, address) as answer:
        return answer.end(time.monotonic() + timeout_s)


def deployed_domain(name: str) -> dict[str, Any]:
    """Return what the manifest says of a domain; BoardError VT711 for one that it does not have."""
    domain: dict[str, Any] | None = manifest()["domains"].get(name)
    if domain is None:
        raise BoardError("VT711", f"no domain '{name}' is deployed here", known_domains())
    return domain


def known_domains() -> list[str]:
    """Return a hint that lists the domains."""
    return ["domains here: " + ", ".join(sorted(manifest()["domains"]))]


def verb_console(arguments: argparse.Namespace) -> dict[str, Any]:
    """Join stdin and stdout to a domain's console until Ctrl-] or end of input."""
    domain = deployed_domain(arguments.domain)
    saved = termios.tcgetattr(0) if os.isatty(0) else None
    if saved is not None:
        tty.setraw(0)
    try:
        with domain_console(arguments.domain, domain) as console:
            while True:
                ready, _, _ = select.select([console, 0], [], [])
                if console in ready:
                    data = os.read(console, 65536)
                    if not data:
                        break
                    os.write(1, data)
                if 0 in ready:
                    typed = os.read(0, 4096)
                    if not typed or b"\x1d" in typed:
                        break
                    os.write(console, typed)
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
    return {}


def verb_logs(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print a domain's console log and its unit's journal, or a backend's journal; replaces itself."""
    found = manifest()
    name, count = arguments.name_of, str(arguments.lines)
    domain = found["domains"].get(name)
    unit = domain["unit"] if domain else found["backends"].get(name)
    if unit is None:
        raise BoardError("VT711", f"no domain or backend '{name}' is deployed here", known_domains())
    sys.stdout.flush()
    follow = ["-f"] if arguments.follow else []
    if domain:
        subprocess.run(["journalctl", "-u", unit, "-n", count, "--no-pager"], check=False)
        if domain["kind"] == "dom0less":
            lines = clean_lines(console_text(domain))
            print("\n".join(lines[-arguments.lines :]))
            raise SystemExit(0)
        os.execvp("tail", ["tail", "-n", count, *follow, "--", domain["console_log"]])
    os.execvp("journalctl", ["journalctl", "-u", unit, "-n", count, "--no-pager", *follow])


def verb_powerdown(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask a domain to end, as its unit's ExecStop; force it when it does not within the deadline."""
    name, domain = arguments.domain, manifest()["domains"][arguments.domain]
    if domain["kind"] == "xen":
        try:
            run("xl", "shutdown", "-w", "-F", name, timeout=arguments.deadline)
            _wait_for_keeper(own_control_group(), arguments.deadline)
        except BoardError:  # it was refused, or not all had ended within the deadline
            run("xl", "destroy", name, check=False)
        return {"domain": name}
    with contextlib.suppress(BoardError, OSError):
        qmp(domain["qmp"], [{"execute": "system_powerdown"}], wait_for_close_s=arguments.deadline)
    return {"domain": name}


def own_control_group() -> Path:
    """Return the folder of the unit that this is a process of."""
    return CONTROL_GROUPS / control_group(Path("/proc/self")).lstrip("/")


def _wait_for_keeper(unit: Path, deadline_s: float) -> None:
    """Wait until the `xl create` of a unit, which destroys its domain once that has shut down, has ended; VT704.

    `xl shutdown -w` ends before it, and systemd kills what a unit still has when its ExecStop ends: the domain would
    keep its name and devices. Where QEMU serves it, that `xl` is of another unit, which destroys the domain itself.
    """
    until = time.monotonic() + deadline_s
    while "xl" in programs_in(unit):
        if time.monotonic() > until:
            raise BoardError("VT704", f"xl has not destroyed its domain within {deadline_s:g} s")
        time.sleep(_LOOK_S)


def programs_in(unit: Path) -> set[str]:
    """Return the names of what runs in a control group, which a board may not have."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for pid in (unit / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it has just ended
                found.add(Path("/proc", pid, "comm").read_text().strip())
    return found


def qmp(path: str, commands: list[dict[str, Any]], wait_for_close_s: float = 0.0) -> list[Any]:
    """Run QMP commands on a socket; return their results. Optionally wait until QEMU closes it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(15.0)
        connection.connect(path)
        stream = connection.makefile("rw")
        stream.readline()
        results = []
        for command in [{"execute": "qmp_capabilities"}, *commands]:
            stream.write(json.dumps(command) + "\n")
            stream.flush()
            while True:
                answer = json.loads(stream.readline() or "{}")
                if "event" not in answer:
                    break
            results.append(answer.get("return", answer.get("error")))
        if wait_for_close_s:
            connection.settimeout(wait_for_close_s)
            with contextlib.suppress(socket.timeout, OSError):
                while stream.readline():
                    pass
        return results[1:]
