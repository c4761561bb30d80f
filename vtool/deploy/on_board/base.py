"""What all of vtool-board needs: its folders, errors with codes, processes, files replaced in one step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from pathlib import Path

from .typed import Any

FOLDER = Path("/var/lib/vtool")
CURRENT = FOLDER / "current"
STORE = FOLDER / "store"
BOARD = FOLDER / "board.json"
"""What the board boots by, of the last generation that it got."""
INTERFACES = Path("/sys/class/net")


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


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON file's content, or None when it is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def replace_link(link: Path, target: Path) -> None:
    """Point a link somewhere else in one step."""
    temporary = link.with_name(f".{link.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.rename(link)


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file's content in one step, unless it is that already."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(mode)
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def free_bytes(path: Path) -> int:
    """Return what an ordinary write to that file system may still take."""
    while not path.exists():
        path = path.parent
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize


def kernel_word(key: str) -> str:
    """Return the value of ``key=`` on the running kernel's command line, or an empty text."""
    for word in Path("/proc/cmdline").read_text().split():
        if word.startswith(f"{key}="):
            return word.split("=", 1)[1]
    return ""


def boot_id() -> str:
    """Return the running kernel's boot id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def unit_state(unit: str) -> str:
    """Return systemd's word for a unit: active, inactive, failed, activating..."""
    return run("systemctl", "is-active", unit, check=False).stdout.strip() or "unknown"
