#!/usr/bin/env python3
"""vtool-board: the part of vtool that runs on a board, as root. Python >= 3.8, standard library only.

Owns vtool's folder on the board (``generations/``, ``store/``, ``disks/``, the link ``current``), the
links to its units, and its part of the boot partition. Speaks JSON on stdin and stdout; an error is
``{"error": {"code", "message", "hints", "detail"}}`` and exit code 3. It decides nothing: what shall be
there comes in a generation file, what shall be looked at comes as a list of steps.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path("/var/lib/vtool")
STORE = FOLDER / "store"
GENERATIONS = FOLDER / "generations"
CURRENT = FOLDER / "current"
BUNDLE = Path("/var/lib/vtool-bundle.tar")
UNITS = Path("/etc/systemd/system")
ENTRY_BACKUP = "boot.scr.before-vtool"


class BoardError(Exception):
    """What the user is to be told: a code of vtool's table, a message, hints, lines of detail."""

    def __init__(self, code: str, message: str, hints: Any = (), detail: Any = ()) -> None:
        super().__init__(message)
        self.code, self.message, self.hints, self.detail = code, message, list(hints), list(detail)

    def to_json(self) -> dict[str, Any]:
        """Return the error as data."""
        return {"code": self.code, "message": self.message, "hints": self.hints, "detail": self.detail}


def run(*argv: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a command; BoardError VT704 with its words when it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise BoardError("VT704", f"'{' '.join(argv)}' did not end within {timeout:.0f} s") from None
    if check and done.returncode != 0:
        words = (done.stdout + done.stderr).strip().splitlines()[-10:]
        raise BoardError("VT704", f"'{' '.join(argv)}' failed with {done.returncode}", detail=words)
    return done


# ---------------------------------------------------------------- what is there


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON file's content, or None when it is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def current_generation() -> dict[str, Any] | None:
    """Return the generation file of what is deployed, or None."""
    return read_json(CURRENT / "generation.json")


def manifest() -> dict[str, Any]:
    """Return the manifest of what is deployed; BoardError VT703 when nothing is."""
    found = read_json(CURRENT / "manifest.json")
    if found is None:
        raise BoardError("VT703", "nothing is deployed on this board", ["run: vtool deploy TOPOLOGY"])
    return found


def booted_set() -> str:
    """Return the boot set the running kernel came from, by its command line."""
    for word in Path("/proc/cmdline").read_text().split():
        if word.startswith("vtool.boot="):
            return word.split("=", 1)[1]
    return ""


def boot_id() -> str:
    """Return the running kernel's boot id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def verb_state(_: argparse.Namespace) -> dict[str, Any]:
    """Say what is deployed, what booted, and how the units and domains do."""
    generation = current_generation()
    found = read_json(CURRENT / "manifest.json")
    domains: dict[str, Any] = {}
    backends: dict[str, Any] = {}
    if found is not None:
        for name, domain in found["domains"].items():
            domains[name] = {"unit": unit_state(domain["unit"]), "running": domain_runs(name, domain)}
        for name, unit in found["backends"].items():
            backends[name] = {"unit": unit_state(unit)}
    hypervisor = Path("/sys/hypervisor/type")
    kernel = os.uname().release
    return {
        "deployed": None
        if generation is None
        else {key: generation[key] for key in ("topology", "generation", "boot_set")},
        "booted_set": booted_set(),
        "boot_id": boot_id(),
        "kernel": kernel,
        "hypervisor": hypervisor.read_text().strip() if hypervisor.exists() else "none",
        "kvm": Path("/dev/kvm").exists(),
        "uptime_s": float(Path("/proc/uptime").read_text().split()[0]),
        "free_bytes": free_bytes(FOLDER),
        "domains": domains,
        "backends": backends,
        "damaged": [] if generation is None else damaged_files(generation),
    }


def damaged_files(generation: dict[str, Any]) -> list[str]:
    """Return files of the current generation whose content is not what was deployed."""
    return [file["name"] for file in generation["files"] if sha256_of(placed_path(generation, file)) != file["sha256"]]


def unit_state(unit: str) -> str:
    """Return systemd's word for a unit: active, inactive, failed, activating..."""
    return run("systemctl", "is-active", unit, check=False).stdout.strip() or "unknown"


def domain_runs(name: str, domain: dict[str, Any]) -> bool:
    """Tell whether the hypervisor has the domain."""
    if domain["kind"] == "xen":
        return run("xl", "domid", name, check=False, timeout=20).returncode == 0
    return unit_state(domain["unit"]) == "active"


def free_bytes(path: Path) -> int:
    """Return what an ordinary write to that file system may still take."""
    while not path.exists():
        path = path.parent
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize


def sha256_of(path: Path) -> str:
    """Return the digest of a file, or an empty text when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


# ---------------------------------------------------------------- putting a generation there


def placed_path(generation: dict[str, Any], file: dict[str, Any]) -> Path:
    """Return where a file of a generation lies on the board."""
    if file["place"] == "boot":
        return boot_folder(generation) / str(generation["boot_set"]) / str(file["name"])
    return GENERATIONS / str(generation["generation"]) / str(file["name"])


def boot_folder(generation: dict[str, Any]) -> Path:
    """Return vtool's folder on the boot partition."""
    return Path(generation["boot_mount"]) / "vtool"


def verb_missing(_: argparse.Namespace) -> dict[str, Any]:
    """Read a generation file from stdin; say which objects the store lacks, or that it runs already.

    VT705 or VT706 when it cannot fit. Nothing is changed.
    """
    generation = json.load(sys.stdin)
    deployed = current_generation()
    if (
        deployed is not None
        and deployed["generation"] == generation["generation"]
        and booted_set() == generation["boot_set"]
        and not damaged_files(deployed)
    ):
        return {"missing": [], "current": True, "boot_id": boot_id()}
    objects = {file["sha256"]: file["size_bytes"] for file in generation["files"]}
    missing = sorted(digest for digest in objects if not (STORE / digest).exists())
    check_space(generation, sum(objects[digest] for digest in missing))
    check_disks(generation)
    return {"missing": missing, "current": False, "boot_id": boot_id()}


def check_space(generation: dict[str, Any], objects_bytes: int) -> None:
    """Raise VT705 when the objects (twice: bundle and store), new disks or boot files do not fit."""
    disks_bytes = sum(d["size_bytes"] for d in generation["disks"] if not Path(d["path"]).exists())
    margin = 8 << 20
    need(FOLDER, 2 * objects_bytes + disks_bytes + margin)
    boot = Path(generation["boot_mount"])
    if not (boot_folder(generation) / generation["boot_set"]).exists():
        boot_bytes = sum(f["size_bytes"] for f in generation["files"] if f["place"] == "boot")
        need(boot, boot_bytes + (1 << 20))


def need(path: Path, wanted_bytes: int) -> None:
    """Raise VT705 when the file system of ``path`` has less room than wanted."""
    free = free_bytes(path)
    if free < wanted_bytes:
        raise BoardError(
            "VT705",
            f"the board's disk is full: {path} has {free >> 20} MiB free, {wanted_bytes >> 20} MiB are needed",
            ["free space on the board, or make disks smaller; nothing was changed"],
        )


def check_disks(generation: dict[str, Any]) -> None:
    """Raise VT706 when a disk is there with another size: vtool never resizes data."""
    for disk in generation["disks"]:
        path = Path(disk["path"])
        if path.exists() and path.stat().st_size != disk["size_bytes"]:
            raise BoardError(
                "VT706",
                f"disk {path} is {path.stat().st_size} bytes, the topology says {disk['size_bytes']}",
                ["give the disk another file name, or change its size on the board yourself"],
            )


def verb_apply(_: argparse.Namespace) -> dict[str, Any]:
    """Take in a bundle of objects, then make the generation on stdin the current one.

    Nothing of the running generation is written in place. Returns what changed and whether the board
    must reboot to run it.
    """
    generation = json.load(sys.stdin)
    before = current_generation()
    if BUNDLE.exists():
        take_bundle(BUNDLE)
    check_space(generation, 0)
    check_disks(generation)
    same = before is not None and before["generation"] == generation["generation"]
    damaged = damaged_files(generation) if same else []
    if not same or damaged:
        lay_out(generation)
    reboot = booted_set() != generation["boot_set"]
    restart = units_to_restart(before, generation)
    # What was changed by hand on the board is put right, and what was started from it starts again.
    users = {unit for file in generation["files"] if file["name"] in damaged for unit in file["used_by"]}
    restart = sorted({*restart, *users})
    if reboot and before is not None:
        run("systemctl", "stop", "vtool.target", check=False)
        restart = sorted({*restart, *before["units"]})
    if restart:
        run("systemctl", "stop", *restart, check=False)
    make_users_and_disks(generation)
    switch(generation)
    collect_garbage(generation)
    return {"changed": not same, "restarted": restart, "reboot": reboot}


def take_bundle(bundle: Path) -> None:
    """Unpack objects into the store, each under its digest, refusing what does not match (VT707)."""
    import tarfile

    STORE.mkdir(parents=True, exist_ok=True)
    with tarfile.open(bundle) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is None:
                continue
            target = STORE / Path(member.name).name
            temporary = target.with_name(target.name + ".partial")
            with temporary.open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
            if sha256_of(temporary) != target.name:
                temporary.unlink()
                raise BoardError("VT707", f"object {target.name[:16]} arrived damaged", ["deploy again"])
            temporary.rename(target)
    bundle.unlink()


def lay_out(generation: dict[str, Any]) -> None:
    """Write a generation's files beside the running one, and its boot set beside the booted one."""
    folder = GENERATIONS / generation["generation"]
    for root in (folder, boot_folder(generation) / generation["boot_set"]):
        partial = root.with_name(root.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        place = "generation" if root == folder else "boot"
        for file in generation["files"]:
            if file["place"] == place:
                copy_object(file, partial / file["name"])
        if place == "generation":
            (partial / "generation.json").write_text(json.dumps(generation, sort_keys=True))
        os.sync()
        shutil.rmtree(root, ignore_errors=True)
        partial.rename(root)
    os.sync()


def copy_object(file: dict[str, Any], target: Path) -> None:
    """Copy one object out of the store."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STORE / file["sha256"], target)
    target.chmod(file["mode"])


def units_to_restart(before: dict[str, Any] | None, after: dict[str, Any]) -> list[str]:
    """Return units that run now and are gone or made of other files in the new generation."""
    old = {} if before is None else before["units"]
    return sorted(unit for unit in old if old[unit] != after["units"].get(unit))


def make_users_and_disks(generation: dict[str, Any]) -> None:
    """Make the system users, and the disks that are not there yet; never touch one that is."""
    run("systemd-sysusers", str(GENERATIONS / generation["generation"] / "sysusers.conf"))
    disks = FOLDER / "disks"
    disks.mkdir(parents=True, exist_ok=True)
    disks.chmod(0o711)
    for disk in generation["disks"]:
        path = Path(disk["path"])
        if not path.exists():
            with path.open("wb") as stream:
                stream.truncate(disk["size_bytes"])
        shutil.chown(path, "vtool-backend", "vtool")
        path.chmod(0o600)


def switch(generation: dict[str, Any]) -> None:
    """Make the generation the current one: one rename for the files, one for the boot set."""
    replace_link(CURRENT, GENERATIONS / generation["generation"])
    wanted = {f["name"].split("/", 1)[1] for f in generation["files"] if f["name"].startswith("units/")}
    for link in vtool_links():
        if link.name not in wanted or link.parent != UNITS:
            link.unlink()
    for unit in wanted:
        replace_link(UNITS / unit, CURRENT / "units" / unit)
    (UNITS / "multi-user.target.wants").mkdir(exist_ok=True)
    replace_link(UNITS / "multi-user.target.wants" / "vtool.target", CURRENT / "units" / "vtool.target")
    run("systemctl", "daemon-reload")
    boot = Path(generation["boot_mount"])
    entry = boot / "boot.scr"
    if entry.exists() and not (boot / ENTRY_BACKUP).exists():
        shutil.copyfile(entry, boot / ENTRY_BACKUP)
    replace_file(boot_folder(generation) / "boot.env", f"vtool_set={generation['boot_set']}\n".encode())
    new_entry = (boot_folder(generation) / generation["boot_set"] / "entry.scr").read_bytes()
    if not entry.exists() or entry.read_bytes() != new_entry:
        replace_file(entry, new_entry)
    os.sync()


def vtool_links() -> list[Path]:
    """Return the links in systemd's folder that point into vtool's."""
    links = [*UNITS.glob("vtool*"), *UNITS.glob("multi-user.target.wants/vtool*")]
    return [link for link in links if link.is_symlink() and os.readlink(link).startswith(str(FOLDER))]


def replace_link(link: Path, target: Path) -> None:
    """Point a link somewhere else in one step."""
    temporary = link.with_name(f".{link.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.rename(link)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file's content in one step."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def collect_garbage(generation: dict[str, Any]) -> None:
    """Remove generations, boot sets and objects that are neither current nor booted."""
    for folder in GENERATIONS.iterdir():
        if folder.name != generation["generation"]:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in boot_folder(generation).iterdir():
        if folder.is_dir() and folder.name not in (generation["boot_set"], booted_set()):
            shutil.rmtree(folder, ignore_errors=True)
    kept = {file["sha256"] for file in generation["files"]}
    for item in STORE.iterdir():
        if item.name not in kept:
            item.unlink()


def verb_clean(_: argparse.Namespace) -> dict[str, Any]:
    """Remove everything vtool put on the board, disks included; say whether a reboot is due."""
    generation = current_generation()
    units = [link.name for link in vtool_links() if link.parent == UNITS]
    if units:
        run("systemctl", "stop", "vtool.target", *units, check=False)
    for link in vtool_links():
        link.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", check=False)
    boot = Path(generation["boot_mount"]) if generation else Path("/boot")
    if (boot / ENTRY_BACKUP).exists():
        (boot / ENTRY_BACKUP).replace(boot / "boot.scr")
    reboot = booted_set() not in ("", "factory")
    shutil.rmtree(boot / "vtool", ignore_errors=True)
    for folder in (FOLDER, Path("/var/log/vtool"), Path("/run/vtool")):
        shutil.rmtree(folder, ignore_errors=True)
    for user in ("vtool-backend", "vtool-domain"):
        run("userdel", user, check=False)
    run("groupdel", "vtool", check=False)
    os.sync()
    return {"removed": generation is not None, "reboot": reboot}


# ---------------------------------------------------------------- running it


def verb_converge(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start everything and wait until every domain says that it is ready (VT708 with the console's tail)."""
    found = manifest()
    deadline = time.monotonic() + arguments.deadline
    waited: dict[str, float] = {}
    units = [d["unit"] for d in found["domains"].values()] + list(found["backends"].values())
    units.insert(0, "vtool.target")
    if set(run("systemctl", "is-active", *units, check=False).stdout.split()) == {"active"}:
        units = []
    else:
        run("systemctl", "reset-failed", *units, check=False)
    for unit in units:
        started = run("systemctl", "start", unit, check=False, timeout=arguments.deadline)
        if started.returncode != 0:
            words = run("journalctl", "-u", unit, "-n", "20", "--no-pager", "-o", "cat", check=False)
            raise BoardError("VT704", f"unit {unit} did not start", detail=words.stdout.splitlines()[-20:])
    for name, domain in found["domains"].items():
        begin = time.monotonic()
        wait_ready(name, domain, deadline)
        waited[name] = round(time.monotonic() - begin, 1)
    return {"ready_after_s": waited}


def wait_ready(name: str, domain: dict[str, Any], deadline: float) -> None:
    """Wait until the domain's console has said its ready text."""
    log = Path(domain["console_log"])
    while True:
        text = log.read_bytes() if log.exists() else b""
        if domain["ready"].encode() in text:
            return
        if time.monotonic() > deadline or not domain_runs(name, domain):
            state = "does not run" if not domain_runs(name, domain) else "is not ready in time"
            raise BoardError(
                "VT708",
                f"domain '{name}' {state}: its console never said '{domain['ready']}'",
                detail=clean_lines(text)[-15:],
            )
        time.sleep(0.2)  # polling a log file; the loop above has the deadline


def verb_await(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wait until a domain is ready, as a driver domain's ExecStartPost: its frontends come after it."""
    wait_ready(arguments.domain, manifest()["domains"][arguments.domain], time.monotonic() + arguments.deadline)
    return {"domain": arguments.domain}


def clean_lines(text: bytes) -> list[str]:
    """Return the printable lines of a console log."""
    decoded = text.decode(errors="replace").replace("\r", "\n")
    return [line for line in ("".join(filter(str.isprintable, raw)) for raw in decoded.split("\n")) if line]


def verb_powerdown(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask a domain to end, as its unit's ExecStop; force it when it does not within the deadline."""
    name, domain = arguments.domain, manifest()["domains"][arguments.domain]
    if domain["kind"] == "xen":
        asked = run("xl", "shutdown", "-w", "-F", name, check=False, timeout=arguments.deadline + 10)
        if asked.returncode != 0:
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
            if step["op"] == "domain" and step["domain"] in silent:
                raise BoardError("VT710", f"domain '{step['domain']}' had not answered before")
            results[step["id"]] = OPERATIONS[step["op"]](step)
        except BoardError as error:
            # A domain that hangs is waited for once, not once a step.
            if step["op"] == "domain":
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


OPERATIONS = {
    "receive": observe_receive,
    "send": observe_send,
    "run": observe_run,
    "domain": observe_domain,
    "qmp": observe_qmp,
    "maps": observe_maps,
    "kernel-option": observe_kernel_option,
}


def main() -> int:
    """Run one verb; print its result as one line of JSON."""
    parser = argparse.ArgumentParser(prog="vtool-board")
    verbs = parser.add_subparsers(required=True)

    def verb(name: str, function: Any) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=function.__doc__)
        added.set_defaults(function=function, name=name)
        return added

    verb("state", verb_state)
    verb("missing", verb_missing)
    verb("apply", verb_apply)
    verb("converge", verb_converge).add_argument("--deadline", type=float, default=90.0)
    verb("clean", verb_clean)
    verb("observe", verb_observe)
    for name, function in (("powerdown", verb_powerdown), ("await", verb_await)):
        about_one = verb(name, function)
        about_one.add_argument("domain")
        about_one.add_argument("--deadline", type=float, default=10.0)
    execute = verb("exec", verb_exec)
    execute.add_argument("domain")
    execute.add_argument("command")
    execute.add_argument("--timeout", type=float, default=60.0)
    verb("console", verb_console).add_argument("domain")
    logs = verb("logs", verb_logs)
    logs.add_argument("name_of")
    logs.add_argument("--lines", type=int, default=50)
    logs.add_argument("--follow", action="store_true")
    arguments = parser.parse_args()
    try:
        result = arguments.function(arguments)
    except BoardError as error:
        print(json.dumps({"error": error.to_json()}))
        return 3
    if arguments.name != "console":
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
