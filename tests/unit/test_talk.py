"""What is typed into a domain's shell: a real shell reads the command that was meant."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from vtool.deploy.on_board.talk import as_typed, press

COMMANDS = (
    "echo it\\'s 'two  spaces' \"$((1 + 2))\" | sed 's/two/2/' # !! $ `echo three`",
    "printf 'a\tb'",
    "cat <<END\nlines\nEND",
    "echo größer",
    "false",
    "",
    "set -- " + "270050 27'0051 " * 400 + "; echo $# $*",
    "set --" + "\n".join(f" größe {number} \\" for number in range(300)) + "\necho $# $*",
)


def typed(command: str, to: str = "") -> str:
    first, word = as_typed(command)
    assert max(map(len, (*first, word))) < 1000
    return "".join(f"{line}\n" for line in (*first, f"(eval {word}){to}"))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_shell_does_what_was_meant(shell: str, command: str) -> None:
    meant, done = (
        subprocess.run([shell, "-c", text], capture_output=True, check=False) for text in (command, typed(command))
    )
    assert (done.returncode, done.stdout, done.stderr) == (meant.returncode, meant.stdout, meant.stderr)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("interactive", [("bash", "--norc", "-i"), ("busybox", "sh", "-i")])
def test_line_editing_changes_nothing(interactive: tuple[str, ...], command: str, tmp_path: Path) -> None:
    """An interactive bash completes at a tab and looks up its history at an exclamation mark; busybox's lines end."""
    output = tmp_path / "output"
    here, there = pty.openpty()
    with subprocess.Popen(interactive, stdin=there, stdout=subprocess.PIPE, stderr=there) as shell:
        os.close(there)
        press(here, f"half a line\x15{typed(command, f' >{output}')}exit $?\n".encode())
        try:
            shell.communicate(timeout=60)
        finally:
            os.close(here)  # a shell that wants more ends, too
    meant = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (shell.returncode, output.read_bytes()) == (meant.returncode, meant.stdout)
