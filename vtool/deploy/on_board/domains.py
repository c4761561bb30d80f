"""The domains of what is deployed: how they do, starting them, and waiting until they are ready."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path

from . import generations, lock, surroundings, uplink
from .base import CURRENT, FOLDER, BoardError, boot_id, free_bytes, read_json, run, unit_state
from .typed import Any

READY = Path("/run/vtool/ready")
START_S = 120
"""How long a unit may take to start, beside the time that a guest it comes after has to get ready."""


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
        "uplinks": uplink.taken(),
    }


def domain_runs(name: str, domain: dict[str, Any]) -> bool:
    """Whether the hypervisor has the domain."""
    if domain["kind"] == "dom0less":
        return run("xl", "list", str(domain["domain_id"]), check=False, timeout=20).returncode == 0
    if domain["kind"] == "xen":
        return run("xl", "domid", name, check=False, timeout=20).returncode == 0
    return unit_state(domain["unit"]) == "active"


def verb_converge(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start everything and wait until every domain says that it is ready (VT708 with the console's tail)."""
    found = manifest()
    for domain in found["domains"].values():
        domain["ready_timeout_s"] = ready_timeout_s(domain) * arguments.patience
    to_start = START_S * arguments.patience + max(map(ready_timeout_s, found["domains"].values()), default=0)
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
    if of_xl:
        surroundings.require_guests_logged()
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


def ready_timeout_s(domain: dict[str, Any]) -> float:
    """Return how long a domain may take to be ready; the generations of before vtool let one say it have no number."""
    return float(domain.get("ready_timeout_s", 120))


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
            state = (
                f"is not ready within {ready_timeout_s(domain):.0f} s" if domain_runs(name, domain) else "does not run"
            )
            # A console that said nothing: something before it failed.
            said = clean_lines(text) or journal("vtool-*")
            raise BoardError(
                "VT708",
                f"domain '{name}' {state}: its console never said '{domain['ready']}'",
                ["`ready` of the domain is what its console says once it is up"] if "access" in domain else (),
                detail=said[-15:],
            )
        time.sleep(0.2)  # polling a log file; the loop above has the deadline


def console_text(domain: dict[str, Any]) -> bytes:
    """Return what a domain's console said, and its UART; that of a domain that Xen built is in Xen's own log."""
    if domain["kind"] == "dom0less":
        # Between them there is a time where Xen has `console_timestamps`.
        line = rf"^\(XEN\) (?:\[[^]]*\] )?DOM{domain['domain_id']}: (.*)$"
        said = re.findall(line, run("xl", "dmesg").stdout, re.MULTILINE)
        return "\n".join(said).encode()
    logs = [Path(domain[key]) for key in ("console_log", "uart_log") if key in domain]
    return b"\n".join(log.read_bytes() for log in logs if log.exists())


def verb_await(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wait until a domain is ready, as a driver domain's ExecStartPost: its frontends come after it."""
    domain = manifest()["domains"][arguments.domain]
    wait_ready(arguments.domain, domain, time.monotonic() + ready_timeout_s(domain))
    return {"domain": arguments.domain}


def clean_lines(text: bytes) -> list[str]:
    """Return the printable lines of a console log."""
    decoded = text.decode(errors="replace").replace("\r", "\n")
    return [line for line in ("".join(filter(str.isprintable, raw)) for raw in decoded.split("\n")) if line]
