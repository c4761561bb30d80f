"""Who configures an interface's addresses on the board, and how they are told that a bridge has them instead.

systemd-networkd is given files in /run, which a boot forgets; a DHCP client is started again with its own words and
another interface's name. Whose habits are not known here is not fought: VT477.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from .base import INTERFACES, BoardError, run
from .processes import CONTROL_GROUPS, PROCESSES, command_lines, control_group
from .typed import Any

NETWORKD = Path("/run/systemd/netif")
NETWORKD_FILES = Path("/run/systemd/network")
NETWORK_MANAGER = Path("/run/NetworkManager/devices")
CLIENTS = ("dhclient", "udhcpc")
"""DHCP clients whose command line says it all."""
OTHERS = ("dhcpcd", "connmand", "NetworkManager")
# What a .network file stacks on its interface stays where it is.
_STACKED = re.compile(r"^\s*(Bridge|Bond|VLAN|MACVLAN|MACVTAP|IPVLAN|IPVTAP|VRF|VXLAN|Tunnel)\s*=")


def owners_of(interface: str, addresses: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is to be told of a move: DHCP clients as they were started, the text of networkd's file or null.

    Raises BoardError VT477 for those who would fight it, or where nobody is found who renews a lease.
    """
    managed = NETWORK_MANAGER / _index(interface)
    if managed.exists() and not re.search(r"^managed=(false|0)", managed.read_text(), re.MULTILINE):
        raise _unknown(interface, "NetworkManager has it")
    text = networkd_text(interface)
    clients = [{"words": words, "group": group} for _, words, group in _clients(interface)]
    leased = any(address["leased"] and address["family"] == "inet" for address in addresses)
    if leased and not clients and text is None:
        running = set(_programs())
        others = [name for name in OTHERS if name in running]
        raise _unknown(interface, f"{others[0]} has it" if others else "nobody is found who renews its lease")
    return {"clients": clients, "networkd": text}


def _unknown(interface: str, why: str) -> BoardError:
    return BoardError(
        "VT477",
        f"the addresses of '{interface}' cannot be moved: {why}",
        [f"have that tool make a bridge with '{interface}' in it, and write `existing: true` in place of `uplink`"],
    )


def _index(interface: str) -> str:
    return (INTERFACES / interface / "ifindex").read_text().strip()


# ---------------------------------------------------------------- systemd-networkd


def is_settled(interface: str) -> bool:
    """Whether systemd-networkd, where it runs, knows by now what it does with an interface."""
    if not (NETWORKD / "state").exists():
        return True
    try:
        said = (NETWORKD / "links" / _index(interface)).read_text()
    except OSError:
        return False
    return not re.search(r"^ADMIN_STATE=(pending|initialized)$", said, re.MULTILINE)


def networkd_text(interface: str) -> str | None:
    """Return what systemd-networkd configures an interface by, without what it matches; None where it does not."""
    try:
        said = dict(
            line.split("=", 1)
            for line in (NETWORKD / "links" / _index(interface)).read_text().splitlines()
            if "=" in line
        )
        if said.get("ADMIN_STATE") in ("unmanaged", "pending", None) or "NETWORK_FILE" not in said:
            return None
        files = [said["NETWORK_FILE"], *said.get("NETWORK_FILE_DROPINS", "").strip('"').split()]
        text = "\n".join(Path(file).read_text() for file in files)
    except OSError:
        return None
    return _without_match(text) + _same_identity(interface)


def _without_match(text: str) -> str:
    lines, kept = [], True
    for line in text.splitlines():
        if line.strip().startswith("["):
            kept = line.strip() != "[Match]"
        if kept and not _STACKED.match(line):
            lines.append(line)
    return "\n".join(lines) + "\n"


def _same_identity(interface: str) -> str:
    """Return what has the bridge say to a DHCP server that it is that interface (RFC 4361: ff, IAID, DUID)."""
    with contextlib.suppress(OSError):
        lease = (NETWORKD / "leases" / _index(interface)).read_text()
        found = re.search(r"^CLIENTID=ff([0-9a-f]{8})", lease, re.MULTILINE)
        if found:
            return f"\n[DHCPv4]\nIAID={int(found[1], 16)}\n"
    return ""


def networkd_follows(bridge: str, interface: str, text: str) -> None:
    """Have systemd-networkd configure a bridge as it did the interface, and leave that alone, until the next boot."""
    NETWORKD_FILES.mkdir(parents=True, exist_ok=True)
    _networkd_file(interface).write_text(f"[Match]\nName={interface}\n[Link]\nUnmanaged=yes\n")
    _networkd_file(bridge).write_text(f"[Match]\nName={bridge}\n{text}")
    for name in (interface, bridge):
        _networkd_file(name).chmod(0o644)
    run("networkctl", "reload")


def networkd_forgets(bridge: str, interface: str) -> None:
    """Take back what ``networkd_follows`` did."""
    for name in (interface, bridge):
        with contextlib.suppress(FileNotFoundError):
            _networkd_file(name).unlink()
    run("networkctl", "reload", check=False)


def _networkd_file(interface: str) -> Path:
    return NETWORKD_FILES / f"00-vtool-{interface}.network"


# ---------------------------------------------------------------- DHCP clients


def _programs() -> Iterator[str]:
    for path in PROCESSES.glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            yield path.read_text().strip()


def _clients(interface: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield the DHCP clients of an interface: process, command line, control group."""
    for folder, words in command_lines(PROCESSES):
        is_client = any(word.rsplit("/", 1)[-1] in CLIENTS for word in words[:2])  # `busybox udhcpc`, too
        if is_client and interface in words:
            with contextlib.suppress(OSError):
                yield int(folder.name), words, control_group(folder)


def has_client(interface: str) -> bool:
    """Whether a DHCP client works for an interface."""
    return any(True for _ in _clients(interface))


def stop_clients(interface: str) -> None:
    """End the DHCP clients of an interface as a power cut would: no lease is given up, no address taken away."""
    for process, _, _ in _clients(interface):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while has_client(interface) and time.monotonic() < deadline:
        time.sleep(0.05)  # the kernel ends them; the loop has the deadline


def start_clients(clients: list[dict[str, Any]], was: str, now: str, *, group: bool) -> None:
    """Start DHCP clients again as they were, for another interface; with ``group`` where they were, too."""
    for client in clients:
        words = [re.sub(rf"(?<![A-Za-z0-9]){re.escape(was)}(?![A-Za-z0-9])", now, word) for word in client["words"]]
        program = shutil.which(words[0]) or words[0]
        process = subprocess.Popen(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if group and client["group"]:
            with contextlib.suppress(OSError):
                (CONTROL_GROUPS / client["group"].lstrip("/") / "cgroup.procs").write_text(str(process.pid))
