"""The verbs of vtool-board: what runs, starting and watching it, talking to domains, looking."""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import select
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from . import generations, lock, reach
from .base import CURRENT, FOLDER, BoardError, boot_id, free_bytes, read_json, run, unit_state

READY = Path("/run/vtool/ready")
START_S = 120
"""How long a unit may take to start, beside the time that a guest it comes after has to get ready."""
XENS_CONSOLE = ["its console is Xen's: `vtool board console`, and Ctrl-A three times goes from domain to domain"]

# ---------------------------------------------------------------- what is there


def manifest() -> dict[str, Any]:
    """Return the manifest of what is deployed; BoardError VT703 when nothing is."""
    found = read_json(CURRENT / "manifest.json")
    if found is None:
        raise BoardError("VT703", "nothing is deployed on this board", ["run: vtool deploy TOPOLOGY"])
    return found


def verb_state(_: argparse.Namespace) -> dict[str, Any]:
    """Say what is deployed, what booted, and how the units and domains do."""
    found = read_json(CURRENT / "manifest.json") or {"domains": {}, "backends": {}}
    domains = {
        name: {"unit": unit_state(domain["unit"]), "running": domain_runs(name, domain)}
        for name, domain in found["domains"].items()
    }
    hypervisor = Path("/sys/hypervisor/type")
    return {
        **generations.summary(),
        "boot_id": boot_id(),
        "kernel": os.uname().release,
        "hypervisor": hypervisor.read_text().strip() if hypervisor.exists() else "none",
        "kvm": Path("/dev/kvm").exists(),
        "uptime_s": float(Path("/proc/uptime").read_text().split()[0]),
        "free_bytes": free_bytes(FOLDER),
        "domains": domains,
        "backends": {name: {"unit": unit_state(unit)} for name, unit in found["backends"].items()},
        "lock": lock.holder(),
    }


def domain_runs(name: str, domain: dict[str, Any]) -> bool:
    """Tell whether the hypervisor has the domain."""
    if domain["kind"] == "dom0less":
        return run("xl", "list", str(domain["domain_id"]), check=False, timeout=20).returncode == 0
    if domain["kind"] == "xen":
        return run("xl", "domid", name, check=False, timeout=20).returncode == 0
    return unit_state(domain["unit"]) == "active"


# ---------------------------------------------------------------- running it


def verb_converge(_: argparse.Namespace) -> dict[str, Any]:
    """Start everything and wait until every domain says that it is ready (VT708 with the console's tail)."""
    found = manifest()
    to_start = START_S + max(map(ready_timeout_s, found["domains"].values()), default=0)
    waited: dict[str, float] = {}
    units = [d["unit"] for d in found["domains"].values()] + list(found["backends"].values())
    units.insert(0, "vtool.target")
    # A guest of xl that ended behind the back of its unit, which has no process; what needs it stops, too.
    of_xl = {name: domain for name, domain in found["domains"].items() if domain["kind"] == "xen"}
    active = {name: domain for name, domain in of_xl.items() if unit_state(domain["unit"]) == "active"}
    if gone := [domain["unit"] for name, domain in active.items() if not domain_runs(name, domain)]:
        run("systemctl", "stop", *gone, check=False, timeout=to_start)
    if set(run("systemctl", "is-active", *units, check=False).stdout.split()) == {"active"}:
        units = []
    else:
        run("systemctl", "reset-failed", *units, check=False)
    for unit in units:
        started = run("systemctl", "start", unit, check=False, timeout=to_start)
        if started.returncode != 0:
            raise BoardError("VT704", f"unit {unit} did not start", detail=journal(unit))
    begin = time.monotonic()
    for name, domain in found["domains"].items():
        begin_of_this = time.monotonic()
        wait_ready(name, domain, begin + ready_timeout_s(domain))
        waited[name] = round(time.monotonic() - begin_of_this, 1)
    return {"ready_after_s": waited}


def journal(units: str) -> list[str]:
    """Return the last lines that units (a name or pattern) and systemd about them said in this boot."""
    words = ("-b", "-u", units, "-n", "20", "--no-pager", "-o", "cat")
    return run("journalctl", *words, check=False).stdout.splitlines()


def ready_timeout_s(domain: dict[str, Any]) -> int:
    """Return how long a domain may take to be ready; the generations of before vtool let one say it have no number."""
    return int(domain.get("ready_timeout_s", 120))


def wait_ready(name: str, domain: dict[str, Any], deadline: float) -> None:
    """Wait until the domain's console has said its ready text.

    A domain that Xen built is waited for once a boot: it ends with the board, and Xen's log forgets.
    """
    seen = READY / name
    if domain["kind"] == "dom0less" and seen.exists():
        return
    while True:
        text = console_text(domain)
        if domain["ready"].encode() in text:
            if domain["kind"] == "dom0less":
                READY.mkdir(parents=True, exist_ok=True)
                seen.touch()
            return
        if time.monotonic() > deadline or not domain_runs(name, domain):
            state = f"is not ready within {ready_timeout_s(domain)} s" if domain_runs(name, domain) else "does not run"
            # A console that said nothing: something before it failed.
            said = clean_lines(text) or journal("vtool-*")
            raise BoardError(
                "VT708",
                f"domain '{name}' {state}: its console never said '{domain['ready']}'",
                detail=said[-15:],
            )
        time.sleep(0.2)  # polling a log file; the loop above has the deadline


def console_text(domain: dict[str, Any]) -> bytes:
    """Return what a domain's console said; that of a domain that Xen built is in Xen's own log."""
    if domain["kind"] == "dom0less":
        said = re.findall(rf"^\(XEN\) DOM{domain['domain_id']}: (.*)$", run("xl", "dmesg").stdout, re.MULTILINE)
        return "\n".join(said).encode()
    log = Path(domain["console_log"])
    return log.read_bytes() if log.exists() else b""


def verb_await(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wait until a domain is ready, as a driver domain's ExecStartPost: its frontends come after it."""
    domain = manifest()["domains"][arguments.domain]
    wait_ready(arguments.domain, domain, time.monotonic() + ready_timeout_s(domain))
    return {"domain": arguments.domain}


def clean_lines(text: bytes) -> list[str]:
    """Return the printable lines of a console log."""
    decoded = text.decode(errors="replace").replace("\r", "\n")
    return [line for line in ("".join(filter(str.isprintable, raw)) for raw in decoded.split("\n")) if line]


def verb_powerdown(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask a domain to end, as its unit's ExecStop; force it when it does not within the deadline."""
    name, domain = arguments.domain, manifest()["domains"][arguments.domain]
    if domain["kind"] == "xen":
        try:
            run("xl", "shutdown", "-w", "-F", name, timeout=arguments.deadline)
        except BoardError:  # it was refused, or the guest did not end within the deadline
            run("xl", "destroy", name, check=False)
        return {"domain": name}
    with contextlib.suppress(BoardError, OSError):
        qmp(domain["qmp"], [{"execute": "system_powerdown"}], wait_for_close_s=arguments.deadline)
    return {"domain": name}


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


# ---------------------------------------------------------------- talking to a domain


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
                raise BoardError("VT710", f"domain '{name}' does not run")
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
                raise BoardError("VT710", f"domain '{name}' does not run") from None
            connection.settimeout(None)
            yield connection.fileno()


def domain_shell(name: str, command: str, timeout_s: float) -> dict[str, Any]:
    """Run a command in the shell on a domain's console; return its exit code and output.

    The command travels as base64, so that no line editing on the way can change it; markers are
    spelled so that their echo does not look like them.
    """
    domain = manifest()["domains"].get(name)
    if domain is None:
        raise BoardError("VT711", f"no domain '{name}' is deployed here", known_domains())
    token = base64.b16encode(os.urandom(6)).decode()
    encoded = base64.b64encode(command.encode()).decode()
    line = (
        f'echo "V""T-BEGIN-{token}"; (eval "$(echo {encoded} | base64 -d)") </dev/null 2>&1; '
        f'echo "V""T-END-{token} $?"\n'
    )
    with domain_console(name, domain) as console:
        # \x15 empties a half-typed line; long lines go in pieces a tty's input queue can hold.
        for piece in (b"\x15", *(line.encode()[i : i + 200] for i in range(0, len(line), 200))):
            os.write(console, piece)
            time.sleep(0.005)
        text = read_until(console, f"VT-END-{token} ".encode(), time.monotonic() + timeout_s)
    if text is None:
        raise BoardError("VT710", f"domain '{name}' did not answer '{command[:60]}' within {timeout_s:.0f} s")
    body, _, tail = text.partition(f"VT-END-{token} ".encode())
    output = body.split(f"VT-BEGIN-{token}".encode(), 1)[-1].replace(b"\r", b"").lstrip(b"\n")
    return {"code": int(tail.split()[0]), "output": output.decode(errors="replace")}


def known_domains() -> list[str]:
    """Return a hint that lists the domains."""
    return ["domains here: " + ", ".join(sorted(manifest()["domains"]))]


def read_until(descriptor: int, marker: bytes, deadline: float) -> bytes | None:
    """Read until a whole line that begins with the marker has come; None when the deadline passes."""
    text = b""
    while True:
        position = text.find(marker)
        if position >= 0 and b"\n" in text[position:]:
            return text
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        data = os.read(descriptor, 65536)
        if not data:
            return None
        text += data


def verb_exec(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a command in a domain."""
    return domain_shell(arguments.domain, arguments.command, arguments.timeout)


def verb_console(arguments: argparse.Namespace) -> dict[str, Any]:
    """Join stdin and stdout to a domain's console until Ctrl-] or end of input."""
    domain = manifest()["domains"].get(arguments.domain)
    if domain is None:
        raise BoardError("VT711", f"no domain '{arguments.domain}' is deployed here", known_domains())
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


# ---------------------------------------------------------------- looking


def verb_observe(_: argparse.Namespace) -> dict[str, Any]:
    """Run a list of steps from stdin in order; a step that fails is a result too, never an end."""
    results: dict[str, Any] = {}
    silent: set[str] = set()
    for step in json.load(sys.stdin)["steps"]:
        begin = time.monotonic()
        try:
            if step["op"] in SHELL_OPERATIONS and step["domain"] in silent:
                raise BoardError("VT710", f"domain '{step['domain']}' had not answered before")
            results[step["id"]] = OPERATIONS[step["op"]](step)
        except BoardError as error:
            # A domain that hangs is waited for once, not once a step.
            if step["op"] in SHELL_OPERATIONS:
                silent.add(step["domain"])
            results[step["id"]] = {"error": error.to_json()}
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            results[step["id"]] = {"error": {"code": "VT704", "message": repr(error), "hints": [], "detail": []}}
        results[step["id"]]["seconds"] = round(time.monotonic() - begin, 2)
    return {"results": results}


def observe_run(step: dict[str, Any]) -> dict[str, Any]:
    """Run a shell line on the board."""
    done = run("/bin/sh", "-c", step["command"], check=False, timeout=step.get("timeout_s", 30))
    return {"code": done.returncode, "output": done.stdout, "errors": done.stderr[-2000:]}


def observe_domain(step: dict[str, Any]) -> dict[str, Any]:
    """Run a shell line in a domain."""
    return domain_shell(step["domain"], step["command"], step.get("timeout_s", 30))


def observe_qmp(step: dict[str, Any]) -> dict[str, Any]:
    """Run QMP commands on a domain's VMM."""
    return {"answers": qmp(manifest()["domains"][step["domain"]]["qmp"], step["commands"])}


def observe_maps(step: dict[str, Any]) -> dict[str, Any]:
    """Return the file-backed shared mappings of a unit's main process: size and identity of each."""
    pid = int(run("systemctl", "show", "-p", "MainPID", "--value", step["unit"]).stdout.strip() or "0")
    if pid == 0:
        raise BoardError("VT710", f"unit {step['unit']} has no process")
    mappings = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        if fields[1].endswith("s"):
            base, end = (int(number, 16) for number in fields[0].split("-"))
            name = fields[5] if len(fields) > 5 else ""
            mappings.append({"size_bytes": end - base, "identity": f"{fields[3]}:{fields[4]}", "name": name})
    return {"pid": pid, "shared": mappings}


def observe_kernel_option(step: dict[str, Any]) -> dict[str, Any]:
    """Return how a kernel image was built as to one option: y, m, n, or unknown without IKCONFIG."""
    image = Path(step["path"]).read_bytes()
    start, end = image.find(b"IKCFG_ST"), image.find(b"IKCFG_ED")
    if start < 0 or end < 0:
        return {"value": "unknown"}
    config = gzip.decompress(image[start + 8 : end]).decode()
    for line in config.splitlines():
        if line.startswith(f"CONFIG_{step['option']}="):
            return {"value": line.split("=", 1)[1]}
    return {"value": "n"}


def connect(step: dict[str, Any]) -> socket.socket:
    """Connect to a domain's TCP port, which may be about to be opened; OSError past the deadline."""
    deadline = time.monotonic() + step.get("timeout_s", 20)
    while True:
        try:
            return socket.create_connection((step["address"], step["port"]), timeout=20)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # between two attempts; the loop has the deadline


def observe_receive(step: dict[str, Any]) -> dict[str, Any]:
    """Read a TCP stream to its end; return its digest."""
    digest = hashlib.sha256()
    with connect(step) as connection:
        for block in iter(lambda: connection.recv(1 << 16), b""):
            digest.update(block)
    return {"output": digest.hexdigest()}


def observe_send(step: dict[str, Any]) -> dict[str, Any]:
    """Send random bytes over TCP; return their digest."""
    data = os.urandom(step["size_bytes"])
    with connect(step) as connection:
        connection.sendall(data)
    return {"output": hashlib.sha256(data).hexdigest()}


def observe_exchange(step: dict[str, Any]) -> dict[str, Any]:
    """Run a shell line in a domain that connects to the board's loopback; PORT in it becomes the port.

    With ``size_bytes`` so many random bytes are sent to it, else what it sends is read. Returns its output and
    the ``digest`` of what went across.
    """
    timeout_s = step.get("timeout_s", 60)

    def transfer(server: socket.socket) -> str:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(timeout_s)
            if step.get("size_bytes"):
                data = os.urandom(step["size_bytes"])
                connection.sendall(data)
                return hashlib.sha256(data).hexdigest()
            digest = hashlib.sha256()
            for block in iter(lambda: connection.recv(1 << 16), b""):
                digest.update(block)
            return digest.hexdigest()

    from concurrent.futures import ThreadPoolExecutor  # it imports logging: no other verb shall wait for that

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as other:
        server.settimeout(timeout_s)
        transferred = other.submit(transfer, server)
        command = step["command"].replace("PORT", str(server.getsockname()[1]))
        answer = domain_shell(step["domain"], command, timeout_s)
        return {**answer, "digest": transferred.result()}


def observe_echo(step: dict[str, Any]) -> dict[str, Any]:
    """Send random bytes to a domain that sends back what it gets; return the digest of both."""
    from concurrent.futures import ThreadPoolExecutor

    data, back = os.urandom(step["size_bytes"]), hashlib.sha256()

    def send(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    with connect(step) as connection, ThreadPoolExecutor(1) as other:
        sent = other.submit(send, connection)
        for block in iter(lambda: connection.recv(1 << 16), b""):
            back.update(block)
        sent.result()
    return {"output": back.hexdigest(), "digest": hashlib.sha256(data).hexdigest()}


def observe_reach(step: dict[str, Any]) -> dict[str, Any]:
    """Say what a domain's backend can reach of it (``reach.look``)."""
    return reach.look(step, partial(domain_shell, step["domain"]))


def observe_granted(step: dict[str, Any]) -> dict[str, Any]:
    """Say which pages of a domain of Xen are granted (``reach.granted``)."""
    return reach.granted(step, partial(domain_shell, step["domain"]))


def observe_beside(step: dict[str, Any]) -> dict[str, Any]:
    """Run a shell line on the board while a domain has a secret (``reach.beside``)."""
    return reach.beside(step, partial(domain_shell, step["domain"]))


SHELL_OPERATIONS = ("domain", "exchange", "reach", "granted", "beside")
OPERATIONS = {
    "exchange": observe_exchange,
    "echo": observe_echo,
    "reach": observe_reach,
    "granted": observe_granted,
    "beside": observe_beside,
    "receive": observe_receive,
    "send": observe_send,
    "run": observe_run,
    "domain": observe_domain,
    "qmp": observe_qmp,
    "maps": observe_maps,
    "kernel-option": observe_kernel_option,
}


def verb_hold(arguments: argparse.Namespace) -> dict[str, Any]:
    """Hold the board for a controller, and run what it asks for meanwhile."""
    return lock.keep(arguments.holder, answer)


def answer(request: dict[str, Any], data: io.RawIOBase) -> dict[str, Any]:
    """Run ``{"words", "stdin"}`` as a command line would be; return what it would print, and the request's ``id``.

    Its standard input is the text ``stdin``; ``data`` where that is null.
    """
    text = request["stdin"]
    sys.stdin = io.TextIOWrapper(io.BufferedReader(data)) if text is None else io.StringIO(text)
    try:
        said = outcome(parse_arguments(request["words"]))
    except Exception as error:  # a bug ends its verb, not the hold on the board
        said = {"error": BoardError("VT704", f"'{request['words'][0]}' failed on the board: {error!r}").to_json()}
    return {"id": request["id"], "said": said}


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """Read a command line: a verb and its options."""
    return argument_parser().parse_args(words)


@cache
def argument_parser() -> argparse.ArgumentParser:
    """Make the parser of all verbs, once for all that is asked while the board is held."""
    parser = argparse.ArgumentParser(prog="vtool-board")
    verbs = parser.add_subparsers(required=True)

    def verb(name: str, function: Any) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=function.__doc__)
        added.set_defaults(function=function, name=name)
        return added

    def owner(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--lock", default="", help="the token of `hold`; needed while somebody holds the board")
        added.add_argument("--at", default="", help="when, by the controller's clock")
        added.add_argument("--by", default="", help="who asked for it")
        added.add_argument("--reason", default="")
        return added

    verb("state", verb_state)
    verb("hold", verb_hold).add_argument("holder", type=json.loads)
    verb("compare", generations.verb_compare).add_argument("--look-only", action="store_true")
    verb("receive", generations.verb_receive)
    owner(verb("apply", generations.verb_apply))
    owner(verb("confirm", generations.verb_confirm)).add_argument("generation")
    owner(verb("revert", generations.verb_revert)).add_argument("--reboot", action="store_true")
    owner(verb("rollback", generations.verb_rollback)).add_argument("generation", nargs="?", default="")
    owner(verb("keep", generations.verb_keep))
    owner(verb("reboot", generations.verb_reboot))
    verb("generations", generations.verb_generations)
    verb("booted", generations.verb_booted)
    owner(verb("clean", generations.verb_clean))
    verb("converge", verb_converge)
    verb("observe", verb_observe)
    verb("await", verb_await).add_argument("domain")
    powerdown = verb("powerdown", verb_powerdown)
    powerdown.add_argument("domain")
    powerdown.add_argument("--deadline", type=float, default=30.0)
    execute = verb("exec", verb_exec)
    execute.add_argument("domain")
    execute.add_argument("command")
    execute.add_argument("--timeout", type=float, default=60.0)
    verb("console", verb_console).add_argument("domain")
    logs = verb("logs", verb_logs)
    logs.add_argument("name_of")
    logs.add_argument("--lines", type=int, default=50)
    logs.add_argument("--follow", action="store_true")
    return parser


def outcome(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a verb; return its result, or ``{"error": ...}``."""
    try:
        if hasattr(arguments, "lock"):
            lock.require(arguments.lock)
        result: dict[str, Any] = arguments.function(arguments)
    except BoardError as error:
        return {"error": error.to_json()}
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"'{arguments.name}' failed on the board: {error.strerror or error}{where}"
        return {"error": BoardError("VT704", message).to_json()}
    return result


def main() -> int:
    """Run one verb; print its result or its error as one line of JSON, in words for verbs that a person reads."""
    arguments = parse_arguments(sys.argv[1:])
    said = outcome(arguments)
    if "error" not in said:
        if arguments.name != "console":
            print(json.dumps(said))
        return 0
    if arguments.name in ("console", "logs"):
        error = said["error"]
        hints = "".join(f"\n   hint: {hint}" for hint in error["hints"])
        print(f"error[{error['code']}]: {error['message']}{hints}", file=sys.stderr)
    else:
        print(json.dumps(said))
    return 3
