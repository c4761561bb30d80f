"""A real emulated board of its own, driven through the command line as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .machine import Machine, why_not

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"


class Bench:
    """The command line with its own state folder, and a back door onto the board."""

    user = "root"

    def __init__(self, folder: Path, board: str = "board0") -> None:
        self.folder = folder
        self.board = board
        self.environment = {
            **os.environ,
            "VTOOL_STATE": str(folder / "state"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "NO_COLOR": "1",
        }
        (folder / "run").mkdir(exist_ok=True)

    @property
    def board_folder(self) -> Path:
        return self.folder / "state" / "boards" / self.board

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "vtool.cli.main", *map(str, words)]

    def vtool(self, *words: str | Path, code: int = 0, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        shown = f"$ vtool {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, shown
        assert done.returncode == code, shown
        return done

    def deploy(self, topology: Path, *options: str, code: int = 0) -> dict[str, Any]:
        done = self.vtool("deploy", topology, *options, "--format", "json", code=code)
        report: dict[str, Any] = json.loads(done.stdout)[0]
        print(f"deploy {topology.name}: {report['seconds']}")
        return report

    def play(self, name: str, topology: Path, *words: str, code: int = 0) -> str:
        """Run a playbook of the collection as a person with Ansible does."""
        source = self.folder / "lab.vtool.yaml"
        source.write_text(json.dumps({"plugin": "vtool.vtool.topology", "topology": str(topology.absolute())}))
        playbook = str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [playbook, "-i", str(source), f"vtool.vtool.{name}", *words],
            env={**self.environment, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "inventory"), "COLUMNS": "500"},
            capture_output=True,
            text=True,
            timeout=1800,
            stdin=subprocess.DEVNULL,
        )
        shown = f"$ ansible-playbook vtool.vtool.{name} {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in shown and done.returncode == code, shown
        return done.stdout

    def verify(self, topology: Path, code: int = 0) -> list[dict[str, Any]]:
        report = json.loads(self.vtool("verify", topology, "--format", "json", code=code).stdout)
        rows: list[dict[str, Any]] = report[0]["rows"]
        return rows

    def change_tree(self, topology: Path, folder: Path, changes: dict[str, str]) -> None:
        """Give fe0 another overlay than was deployed, behind vtool's back; it takes effect with its next start."""
        self.vtool("render", topology, "-o", folder)
        source = (folder / "board0/generation/domains/fe0/fe0.dts").read_text()
        for written, instead in changes.items():
            assert source.count(written) == 1, written
            source = source.replace(written, instead)
        made = subprocess.run(["dtc", "-q", "-@", "-O", "dtb"], input=source.encode(), capture_output=True, check=True)
        self.ssh("cat > /var/lib/vtool/current/domains/fe0/fe0.dtbo", made.stdout)

    def ssh(self, command: str, stdin: bytes = b"", code: int = 0) -> str:
        done = subprocess.run(self.ssh_command(command), input=stdin, capture_output=True, timeout=300)
        assert done.returncode == code, (command, done.stdout, done.stderr)
        return done.stdout.decode()

    def ssh_command(self, command: str) -> list[str]:
        folder = self.board_folder
        return [
            *("ssh", "-F", "/dev/null", "-i", str(folder / "id_ed25519"), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes"),
            *("-p", (folder / "ssh_port").read_text().strip(), f"{self.user}@127.0.0.1", command),
        ]


def interrupted(
    command: list[str], environment: dict[str, str], at: str, before: Callable[[], None] = lambda: None
) -> tuple[int, str]:
    """Run a command, press Ctrl-C once it has said ``at``; return its exit code and what it said afterwards."""
    with subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        preexec_fn=takes_ctrl_c,  # noqa: PLW1509 - no threads
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if at in line:
                before()
                running.send_signal(signal.SIGINT)
                break
        rest = running.stderr.read()
        return running.wait(300), rest


def takes_ctrl_c() -> None:
    """Undo that a shell's background job ignores Ctrl-C and hands that down; a user's terminal does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="vt-"))
    bench = Bench(folder)
    try:
        yield bench
    finally:
        subprocess.run(bench.command("board", "power", "off"), env=bench.environment, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine to reach over ssh, in a folder that other users can enter; it is off."""
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="vtool machine "))  # spaces reach every command line
    folder.chmod(0o755)
    monkeypatch.setenv("VTOOL_STATE", str(folder / "state of vtool"))
    machine = Machine(folder)
    try:
        yield machine
    finally:
        machine.off()
        for _ in range(50):  # what lost its connection there may write that down
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
                break
            time.sleep(0.1)
