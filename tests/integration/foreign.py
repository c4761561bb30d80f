"""Guests that are not vtool's, made for tests: one without an operating system, and one that wants a login.

The first is assembled (``bare.S``) with the cross compiler of images. The second is vtool's reference guest whose init
does what a Debian's does at last: it has a getty on its console. Nothing of it is taken for vtool's, as it is a file.
"""

from __future__ import annotations

import gzip
import io
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
PASSWORD = "a guest's own secret"
READY = "bare: ready"
_SHELL = "while :; do\n    setsid cttyhack sh -i\ndone\n"
_GETTY = "while :; do\n    setsid getty -L 115200 ttyAMA0 vt100\ndone\n"
_SAYS_READY = "    echo 'vtool: domain ready' > /dev/console\n"


def bare_guest(folder: Path) -> tuple[Path, Path]:
    """Return the guest without an operating system: as an arm64 image with its header, and as an ELF file."""
    program, image = folder / "bare.elf", folder / "bare.bin"
    compiler = "aarch64-linux-gnu-gcc"
    link = ("-nostdlib", "-static", "-Wl,-Ttext=0x40080000", "-Wl,--build-id=none")
    subprocess.run([compiler, *link, f'-DLINE="{READY}"', "-o", program, HERE / "bare.S"], check=True)
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", program, image], check=True)
    return image, program


def with_login(ramdisk: Path, init: str) -> bytes:
    """Return vtool's reference guest (its ramdisk, its init) with a getty in the place of its shell."""
    assert _SHELL in init and _SAYS_READY in init
    init = init.replace(_SAYS_READY, "    :\n").replace(_SHELL, _GETTY)
    links = "".join(f"ln -s busybox /bin/{name}\n" for name in ("getty", "login"))
    init = init.replace("hostname guest\n", f"hostname guest\n{links}")
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True
    ).stdout.strip()
    more = _archive(
        {
            "init": (init.encode(), 0o755),
            "etc/passwd": (f"root:{hashed}:0:0:root:/root:/bin/sh\n".encode(), 0o600),
            "etc/group": (b"root:x:0:\n", 0o644),
        }
    )
    # Linux unpacks one archive after the other, and what comes last stands.
    return ramdisk.read_bytes() + gzip.compress(more)


def _archive(files: dict[str, tuple[bytes, int]]) -> bytes:
    """Write a cpio archive (newc): Linux Documentation/driver-api/early-userspace/buffer-format.rst."""
    out = io.BytesIO()
    entries = {**{name: (data, 0o100000 | mode) for name, (data, mode) in files.items()}, "TRAILER!!!": (b"", 0)}
    for number, (name, (data, mode)) in enumerate(entries.items(), 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out.write(b"070701" + b"".join(f"{field:08x}".encode() for field in fields) + name.encode() + b"\0")
        out.write(b"\0" * (-out.tell() % 4) + data)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()
