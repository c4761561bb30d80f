"""What the host's Debian offers: package versions, mirror, and the pinned state of a suite."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vtool.diagnostics import board_failed

SUITE = "trixie"
BACKPORTS, TESTING = "trixie-backports", "forky"
RELEASE_LOCK = "debian-release.json"
"""The file in the cache that keeps the pinned state."""
_APT_HELPER = "/usr/lib/apt/apt-helper"
_PINNING = threading.Lock()
"""Images are named side by side, and all pins are in one file."""
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


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
            hints=(f"apt install {' '.join(missing)}; in a checkout of vtool `make setup` does it",),
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


def mmdebstrap(*options: str) -> list[str]:
    """Return the command, but for target and source, that makes a tar file of arm64 packages of the suite."""
    return [
        "mmdebstrap",
        *("--architectures=arm64", "--variant=extract", "--components=main", "--format=tar"),
        f"--mode={'root' if os.getuid() == 0 else 'unshare'}",
        *(f"--aptopt={option}" for option in apt_options()),
        '--aptopt=Apt::Install-Recommends "false"',
        *options,
    ]


def archive(suite: str = SUITE) -> str:
    """Return a suite's binary packages as a line of apt's sources."""
    return f"deb {mirror()} {suite} main"


def private_apt(folder: Path, kind: str = "deb-src", suite: str = SUITE) -> list[str]:
    """Return options that make apt look at a suite's packages only, with all its state in ``folder``.

    ``kind`` is ``deb-src`` for sources, ``deb`` for what is built.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    listed = folder / "sources.list"
    listed.write_text(f"{kind} [signed-by={_KEYS}] {mirror()} {suite} main\n")
    places = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": listed,
        "Dir::Etc::sourceparts": "/dev/null",
    }
    return ["--quiet", *(word for key, place in places.items() for word in ("-o", f"{key}={place}"))]


@dataclass(frozen=True)
class ArchiveFile:
    """One file of Debian's archive, where it is and its SHA-256."""

    name: str
    uri: str
    sha256: str

    def download(self, target: Path) -> list[str]:
        """Return the command that fetches the file, and refuses another."""
        return [_APT_HELPER, "download-file", self.uri, str(target), f"SHA256:{self.sha256}"]


def listed_files(lines: Iterable[str]) -> list[ArchiveFile]:
    """Return the files that ``apt-get --print-uris`` lists: a package, or sources, upstream's first, then Debian's."""
    found = (re.match(r"'(\S+)' (\S+\.(?:tar\.\w+|deb)) [0-9]+ SHA256:([0-9a-f]{64})", line) for line in lines)
    files = [ArchiveFile(match[2], match[1], match[3]) for match in found if match]
    return sorted(files, key=lambda file: ".debian.tar." in file.name)


def known_source(package: str, known: Iterable[str]) -> list[ArchiveFile]:
    """Return the files of a version that is known to have been there; ``known`` are lines of ``sources.txt``."""
    pool = f"{mirror().rstrip('/')}/pool/main/{package[0]}/{package}"
    rows = (line.split() for line in known)
    return [ArchiveFile(name, f"{pool}/{name}", digest) for of, name, digest in rows if of == package]


def pinned_release(lock: Path, suite: str = SUITE) -> str:
    """Return the digest of a suite's InRelease file as first seen; ``refresh`` forgets it.

    The rootfs is named by it: packages change only when the user asks.
    """
    with _PINNING:
        pinned: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            pinned = dict(json.loads(lock.read_text()))
        if suite in pinned:
            return pinned[suite]
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "InRelease"
            uri = f"{mirror().rstrip('/')}/dists/{suite}/InRelease"
            _apt_helper(["download-file", uri, str(target)], suite)
            pinned[suite] = hashlib.sha256(target.read_bytes()).hexdigest()
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(json.dumps(pinned) + "\n")
        return pinned[suite]


def refresh(lock: Path) -> None:
    """Forget the pinned state, so that the next build takes Debian as it is then."""
    lock.unlink(missing_ok=True)


def _apt_helper(arguments: Sequence[str], suite: str) -> None:
    command = [_APT_HELPER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise board_failed(
            "VT503",
            f"Debian's package archive does not answer for suite '{suite}'",
            detail=(done.stdout + done.stderr).strip().splitlines()[-5:],
        )
