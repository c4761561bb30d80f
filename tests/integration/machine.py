"""A machine to reach over ssh: Debian's sshd and sudo in a mount namespace of their own.

Its users, sudoers, /usr/local/sbin, /run, /var/lib, /sys/firmware and kernel command line are its own; the rest is this
machine's. It lives as long as its sshd process. Tests and benchmarks make it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

USER, USER_ID = "vtool", 61234
_ENTER = """
set -e
for f in passwd shadow group; do mount --bind "$1/etc/$f" "/etc/$f"; done
if test -e "$1/etc/sudoers"; then mount --bind "$1/etc/sudoers" /etc/sudoers; fi
mount --bind "$1/sbin" /usr/local/sbin
mount --bind "$1/firmware" /sys/firmware
mount --bind "$1/cmdline" /proc/cmdline
mount --bind "$1/run" /run
mount --bind "$1/lib" /var/lib
mkdir -p -m 0755 /run/sshd /run/systemd/system
eval "$2"
exec /usr/sbin/sshd -D -e -f "$1/etc/sshd_config"
"""


def make_key(path: Path) -> str:
    """Make a key pair; return the public key without its comment."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def why_not() -> str:
    """Tell why there can be no machine here; empty when there can."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        return "a machine with users of its own needs root and mount namespaces"
    if not Path("/usr/sbin/sshd").exists() or shutil.which("sudo") is None:
        return "openssh-server or sudo is not installed"
    return ""


def why_no_board_folder() -> str:
    """Tell why a folder of sshds is not where boards have vtool's; empty when it is."""
    there = Path("/var/tmp").stat().st_dev == Path("/").stat().st_dev
    return "" if there else "/var/tmp is not on the root file system, where a board has vtool's folder"


@contextlib.contextmanager
def sshd_folder() -> Iterator[tuple[Path, contextlib.ExitStack]]:
    """Yield a folder for sshds, which their users can enter, and what ends them before it goes."""
    with tempfile.TemporaryDirectory(prefix="vt-", dir="/var/tmp") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        folder.chmod(0o755)
        yield folder, stack


class Machine:
    """``folder`` must be one that other users can enter; ``mounts`` are shell lines for more ("$1" is the folder).

    It is started by the command ``inside``, which may enter a network namespace that has ``address``.
    """

    def __init__(
        self, folder: Path, mounts: str = "", address: str = "127.0.0.1", inside: tuple[str, ...] = ()
    ) -> None:
        self._mounts, self.address, self._inside = mounts, address, inside
        self.folder, self.port = folder, free_port()
        etc = folder / "etc"
        for name in ("etc", "sbin", "firmware", "home", "run", "lib"):
            (folder / name).mkdir()
        (etc / "passwd").write_text(
            f"root:x:0:0::{folder}/home:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
            f"{USER}:x:{USER_ID}:{USER_ID}::{folder}/home:/bin/sh\n"
        )
        (etc / "shadow").write_text(f"root:*:1::::::\n{USER}:*:1::::::\n")
        (etc / "group").write_text(f"root:x:0:\n{USER}:x:{USER_ID}:\n")
        (folder / "cmdline").write_text("console=ttyS0 root=/dev/sda1\n")
        self.host_key = make_key(folder / "host")
        self.identity = folder / "identity"
        make_key(self.identity)
        (etc / "sshd_config").write_text(
            f'ListenAddress {address}\nPort {self.port}\nHostKey "{folder}/host"\nPidFile none\nUsePAM no\n'
            f'StrictModes no\nAuthorizedKeysFile "{folder}/identity.pub"\nPasswordAuthentication no\n'
            "Subsystem sftp internal-sftp\n"
        )
        os.chown(folder / "home", USER_ID, USER_ID)
        self.allow("")
        self._process: subprocess.Popen[bytes] | None = None

    def allow(self, sudoers: str) -> None:
        """Write /etc/sudoers; before the machine is on."""
        path = self.folder / "etc" / "sudoers"
        path.unlink(missing_ok=True)
        path.write_text(sudoers)
        path.chmod(0o440)

    def on(self) -> None:
        if self.is_on():
            return
        command = [*self._inside, "unshare", "--mount", "--", "sh", "-c", _ENTER, "sh", str(self.folder), self._mounts]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.is_on():
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"sshd does not listen: {(self.folder / 'log').read_text()}")

    def off(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def processor_s(self) -> float:
        """Return the processor seconds of its sshd and of all that ran in it and has ended (proc(5), stat)."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    @property
    def process_id(self) -> int | None:
        """The process that has its mount namespace; None while it is off."""
        return self._process.pid if self._process is not None else None

    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None
