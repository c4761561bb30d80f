"""Host keys: what an inventory pins, as a known-hosts file that OpenSSH and paramiko both read."""

from __future__ import annotations

import base64
from pathlib import Path

from vtool.files.replacing import write_whole


def key_fault(key: str) -> str | None:
    """Return what is wrong with a public key's text, or None: its blob must say the type that stands before it."""
    kind, blob = key.split()[:2]
    try:
        data = base64.b64decode(blob, validate=True)
    except ValueError:
        return "it is not base64"
    length = int.from_bytes(data[:4], "big")
    if data[4 : 4 + length] != kind.encode() or len(data) <= 4 + length:
        return f"it is not a key of type '{kind}'"
    return None


def known_hosts_name(host: str, port: int) -> str:
    """Return how a known-hosts file names a host (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return host if port == 22 else f"[{host}]:{port}"


def pin(path: Path, host: str, port: int, key: str) -> Path:
    """Write the known-hosts file of one board, whole or not at all; returns its path."""
    line = f"{known_hosts_name(host, port)} {' '.join(key.split()[:2])}\n"
    write_whole(path, line.encode())
    return path


def knows(path: Path, host: str, port: int) -> bool:
    """Whether a known-hosts file has a key of a host. OSError when it cannot be read."""
    import paramiko  # noqa: PLC0415 - hashed names are its business

    keys = paramiko.HostKeys()
    try:
        keys.load(str(path))
    except paramiko.hostkeys.InvalidHostKey as error:
        raise OSError(f"the key in '{str(error.line)[:60]}' is not base64") from None
    return keys.lookup(known_hosts_name(host, port)) is not None
