"""How OpenSSH and Ansible reach a board: the words that a target becomes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from vtool.board.protocols import SshTarget


def ssh_options(target: SshTarget) -> list[str]:
    """Return ssh's words that pin a target's host key and its key, whatever the user's configuration says."""
    identity = "none" if target.identity_file is None else _plain(target.identity_file)
    return [
        *("-F", "/dev/null"),
        *("-o", f'UserKnownHostsFile="{_plain(target.known_hosts_file)}"', "-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", f'IdentityFile="{identity}"'),
        *("-o", f"IdentitiesOnly={'no' if target.identity_file is None else 'yes'}"),
        *("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=20"),
    ]


def ssh_command(target: SshTarget, *options: str) -> list[str]:
    """Return the words of an ssh command to a board, all but the remote one."""
    return ["ssh", *ssh_options(target), *options, "-p", str(target.port), "-l", target.user, "--", target.host]


def _plain(path: Path) -> str:
    """Write a path for ssh's options that expand percent signs in it; names with a space want quotes around it."""
    return str(path).replace("%", "%%")


def connection_variables(target: SshTarget) -> dict[str, Any]:
    """Return Ansible's connection variables of a board."""
    return {
        "ansible_host": target.host,
        "ansible_port": target.port,
        "ansible_user": target.user,
        "ansible_ssh_common_args": shlex.join(ssh_options(target)),
        # Discovery may pick a broken interpreter, and costs a round trip.
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def jump_arguments(target: SshTarget) -> str:
    """Return ssh's words, as one line, that lead to a host behind a board."""
    *words, end_of_options, host = ssh_command(target)
    # The outer ssh expands percent signs in all of the command; only those of the host's place are meant.
    command = f"{shlex.join(words).replace('%', '%%')} -W '[%h]:%p' {end_of_options} {shlex.quote(host)}"
    return shlex.join(["-o", f"ProxyCommand={command}"])
