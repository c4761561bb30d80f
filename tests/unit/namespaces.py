"""A board and a lab as two network namespaces with a cable between them: the board's eth0, the lab's lan0.

The board's /run and /sys are its own, and all else that it could write to is read-only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DEADLINE_S = 60
_ENTER = """
set -e
mount --make-rprivate /
mount --bind / "$1/root"
mount -t proc proc "$1/root/proc"
mount -t sysfs sysfs "$1/root/sys"
mount -t tmpfs tmpfs "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
mount --rbind /dev "$1/root/dev"
mkdir -p "$1/root/run/sshd" "$1/root/run/shims" "$1/root/tmp/board"
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
        run = ["env", "PATH=/run/shims:/usr/sbin:/usr/bin:/sbin:/bin", sys.executable, "-IS", "/tmp/board/vtool-board"]
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
