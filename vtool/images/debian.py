"""What the host's Debian offers: package versions, mirror, and the pinned state of a suite."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from vtool.diagnostics import board_failed

SUITE = "trixie"


@cache
def package_versions(*packages: str) -> dict[str, str]:
    """Return installed versions; VtoolError VT501 names what is not installed."""
    command = ["dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Status}\n", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise board_failed("VT501", "this is not a Debian machine: 'dpkg-query' is missing") from None
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    found = {row[0]: row[1] for row in rows if row[2] == "installed"}
    missing = [package for package in packages if package not in found]
    if missing:
        raise board_failed(
            "VT501",
            f"Debian packages are not installed: {', '.join(missing)}",
            hints=("run `make setup`, which installs what debian-packages.txt lists",),
        )
    return found


def mirror() -> str:
    """Return the Debian mirror: ``VTOOL_DEBIAN_MIRROR``, or the one the host's own apt uses."""
    configured = os.environ.get("VTOOL_DEBIAN_MIRROR")
    if configured:
        return configured
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        uri, _, origin = line.partition("|")
        if origin == "Debian" and "security" not in uri:
            return uri
    raise board_failed(
        "VT501",
        "apt on this machine knows no Debian mirror",
        hints=("run `apt-get update` once, or set VTOOL_DEBIAN_MIRROR",),
    )


def apt_options() -> list[str]:
    """Return the host's own apt settings for transport and trust, for a foreign apt to obey too."""
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return [line.rstrip(";") for line in dumped.splitlines() if line.startswith(wanted) and '""' not in line]


def pinned_release(lock: Path) -> str:
    """Return the digest of the suite's InRelease file as first seen; ``refresh`` forgets it.

    The rootfs is named by it: packages change only when the user asks.
    """
    try:
        return str(json.loads(lock.read_text())[SUITE])
    except (OSError, ValueError, KeyError):
        pass
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "InRelease"
        uri = f"{mirror().rstrip('/')}/dists/{SUITE}/InRelease"
        _apt_helper(["download-file", uri, str(target)])
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({SUITE: digest}) + "\n")
    return digest


def refresh(lock: Path) -> None:
    """Forget the pinned state, so that the next build takes Debian as it is then."""
    lock.unlink(missing_ok=True)


def _apt_helper(arguments: Sequence[str]) -> None:
    command = ["/usr/lib/apt/apt-helper", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise board_failed(
            "VT503",
            f"Debian's package archive does not answer for suite '{SUITE}'",
            detail=(done.stdout + done.stderr).strip().splitlines()[-5:],
        )
