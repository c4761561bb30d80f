"""How OpenSSH and Ansible reach a board: the words that a target becomes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from vtool.board.protocols import SshTarget


def ssh_options(target: SshTarget) -> list[str]:
    """Return ssh's words that pin a target's host key and key, whatever the user's configuration says."""
    return [
        *("-o", f'UserKnownHostsFile="{_plain(target.known_hosts_file)}"'),
        *("-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", "IdentitiesOnly=yes"),
    ]


def _plain(path: Path) -> str:
    """Write a path for ssh's options that expand percent signs in it; names with a space want quotes around it."""
    return str(path).replace("%", "%%")


def connection_variables(target: SshTarget) -> dict[str, Any]:
    """Return Ansible's connection variables of a board."""
    return {
        "ansible_host": target.host,
        "ansible_port": target.port,
        "ansible_user": target.user,
        "ansible_ssh_private_key_file": _plain(target.identity_file),
        "ansible_ssh_common_args": shlex.join(ssh_options(target)),
        # Discovery may pick a broken interpreter, and costs a round trip.
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def jump_arguments(target: SshTarget) -> str:
    """Return ssh's words, as one line, that lead to a host behind a board."""
    key = f'IdentityFile="{_plain(target.identity_file)}"'
    to_board = ["ssh", "-F", "/dev/null", "-p", str(target.port), "-l", target.user, "-o", key]
    words = [*to_board, *ssh_options(target)]
    # The outer ssh expands percent signs in all of the command; only those of the host's place are meant.
    command = f"{shlex.join(words).replace('%', '%%')} -W '[%h]:%p' {shlex.quote(target.host)}"
    return shlex.join(["-o", f"ProxyCommand={command}"])
