"""What is not vtool's, made for tests: a board's system, and guests without an operating system, with a login, a sshd.

The bare guest is assembled (``bare.S``) with the cross compiler of images. The others are vtool's reference guest whose
init does what a Debian does at last: it has a getty on its console, or Debian's own sshd. Nothing of them is taken for
vtool's, as they are files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from posixpath import dirname, join, normpath
from tempfile import NamedTemporaryFile

from vtool.board.disk import with_system_programs

from .conftest import Bench
from .machine import make_key

HERE = Path(__file__).parent
BOARD = HERE / "foreign"
"""What is known of the board: its facts, its inventory, topologies for it."""
PASSWORD = "a guest's own secret"
READY = "bare: ready"
ISSUE = "Debian GNU/Linux 13"
"""What a getty says before it asks who wants to log in (issue(5))."""
_SHELL = "while :; do\n    setsid cttyhack sh -i\ndone\n"
_GETTY = "while :; do\n    setsid getty -L 115200 CONSOLE vt100\ndone\n"
_SSHD = "while :; do\n    /usr/sbin/sshd -D -e\n    sleep 1\ndone\n"
_SAYS_READY = "    echo 'vtool: domain ready' > /dev/console\n"


class ForeignBench(Bench):
    """The emulated board whose system nobody made for vtool; its one user becomes root by sudo."""

    user = "admin"

    def __init__(self, folder: Path, inventory: Path = BOARD / "inventory.yaml") -> None:
        super().__init__(folder, "foreign0")
        self._inventory = inventory

    def command(self, *words: str | Path) -> list[str]:
        own = ("--inventory", str(self._inventory))
        return super().command(*((words[0], *own, *words[1:]) if words[0] == "exec" else (*words, *own)))

    def ssh_command(self, command: str) -> list[str]:
        return super().ssh_command(f"sudo -n sh -c {shlex.quote(command)}")

    def files(self, folder: Path) -> dict[str, str]:
        """Return the digests of its files, below /var those of Debian's own record alone, by their paths.

        Read from outside, of a copy of its disk: an emulated processor takes minutes to read a system. What a running
        system writes by itself is left out, and so are useradd's copies of what was before. ``folder`` is emptied.
        """
        copy, out = folder / "disk.img", folder / "files"
        out.mkdir(parents=True)
        freeze = "sync; fsfreeze -f /boot && fsfreeze -f / && echo frozen; read -r _; fsfreeze -u /; fsfreeze -u /boot"
        with subprocess.Popen(self.ssh_command(freeze), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as frozen:
            assert frozen.stdin and frozen.stdout and frozen.stdout.readline() == b"frozen\n"
            subprocess.run(["cp", "--sparse=always", self.board_folder / "disk.img", copy], check=True)
            frozen.stdin.write(b"\n")
        listed = subprocess.run(["sfdisk", "--json", copy], capture_output=True, check=True).stdout
        starts = {row["name"]: row["start"] * 512 for row in json.loads(listed)["partitiontable"]["partitions"]}
        for partition, places in (("boot", "/"), ("root", "/etc /usr /opt /home /root /srv /var/lib/dpkg")):
            (out / partition).mkdir()
            words = ["debugfs", "-R", f"rdump {places} {out / partition}", f"{copy}?offset={starts[partition]}"]
            subprocess.run(words, capture_output=True, check=True, env=with_system_programs())
        found = {}
        for path in sorted(out.rglob("*")):
            name = str(path.relative_to(out))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file() and not re.search(r"^root/(etc/(machine-id|.*-)|root/\..*)$", name):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.rmtree(folder)
        assert len(found) > 5000, "debugfs says nothing of what it cannot read"
        return found


QEMUS_UART, XENS_UART = 0x0900_0000, 0x2200_0000
"""Where a guest has its PL011: hw/arm/virt.c, and GUEST_PL011_BASE of Xen's public/arch-arm.h."""


def bare_guest(folder: Path, uart: int = QEMUS_UART) -> tuple[Path, Path]:
    """Return the guest without an operating system: as an arm64 image with its header, and as an ELF file."""
    program, image = folder / "bare.elf", folder / "bare.bin"
    compiler = "aarch64-linux-gnu-gcc"
    link = ("-nostdlib", "-static", "-Wl,-Ttext=0x40080000", "-Wl,--build-id=none")
    subprocess.run(
        [compiler, *link, f'-DLINE="{READY}"', f"-DUART={uart:#x}", "-o", program, HERE / "bare.S"], check=True
    )
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", program, image], check=True)
    return image, program


def with_login(ramdisk: Path, init: str, console: str = "ttyAMA0") -> bytes:
    """Return vtool's reference guest (its ramdisk, its init) with a getty in the place of its shell."""
    assert _SHELL in init and _SAYS_READY in init
    init = init.replace(_SAYS_READY, "    :\n").replace(_SHELL, _GETTY.replace("CONSOLE", console))
    links = "".join(f"ln -s busybox /bin/{name}\n" for name in ("getty", "login"))
    init = init.replace("hostname guest\n", f"hostname guest\n{links}")
    return ramdisk.read_bytes() + _on_top(
        {
            "init": (init.encode(), 0o100755),
            "etc/passwd": (f"root:{hashed(PASSWORD)}:0:0:root:/root:/bin/sh\n".encode(), 0o100600),
            "etc/group": (b"root:x:0:\n", 0o100644),
            "etc/issue": (f"{ISSUE}\n".encode(), 0o100644),
        }
    )


def hashed(password: str, salt: str = "") -> str:
    """Return what a shadow file has for a password; the same each time by the same salt."""
    words = ["openssl", "passwd", "-6", "-stdin", *(("-salt", salt) if salt else ())]
    return subprocess.run(words, input=password, capture_output=True, text=True, check=True).stdout.strip()


def with_sshd(ramdisk: Path, init: str, root_files: Path, folder: Path) -> bytes:
    """Return vtool's reference guest with Debian's sshd in the place of its shell; its user's key is put into a folder.

    ``root_files`` is the archive of vtool's root file system, which has OpenSSH.
    """
    assert _SHELL in init and _SAYS_READY in init
    init = init.replace(_SAYS_READY, "    :\n").replace(_SHELL, _SSHD)
    user, _ = (make_key(folder / name) for name in ("id_ed25519", "host"))
    settings = "HostKey /etc/ssh/host\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPidFile none\n"
    return ramdisk.read_bytes() + _on_top(
        {
            **_programs(root_files, ("usr/sbin/sshd", "usr/lib/openssh/sshd-session", "usr/lib/openssh/sshd-auth")),
            "lib": (b"usr/lib", 0o120777),
            "init": (init.encode(), 0o100755),
            "etc/passwd": (b"root:*:0:0:root:/root:/bin/sh\nsshd:*:100:100::/run/sshd:/bin/false\n", 0o100644),
            "etc/group": (b"root:x:0:\nsshd:x:100:\n", 0o100644),
            "etc/ssh/sshd_config": (settings.encode(), 0o100644),
            "etc/ssh/host": ((folder / "host").read_bytes(), 0o100600),
            "root/.ssh/authorized_keys": (user.encode(), 0o100600),
            "run/sshd/.keep": (b"", 0o100644),
        }
    )


def _programs(root_files: Path, names: Iterable[str]) -> dict[str, tuple[bytes, int]]:
    """Return programs of an archive, the shared libraries that they need, and those that these need."""
    found: dict[str, tuple[bytes, int]] = {}
    with tarfile.open(root_files) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}
        wanted = ["usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", *names]
        while wanted:
            name = wanted.pop()
            if name in found:
                continue
            member = members[name]
            if member.issym():
                found[name] = (member.linkname.encode(), 0o120777)
                wanted.append(normpath(join(dirname(name), member.linkname)))
                continue
            stream = archive.extractfile(member)
            assert stream is not None
            found[name] = (stream.read(), 0o100755)
            with NamedTemporaryFile() as file:
                Path(file.name).write_bytes(found[name][0])
                words = ["aarch64-linux-gnu-readelf", "-d", file.name]
                said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            wanted += [f"usr/lib/aarch64-linux-gnu/{each}" for each in re.findall(r"NEEDED.*\[(.*)\]", said)]
    return {**found, "usr/lib/ld-linux-aarch64.so.1": (b"aarch64-linux-gnu/ld-linux-aarch64.so.1", 0o120777)}


def _on_top(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Return an archive to follow a ramdisk: Linux unpacks one after the other, and what comes last stands."""
    folders = {str(parent): (b"", 0o040755) for name in files for parent in Path(name).parents if str(parent) != "."}
    return gzip.compress(_archive({**dict(sorted(folders.items())), **files}))


def _archive(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """Write a cpio archive (newc): Linux Documentation/driver-api/early-userspace/buffer-format.rst."""
    out = io.BytesIO()
    entries = {**files, "TRAILER!!!": (b"", 0)}
    for number, (name, (data, mode)) in enumerate(entries.items(), 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out.write(b"070701" + b"".join(f"{field:08x}".encode() for field in fields) + name.encode() + b"\0")
        out.write(b"\0" * (-out.tell() % 4) + data)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()
