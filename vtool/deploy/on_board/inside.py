"""Getting into domains: a shell on the console, a login there, ssh; or not at all, which is no failure.

What a guest of vtool's has is not to be expected in another: what stands for it is defined at first, and what is
missing is a reason not to look. Passwords and keys come with a request and end with it. Enter at ``Inside``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from .base import BoardError
from .domains import clean_lines
from .talk import deployed_domain, domain_console, domain_shell, press
from .typed import Any

_MEMORY = "/run"
TO_ENTER_S = 40.0
"""How long a login, or ssh, may take until there is a shell."""
PROMPT_S = 15.0
"""How long a console may take to show a prompt after a line feed."""
_PROMPT_OF_ROOT = re.compile(rb"(^|[\r\n])[^\r\n]{0,200}# ?$")
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
"""What terminals take for orders, such as bash's around what is pasted."""
_REFUSED = re.compile(rb"login incorrect|authentication failure|permission denied", re.IGNORECASE)
_REFUSED_BY_SSH = re.compile(r"permission denied|host key verification failed|too many authentication", re.IGNORECASE)
_BEFORE_PASSWORD_S = 0.5
"""busybox asks first and stops echoing then (libbb/bb_askpass.c)."""
_QUIET_S = 0.5
"""A console that has said nothing for so long waits."""
_MOST_LOOKS = 8
"""A login that fails takes 3 s to say so (busybox loginutils/login.c; pam_unix 2 s)."""
_LOOK_S = 3.0
"""How long a shell may take to answer a word, and sudo to make another one."""
_TOOLS = ("base64", "dd", "devmem", "mknod", "mount", "nc", "sha256sum", "usleep")

# Once in a shell, before any command: what stands in for busybox's tools, then what it found. OpenBSD's nc does not end
# its half of a connection at the end of its input unless it is told to.
PRELUDE = r"""unset HISTFILE
command -v usleep >/dev/null || usleep() { sleep "$(($1 / 1000000)).$(printf %06d $(($1 % 1000000)))"; }
if nc --help 2>&1 | grep -q BusyBox; then :
elif command -v perl >/dev/null; then nc() { perl -MIO::Socket::INET -e '
my $s;
if ($ARGV[0] eq "-l") { $s = IO::Socket::INET->new(LocalPort => $ARGV[2], Listen => 1, ReuseAddr => 1) or exit 1;
$s = $s->accept }
else { $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1]) or exit 1 }
my $p = fork; my $b;
if (!$p) { while (sysread STDIN, $b, 65536) { syswrite $s, $b } shutdown $s, 1; exit }
while (sysread $s, $b, 65536) { syswrite STDOUT, $b } kill 9, $p' -- "$@"; }
elif command -v busybox >/dev/null; then nc() { busybox nc "$@"; }
elif nc -h 2>&1 | grep -q -e -N; then nc() { command nc -N "$@"; }
else nc() { return 127; }; VTOOL_LACKS=nc
fi
"""
_FOLDERS = "/tmp /dev/shm /run"  # noqa: S108 - in a domain
"""Where a command's files may lie: in memory. A root disk would bring a secret to the device that serves it."""


def _found() -> str:
    """Return a line that says who a shell is, where it has memory, and what it lacks."""
    return (
        f"M=; for D in {_FOLDERS}; do "
        '[ "$M" ] || ! grep -q " $D tmpfs " /proc/mounts || M=$D; done; '
        'echo "user $(id -u) memory ${M:-/tmp} lacks $VTOOL_LACKS '
        f'$(for T in {" ".join(_TOOLS)}; do command -v $T >/dev/null || echo $T; done | tr "\\n" " ")"'
    )


class NotLookedAt(BoardError):
    """What was not looked at, which neither proves nor fails anything."""

    def __init__(self, why: str) -> None:
        super().__init__("VT485", f"not looked at: {why}")
        self.why = why


class Entered:
    """A domain that commands get into: how, and what its shell has not."""

    def __init__(self, name: str, run: Callable[[str, float], dict[str, Any]], leave: Callable[[], None]) -> None:
        self.leave, self.run_as_written = leave, run
        self._name = name
        said = run(_found(), TO_ENTER_S)["output"]
        found = re.search(r"user (\d+) memory (\S+) lacks(.*)", said, re.DOTALL)
        if found is None:
            raise BoardError("VT710", f"the shell of domain '{name}' is none that vtool knows", detail=[said[-300:]])
        self._folder, self._lacks = found[2], set(found[3].split())
        if found[1] != "0":
            raise NotLookedAt(f"domain '{name}' lets in a user who is not root, and whom sudo lets do nothing")

    def run(self, command: str, timeout_s: float) -> dict[str, Any]:
        """Run a command in memory of the domain's, not on its disk. NotLookedAt where it lacks a tool."""
        missing = [tool for tool in _TOOLS if tool in self._lacks and re.search(rf"\b{tool}\b", command)]
        if missing:
            raise NotLookedAt(f"domain '{self._name}' has no {', no '.join(missing)}")
        return self.run_as_written(command.replace("/tmp/", f"{self._folder}/"), timeout_s)  # noqa: S108 - in the domain


class Inside:
    """The shells of domains while one request is worked on; ``secrets`` are a domain's password or private key.

    A guest of vtool's has a root shell on its console, and all that commands ask for. A board that is slow is given
    ``patience`` times as long to let in.
    """

    def __init__(self, secrets: Mapping[str, str] = {}, patience: float = 1.0) -> None:
        self._secrets, self._patience = secrets, patience
        self._entered: dict[str, Entered | BoardError] = {}

    def __enter__(self) -> Inside:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Log out of where this logged in."""
        for entered in self._entered.values():
            if isinstance(entered, Entered):
                with contextlib.suppress(BoardError, OSError):
                    entered.leave()

    def run(self, name: str, command: str, timeout_s: float, address: str | None = None) -> dict[str, Any]:
        """Run a command in a domain; return its code and output. VT710, VT486; NotLookedAt where nobody gets in."""
        if address is not None or "access" not in deployed_domain(name):
            return domain_shell(name, command, timeout_s, address)
        return self.enter(name).run(command, timeout_s)

    def enter(self, name: str) -> Entered:
        """Get into a domain that has an `access`, once; what failed fails in the same way again."""
        if name not in self._entered:
            try:
                self._entered[name] = self._enter(name, deployed_domain(name)["access"])
            except BoardError as error:
                self._entered[name] = error
        entered = self._entered[name]
        if isinstance(entered, BoardError):
            raise entered
        return entered

    def _enter(self, name: str, access: dict[str, Any]) -> Entered:
        if access["by"] == "none":
            raise NotLookedAt(f"nobody gets into domain '{name}' (`access`)")
        if access["by"] == "ssh":
            return _by_ssh(name, access, self._secrets.get(name), self._patience)
        with domain_console(name, deployed_domain(name)) as console:
            dialog = Dialog(name, console, self._secrets.get(name, ""), self._patience)
            if access["by"] == "prompt":
                if not dialog.shows_root():
                    why = f"the console of domain '{name}' shows no prompt of root's; `access` says how to get in"
                    raise NotLookedAt(why)
                logged_in = False
            else:
                logged_in = dialog.log_in(access, known=name in self._secrets)
            dialog.become_root(access)
        leave = partial(_log_out, name) if logged_in else _stay
        try:
            _take(name, PRELUDE)
            return Entered(name, partial(domain_shell, name), leave)
        except BoardError:
            leave()
            raise


class Dialog:
    """What is typed at a console and what it says, until there is a shell. A password is in no failure's words."""

    def __init__(self, name: str, console: int, password: str, patience: float) -> None:
        self._name, self._console, self._password, self._patience = name, console, password, patience
        self._text = b""

    def shows_root(self) -> bool:
        """Type a line feed; return whether a prompt of root's stands at the end then, and stays."""
        deadline = time.monotonic() + PROMPT_S * self._patience
        self._type("")
        while time.monotonic() < deadline:
            if not self._read(_QUIET_S * self._patience) and _PROMPT_OF_ROOT.search(self._said()):
                return True
        return False

    def log_in(self, access: dict[str, Any], *, known: bool) -> bool:
        """Answer until a shell does; return whether that was a login. VT486 where it is refused, or never comes."""
        if access["password"] and not known:
            raise NotLookedAt(f"nobody gave the password of '{access['user']}' of domain '{self._name}'")
        prompt, asks = (access[key].rstrip().encode() for key in ("prompt", "password_prompt"))
        deadline = time.monotonic() + TO_ENTER_S * self._patience
        named = answered = woken = False
        looks = 0
        self._type("")
        while time.monotonic() < deadline:
            if self._read(_QUIET_S * self._patience):
                looks = 0
                continue  # it goes on saying something
            looks += 1
            said = self._said().rstrip()
            if named and not answered and asks in said:
                time.sleep(_BEFORE_PASSWORD_S)
                self._type(self._password)
                answered = True
            elif named and (said.endswith(prompt) or _REFUSED.search(said)):
                raise self._refused(access)
            elif said.endswith(prompt):
                self._type(access["user"])
                named, answered = True, not access["password"]
            elif not named and not woken:
                self._type("")  # a line of the kernel's may stand behind the prompt
                woken = True
            # Not while a password is waited for: what is typed then may be taken for it.
            elif (answered or not named) and (
                said.endswith((b"#", b"$", b">", b"%")) or (looks > _MOST_LOOKS and self._answers())
            ):
                return named
        raise self._refused(access)

    def become_root(self, access: dict[str, Any]) -> None:
        """Have the shell of a user whom sudo asks for nothing be root's."""
        if access.get("user", "root") != "root":
            self._type("exec sudo -n sh || :")
            self._read(_LOOK_S * self._patience)

    def _answers(self) -> bool:
        token = os.urandom(4).hex()
        self._type(f'echo "V""T-IN-{token}"')
        deadline = time.monotonic() + _LOOK_S * self._patience
        while time.monotonic() < deadline and f"VT-IN-{token}".encode() not in self._text:
            self._read(0.5)
        return f"VT-IN-{token}".encode() in self._text

    def _type(self, line: str) -> None:
        self._text = b""
        os.write(self._console, line.encode() + b"\n")

    def _read(self, seconds: float) -> bool:
        """Take what the console says within so many seconds; return whether that was anything."""
        if not select.select([self._console], [], [], seconds)[0]:
            return False
        data = os.read(self._console, 65536)
        if not data:
            raise BoardError("VT710", f"the console of domain '{self._name}' ended")
        self._text += data
        return True

    def _said(self) -> bytes:
        return _CONTROL.sub(b"", self._text)

    def _refused(self, access: dict[str, Any]) -> BoardError:
        said = self._said().decode(errors="replace")
        if self._password:
            said = said.replace(self._password, "...")
        message = f"domain '{self._name}' lets user '{access['user']}' in by no login at its console"
        hints = ["see `prompt`, `password_prompt` and where the password is in its `access`"]
        return BoardError("VT486", message, hints, clean_lines(said.encode())[-5:])


def _stay() -> None:
    """Leave a shell as it was found."""


def _take(name: str, lines: str) -> None:
    """Have the shell on a domain's console itself, and no copy of it, take some lines."""
    word = shlex.quote(lines) if lines.isprintable() else f'"$(printf %b {_octal(lines)})"'
    with domain_console(name, deployed_domain(name)) as console:
        press(console, f"\x15eval {word}\n".encode())
        time.sleep(0.005)  # it is read before somebody else has the console


def _octal(text: str) -> str:
    return shlex.quote("".join(f"\\0{ord(each):03o}" if each in "\n'\\!" else each for each in text))


def _log_out(name: str) -> None:
    with domain_console(name, deployed_domain(name)) as console:
        os.write(console, b"\x15exit\n")
        time.sleep(0.2)  # until it is read; the console's lock is for one at a time


def _by_ssh(name: str, access: dict[str, Any], key: str | None, patience: float) -> Entered:
    """Return how ssh gets in; the key is in a file of root's, in memory, as long as the request lasts. VT710, VT486."""
    if key is None:
        raise NotLookedAt(f"nobody gave the key of '{access['user']}' of domain '{name}'")
    if shutil.which("ssh") is None:
        raise NotLookedAt("the board has no ssh client")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vtool-ssh-", dir=_MEMORY)))
        identity, known = folder / "key", folder / "known_hosts"
        descriptor = os.open(identity, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(key if key.endswith("\n") else f"{key}\n")
        host, port, pinned = access["address"], access["port"], access.get("host_key")
        known.write_text(f"{host if port == 22 else f'[{host}]:{port}'} {pinned}\n" if pinned else "")
        options = {
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes" if pinned else "no",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": f"{10 * patience:.0f}",
            "LogLevel": "ERROR",
        }
        words = [word for option, value in options.items() for word in ("-o", f"{option}={value}")]
        at = ["-i", str(identity), "-p", str(port), "-l", access["user"], "--", host]
        run = partial(_run_by_ssh, name, access["user"], ["ssh", "-F", "/dev/null", *words, *at])
        _until_it_answers(run, TO_ENTER_S * patience)
        entered = Entered(name, run, _stay)
        entered.leave = stack.pop_all().close
    return entered


def _run_by_ssh(name: str, user: str, ssh: list[str], command: str, timeout_s: float) -> dict[str, Any]:
    root = "" if user == "root" else "sudo -n "
    line = f"{root}sh -c {shlex.quote(f'{PRELUDE}({command}) 2>&1')}"
    try:
        done = subprocess.run(
            [*ssh, line], capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BoardError("VT710", f"domain '{name}' did not answer '{command[:60]}' by ssh in time") from None
    if done.returncode != 255:
        return {"code": done.returncode, "output": done.stdout}
    tail = done.stderr.splitlines()[-3:]
    if _REFUSED_BY_SSH.search(done.stderr):
        hints = ["see `user`, `key_file` and `host_key` in its `access`"]
        raise BoardError("VT486", f"domain '{name}' lets user '{user}' in by no key, or is another", hints, tail)
    raise BoardError("VT710", f"ssh does not reach domain '{name}'", detail=tail)


def _until_it_answers(run: Callable[[str, float], dict[str, Any]], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            run("true", within_s)
        except BoardError as error:
            if time.monotonic() > deadline or error.code == "VT486":
                raise
            time.sleep(1.0)  # between two attempts; the loop has the deadline
        else:
            return


def verb_exec(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a command in a domain, as it is written; with ``secret`` stdin has its password or key. VT485, VT486.

    Whoever asks for that knows that a shell is there, where nothing is said of one.
    """
    name, command, timeout_s = arguments.domain, arguments.command, arguments.timeout
    by = deployed_domain(name).get("access", {}).get("by", "prompt")
    if by == "prompt":
        return domain_shell(name, command, timeout_s)
    secrets = {name: sys.stdin.read()} if arguments.secret else {}
    with Inside(secrets, arguments.patience) as shells:
        try:
            entered = shells.enter(name)
        except NotLookedAt as missed:
            hint = "name the topology, which says where that is: vtool exec --topology FILE DOMAIN -- COMMAND"
            raise BoardError("VT485", missed.why, [] if secrets or by == "none" else [hint]) from None
        return entered.run_as_written(command, timeout_s)
