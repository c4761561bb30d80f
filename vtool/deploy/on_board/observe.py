"""Looking: steps that say what a board and its domains do, and what came of each."""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import disks, qcow2, reach, started
from .base import BoardError, run
from .domains import manifest
from .generations import running_generation
from .inside import Inside, NotLookedAt
from .kernel_image import options_of
from .measured import measured
from .talk import SilentError, qmp
from .typed import Any
from .vcpus import observe_vcpus


def verb_observe(_: argparse.Namespace) -> dict[str, Any]:
    """Run the steps of stdin's request in order; a step that fails is a result too, never an end.

    ``rows`` are lists of steps' ids: what only goes with a step that was not looked at is not done either. ``secrets``
    are what gets into domains (``Inside``), by their names. What a domain's silence cost says so by ``silent``.
    """
    results: dict[str, Any] = {}
    failed: dict[str, type[BoardError]] = {}
    request = json.load(sys.stdin)
    with Inside(request.get("secrets", {}), request.get("patience", 1.0)) as inside:
        for said in request["steps"]:
            step = {**said, "patience": request.get("patience", 1.0), "inside": inside}
            begin = time.monotonic()
            # Who answers: a domain's shell, or its VMM.
            who = f"domain '{step['domain']}'" if step["op"] in SHELL_OPERATIONS and "domain" in step else ""
            who = f"QEMU of domain '{step['domain']}'" if step["op"] in QEMU_OPERATIONS else who
            try:
                if why := _goes_with(step["id"], request.get("rows", ()), results):
                    raise NotLookedAt(why)
                if who in failed:
                    words = f"{who} had not answered before"
                    raise SilentError(words) if failed[who] is SilentError else BoardError("VT710", words)
                results[step["id"]] = OPERATIONS[step["op"]](step)
            except NotLookedAt as missed:
                results[step["id"]] = {"error": missed.to_json(), "not_looked_at": missed.why}
            except BoardError as error:
                # One that hangs is waited for once, not once a step; who was refused is told so each time (``Inside``).
                if who and error.code != "VT486":
                    failed.setdefault(who, type(error))
                results[step["id"]] = {"error": error.to_json(), "silent": isinstance(error, SilentError)}
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                if step["op"] in QEMU_OPERATIONS:
                    failed.setdefault(who, BoardError)
                results[step["id"]] = {"error": {"code": "VT704", "message": repr(error), "hints": [], "detail": []}}
            results[step["id"]]["seconds"] = round(time.monotonic() - begin, 2)
    return {"results": results}


def _goes_with(identity: str, rows: Sequence[Sequence[str]], results: Mapping[str, Any]) -> str:
    """Return why a step is not to be done: each of its rows has one before it that was not looked at."""
    mine = [row for row in rows if identity in row]
    missed = [[results[other].get("not_looked_at", "") for other in row if other in results] for row in mine]
    whys = [next(filter(None, each), "") for each in missed]
    return whys[0] if whys and all(whys) else ""


_DID_NOT_LOOK = "not looked at: "


def allowed_s(step: dict[str, Any], usual_s: float) -> float:
    """Return how long a step may take; a board that is slow is given longer (``patience``)."""
    return float(step.get("timeout_s", usual_s)) * float(step.get("patience", 1.0))


def _shell_of(step: dict[str, Any]) -> Callable[[str, float], dict[str, Any]]:
    """Return what runs a shell line in a step's domain, within so many seconds."""
    shells, name, times = step["inside"], step["domain"], float(step.get("patience", 1.0))
    return lambda command, usual_s: shells.run(name, command, usual_s * times)


def observe_run(step: dict[str, Any]) -> dict[str, Any]:
    """Run a shell line on the board; one that says so, and why, has not looked."""
    done = run("/bin/sh", "-c", step["command"], check=False, timeout=allowed_s(step, 30))
    if done.stdout.startswith(_DID_NOT_LOOK):
        raise NotLookedAt(done.stdout[len(_DID_NOT_LOOK) :].strip())
    return {"code": done.returncode, "output": done.stdout, "errors": done.stderr[-2000:]}


def observe_domain(step: dict[str, Any]) -> dict[str, Any]:
    """Run a shell line in a domain."""
    said: dict[str, Any] = step["inside"].run(step["domain"], step["command"], allowed_s(step, 30), step.get("address"))
    return said


def observe_qmp(step: dict[str, Any]) -> dict[str, Any]:
    """Run QMP commands on a domain's VMM."""
    return {"answers": qmp(manifest()["domains"][step["domain"]]["qmp"], step["commands"])}


def observe_offers(step: dict[str, Any]) -> dict[str, Any]:
    """Say which of two features a domain's VMM offers a device's driver, by reading properties of the device."""
    socket_path = manifest()["domains"][step["domain"]]["qmp"]

    def read(path: str, name: str) -> Any:
        command = {"execute": "qom-get", "arguments": {"path": path, "property": name}}
        return qmp(socket_path, [command])[0]

    device = f"/machine/peripheral/{step['device']}"
    bus = str(read(device, "parent_bus"))
    # On a PCI bus the device is its own transport; on virtio-mmio that is what the bus belongs to.
    modern = (
        read(bus.rpartition("/")[0], "force-legacy") if "virtio-mmio-bus" in bus else read(device, "disable-modern")
    )
    return {
        "VIRTIO_F_VERSION_1": modern is False,
        "VIRTIO_F_IOMMU_PLATFORM": read(device, "iommu_platform") is True,
    }


def observe_maps(step: dict[str, Any]) -> dict[str, Any]:
    """Return the file-backed shared mappings of a unit's main process: size and identity of each."""
    pid, *more = reach.processes(step["unit"])
    if more:
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
    with Path(step["path"]).open("rb") as stream:
        options = options_of(stream)
    if options is None and step.get("may_not_say"):
        raise NotLookedAt("its kernel does not say how it was built")
    return {"value": "unknown" if options is None else options.get(step["option"], "n")}


_ABOUT_TO = (errno.ECONNREFUSED, errno.EHOSTUNREACH)
"""What Linux says of a port that nobody has, and where nobody has the address."""


def connect(step: dict[str, Any]) -> socket.socket:
    """Connect to a domain's TCP port; its address or the port may be about to be there. OSError past the deadline."""
    deadline = time.monotonic() + allowed_s(step, 20)
    while True:
        try:
            return socket.create_connection((step["address"], step["port"]), timeout=20)
        except OSError as error:
            if error.errno not in _ABOUT_TO or time.monotonic() > deadline:
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
    timeout_s = allowed_s(step, 60)

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

    from concurrent.futures import ThreadPoolExecutor  # it imports logging: few steps want it

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as other:
        server.settimeout(timeout_s)
        transferred = other.submit(transfer, server)
        command = step["command"].replace("PORT", str(server.getsockname()[1]))
        answer = step["inside"].run(step["domain"], command, timeout_s)
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
    return reach.look(step, _shell_of(step))


def observe_granted(step: dict[str, Any]) -> dict[str, Any]:
    """Say which pages of a domain of Xen are granted (``reach.granted``)."""
    return reach.granted(step, _shell_of(step))


def observe_beside(step: dict[str, Any]) -> dict[str, Any]:
    """Run a shell line on the board while a domain has a secret (``reach.beside``)."""
    return reach.beside(step, _shell_of(step))


def observe_disk(step: dict[str, Any]) -> dict[str, Any]:
    """Say of a disk what it was made of, and in which format, or where a device is mounted (``disks.look``)."""
    running = running_generation()
    if running is None:
        raise BoardError("VT703", "nothing of vtool's runs")
    return disks.look(running, step["path"])


def observe_disk_range(step: dict[str, Any]) -> dict[str, Any]:
    """Return the digest of what a guest sees in a part of its qcow2 disk."""
    with Path(step["path"]).open("rb") as stream:
        return {"output": hashlib.sha256(qcow2.read(stream, step["at"], step["size_bytes"])).hexdigest()}


SHELL_OPERATIONS = ("domain", "exchange", "reach", "granted", "beside", "measured")
QEMU_OPERATIONS = ("qmp", "offers", "vcpus")
OPERATIONS = {
    "disk": observe_disk,
    "disk-range": observe_disk_range,
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
    "offers": observe_offers,
    "vcpus": observe_vcpus,
    "maps": observe_maps,
    "kernel-option": observe_kernel_option,
    "measured": measured,
    "kernel-started": started.kernel,
    "ramdisk-started": started.ramdisk,
}
