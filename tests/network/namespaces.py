"""A board and a lab as two network namespaces with a cable between them: the board's eth0, the lab's lan0.

The board's /run, /sys, /var/lib and /usr/local/sbin are its own, and all else that it could write to is read-only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from tests.integration.machine import make_key
from vtool.deploy.board_program import board_program

DEADLINE_S = 60
PYTHON = os.path.realpath(sys.executable)
"""Found on a board, too: its /tmp is empty, and a virtual environment may be there."""
BOARD, LAB, SSH_PORT = "192.0.2.7", "192.0.2.1", 2222
_SAYS = re.compile(r"(valid|preferred)_lft [0-9]+sec|expires [0-9]+sec|master br0|(qlen|qdisc|group) \S+")
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()"


_ENTER = """
set -e
mount --make-rprivate /
mount --bind / "$1/root"
mount -t proc proc "$1/root/proc"
mount -t sysfs sysfs "$1/root/sys"
mount -t tmpfs tmpfs "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
mount -t tmpfs tmpfs "$1/root/var/lib"
mount -t tmpfs tmpfs "$1/root/usr/local/sbin"
mount --rbind /dev "$1/root/dev"
mkdir -p "$1/root/run/sshd" "$1/root/run/shims" "$1/root/run/systemd/system" "$1/root/tmp/board"
mount --bind "$1/files" "$1/root/tmp/board"
mount -o remount,bind,ro "$1/root"
ip link set lo up
exec chroot "$1/root" sh -c 'cd /run; echo ready; exec cat'
"""


def why_not() -> str:
    """Tell why there can be none here; empty when there can."""
    able = os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0
    return "" if able else "network namespaces with a cable between them need root"


class Namespace:
    """A network namespace with a view of the files of its own, as long as a process in it lives."""

    def __init__(self, folder: Path, *, is_board: bool) -> None:
        for name in ("root", "files"):
            (folder / name).mkdir(parents=True)
        self.files = folder / "files"
        enter = _ENTER if is_board else "ip link set lo up; echo ready; exec cat"
        holder = ["unshare", "--net", "--mount", "sh", "-c", enter, "sh", str(folder)]
        self._holder = subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._holder.stdout and self._holder.stderr
        assert self._holder.stdout.readline() == b"ready\n", self._holder.stderr.read()
        self.pid = self._holder.pid
        root = ("--root", "--wd") if is_board else ()
        self.prefix = ("nsenter", "--net", "--mount", *root, "--target", str(self.pid))

    def run(self, *argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.prefix, *argv], input=stdin, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done

    def ip(self, *words: str) -> Any:
        return json.loads(self.run("ip", "-j", *words).stdout or "[]")

    def program(self, *words: str, check: bool = True) -> dict[str, Any]:
        """Run vtool-board, with the shims before the board's programs."""
        run = ["env", "PATH=/run/shims:/usr/sbin:/usr/bin:/sbin:/bin", PYTHON, "-IS", "/tmp/board/vtool-board"]
        done = self.run(*run, *words, check=False)
        said: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"killed": done.returncode}
        assert not check or not {"error", "killed"} & set(said), (said, done.stderr)
        return said

    def shim(self, name: str, text: str) -> None:
        """Put a program before one of the board's."""
        self.run(
            "sh",
            "-c",
            f"cat >/run/shims/{name}.new && chmod 755 /run/shims/{name}.new && "
            f"mv /run/shims/{name}.new /run/shims/{name}",
            stdin=text,
        )

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class Place:
    """The board and the lab, and what is seen of the board's network."""

    def __init__(self, folder: Path) -> None:
        self.board, self.lab = (
            Namespace(folder / "board", is_board=True),
            Namespace(folder / "lab", is_board=False),
        )
        self.processes: list[subprocess.Popen[bytes]] = []
        (self.board.files / "vtool-board").write_bytes(board_program())
        board, lab = self.board, self.lab
        board.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "lan0", "netns", str(lab.pid))
        lab.run("ip", "address", "add", f"{LAB}/24", "dev", "lan0")
        lab.run("ip", "-6", "address", "add", "2001:db8::1/64", "dev", "lan0", "nodad")
        lab.run("ip", "link", "set", "lan0", "up")
        board.run("ip", "address", "add", f"{BOARD}/24", "broadcast", "192.0.2.255", "dev", "eth0")
        board.run("ip", "address", "add", "198.51.100.7/25", "dev", "eth0")
        board.run("ip", "-6", "address", "add", "2001:db8::7/64", "dev", "eth0", "nodad")
        board.run("ip", "link", "set", "eth0", "up")
        board.run("ip", "route", "add", "default", "via", LAB, "src", BOARD, "metric", "100", "proto", "dhcp")
        board.run("ip", "route", "add", "203.0.113.0/24", "via", LAB, "mtu", "1400", "table", "7")
        board.run("ip", "route", "add", "203.0.114.9", "via", "203.0.113.1", "dev", "eth0", "onlink")
        board.run("ip", "-6", "route", "add", "default", "via", "2001:db8::1", "metric", "512")
        board.run("ip", "-6", "route", "add", "2001:db8:1::/48", "via", "2001:db8::1")

    def __enter__(self) -> Self:
        serve = "import socket, time; s = socket.create_server(('::', 7777), family=socket.AF_INET6, "
        serve += "dualstack_ipv6=True); print('ready', flush=True); time.sleep(600)"
        server = subprocess.Popen([*self.board.prefix, PYTHON, "-c", serve], stdout=subprocess.PIPE)
        self.processes.append(server)
        assert server.stdout and server.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.board.close()
        self.lab.close()

    def network(self, interface: str) -> tuple[str, ...]:
        """Return addresses and routes of an interface in iproute2's words, without what counts down."""
        said = [self.board.run("ip", "-o", "address", "show", "dev", interface).stdout]
        for family in ("-4", "-6"):
            words = ("ip", family, "route", "show", "table", "all", "dev", interface)
            said.append(self.board.run(*words, check=False).stdout)
        lines = [line for text in said for line in text.splitlines()]
        # A link's own address, and what the kernel makes of addresses; interfaces have numbers.
        lines = [re.sub(r"^[0-9]+: ", "", line.replace(interface, "IFACE")) for line in lines]
        lines = [line for line in lines if not re.search(r"fe80|ff00|anycast|multicast|^local|broadcast 1", line)]
        return tuple(sorted(" ".join(_SAYS.sub("", line).split()) for line in lines))

    def answers(self, address: str = BOARD) -> bool:
        """Whether the board's port of a server is reached from the lab."""
        done = self.lab.run(sys.executable, "-c", CONNECT, address, "7777", check=False)
        return done.returncode == 0

    def master(self, interface: str = "eth0") -> str:
        (link,) = self.board.ip("link", "show", "dev", interface)
        return str(link.get("master", ""))

    def bridges(self) -> list[str]:
        return [link["ifname"] for link in self.board.ip("link", "show", "type", "bridge") if link]


class Sshd:
    """An sshd on the board, and a key that root may come with."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.identity, files = place, folder / "identity", place.board.files
        self.host_key = make_key(files / "host")
        (files / "authorized_keys").write_text(make_key(self.identity) + "\n")
        files.chmod(0o755)
        (files / "sshd_config").write_text(
            f"Port {SSH_PORT}\nHostKey /tmp/board/host\nPidFile none\nUsePAM no\nStrictModes no\n"
            "AuthorizedKeysFile /tmp/board/authorized_keys\nPermitRootLogin yes\n"
        )
        words = ("/usr/sbin/sshd", "-D", "-e", "-f", "/tmp/board/sshd_config")
        place.processes.append(subprocess.Popen([*place.board.prefix, *words], stderr=subprocess.DEVNULL))
        until(lambda: self.run("true").returncode == 0)

    def command(self, *words: str) -> list[str]:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=2")
        given = [word for option in options for word in ("-o", option)]
        ssh = ("ssh", "-F", "/dev/null", *given, "-i", str(self.identity), "-p", str(SSH_PORT), f"root@{BOARD}", *words)
        return [*self.place.lab.prefix, *ssh]

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.command(*words), capture_output=True, check=False)


def until(what: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)
