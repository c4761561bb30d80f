"""A system that nobody made for vtool: Debian with its own kernel, without Python, root's login and Debian's Xen units.

vtool takes it over and gives it back byte for byte.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Bench

pytestmark = [pytest.mark.board, pytest.mark.long]

HERE = Path(__file__).parent / "foreign"
WITH = ("--inventory", str(HERE / "inventory.yaml"))
ABOUT_OWN = ("the kernel that runs is the one deployed", "it was started with the ramdisk deployed")
# What a running system writes by itself is not what it came with, nor are useradd's copies of what was before.
FILES = (
    "cd / && sudo find etc usr boot lib sbin bin opt home root -xdev -type f ! -path 'etc/machine-id' "
    "! -path 'root/.*' ! -path 'etc/*-' -print0 | sort -z | sudo xargs -0 sha256sum | sha256sum"
)


def on_board(bench: Bench, command: str) -> str:
    folder = bench.board_folder
    words = ["ssh", "-F", "/dev/null", "-i", str(folder / "id_ed25519"), "-o", "BatchMode=yes"]
    words += ["-o", f"UserKnownHostsFile={folder / 'known_hosts'}", "-p", (folder / "ssh_port").read_text().strip()]
    done = subprocess.run([*words, "admin@127.0.0.1", command], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout.strip()


def rows_of(bench: Bench, topology: Path) -> dict[str, dict[str, Any]]:
    report = json.loads(bench.vtool("deploy", topology, *WITH, "--format", "json").stdout)[0]
    assert report["failure"] == [] and all(row["proven"] or row["noted"] for row in report["rows"]), report["rows"]
    return {row["what"]: row for row in report["rows"]}


def test_it_is_taken_over_as_it_is_and_given_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "foreign0")
    try:
        bench.vtool("board", "up", "foreign0", *WITH)
        assert on_board(bench, "command -v python3 || echo none") == "none"
        before, own = on_board(bench, FILES), on_board(bench, "cat /proc/version")
        for topology in (HERE / "kvm.yaml", HERE / "xen.yaml"):
            rows = rows_of(bench, topology)
            assert set(ABOUT_OWN) <= set(rows)
            assert on_board(bench, "cat /proc/version") == own
            assert on_board(bench, "lsmod | wc -l") != "1", "its modules are those of its kernel"
            again = json.loads(bench.vtool("deploy", topology, *WITH, "--format", "json").stdout)[0]
            assert (again["changed"], again["rebooted"]) == (False, False)
        assert on_board(bench, "sudo xl list | awk '{ print $1 }'").split() == ["Name", "Domain-0", "fe0"]
        bench.vtool("down", HERE / "xen.yaml", *WITH)
        assert on_board(bench, FILES) == before
        assert on_board(bench, "ls -d /var/lib/vtool /usr/local/sbin/vtool-board 2>/dev/null || true") == ""
        assert "vtool" not in on_board(bench, "cat /proc/cmdline")
    finally:
        bench.vtool("board", "destroy", "foreign0", *WITH)
