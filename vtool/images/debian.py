"""What the host's Debian offers: package versions, mirror, and the pinned state of a suite."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vtool.diagnostics import board_failed

SUITE = "trixie"
RELEASE_LOCK = "debian-release.json"
"""The file in the cache that keeps the pinned state."""
_APT_HELPER = "/usr/lib/apt/apt-helper"
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


def archive() -> str:
    """Return the suite's binary packages as a line of apt's sources."""
    return f"deb {mirror()} {SUITE} main"


def apt_for_sources(folder: Path) -> list[str]:
    """Return options that make apt look at the suite's source packages only, with all its state in ``folder``."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    listed = folder / "sources.list"
    listed.write_text(f"deb-src [signed-by={_KEYS}] {mirror()} {SUITE} main\n")
    places = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::sourcelist": listed,
        "Dir::Etc::sourceparts": "/dev/null",
    }
    return ["--quiet", *(word for key, place in places.items() for word in ("-o", f"{key}={place}"))]


@dataclass(frozen=True)
class SourceFile:
    """One file of a source package, where it is and its SHA-256."""

    name: str
    uri: str
    sha256: str

    def download(self, target: Path) -> list[str]:
        """Return the command that fetches the file, and refuses another."""
        return [_APT_HELPER, "download-file", self.uri, str(target), f"SHA256:{self.sha256}"]


def source_files(lines: Iterable[str]) -> list[SourceFile]:
    """Return the tar files that ``apt-get source --print-uris`` lists: upstream's first, then Debian's."""
    found = (re.match(r"'(\S+)' (\S+\.tar\.\w+) [0-9]+ SHA256:([0-9a-f]{64})", line) for line in lines)
    files = [SourceFile(match[2], match[1], match[3]) for match in found if match]
    return sorted(files, key=lambda file: ".debian.tar." in file.name)


def known_source(package: str, known: Iterable[str]) -> list[SourceFile]:
    """Return the files of a version that is known to have been there; ``known`` are lines of ``sources.txt``."""
    pool = f"{mirror().rstrip('/')}/pool/main/{package[0]}/{package}"
    rows = (line.split() for line in known)
    return [SourceFile(name, f"{pool}/{name}", digest) for of, name, digest in rows if of == package]


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
    command = [_APT_HELPER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise board_failed(
            "VT503",
            f"Debian's package archive does not answer for suite '{SUITE}'",
            detail=(done.stdout + done.stderr).strip().splitlines()[-5:],
        )
