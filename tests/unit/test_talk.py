"""What is typed into a domain's shell: a real shell reads the command that was meant."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest

from vtool.deploy.on_board.talk import as_typed

COMMANDS = (
    "echo it\\'s 'two  spaces' \"$((1 + 2))\" | sed 's/two/2/' # !! $ `echo three`",
    "printf 'a\tb'",
    "cat <<END\nlines\nEND",
    "echo größer",
    "false",
    "",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_shell_does_what_was_meant(shell: str, command: str) -> None:
    meant, typed = (
        subprocess.run([shell, "-c", text], capture_output=True, check=False)
        for text in (command, f"eval {as_typed(command)}")
    )
    assert (typed.returncode, typed.stdout, typed.stderr) == (meant.returncode, meant.stdout, meant.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_line_editing_changes_nothing(command: str) -> None:
    """An interactive bash completes at a tab and looks up its history at an exclamation mark."""
    here, there = pty.openpty()
    with subprocess.Popen(["bash", "--norc", "-i"], stdin=there, stdout=subprocess.PIPE, stderr=there) as shell:
        os.close(there)
        os.write(here, b"half a line\x15(eval " + as_typed(command).encode() + b")\nexit $?\n")
        output, _ = shell.communicate(timeout=60)
        os.close(here)
    meant = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (shell.returncode, output) == (meant.returncode, meant.stdout)
