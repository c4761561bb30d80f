"""Passwords and keys that get into guests: read when a proof needs them, handed to the board in memory, kept nowhere.

Enter at ``secrets_of``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.files.regular import read_regular, reason_of
from vtool.plan.types import Guest, GuestAccess


def secrets_of(guests: Iterable[Guest]) -> dict[str, str]:
    """Return what gets into guests, by their names; of a password the first line. VtoolError VT487: some is not there.

    Files are named as seen from the file that names them.
    """
    found: dict[str, str] = {}
    faults: list[Diagnostic] = []
    for guest in guests:
        try:
            secret = _secret_of(guest.access)
        except _Missing as missing:
            faults.append(Diagnostic("VT487", f"what gets into '{guest.name}': {missing}", guest.access.place))
        else:
            if secret is not None:
                found[guest.name] = secret
    if faults:
        raise VtoolError(faults)
    return found


class _Missing(Exception):
    """Why a secret is not there, in words."""


def _secret_of(access: GuestAccess) -> str | None:
    if access.password_env is not None:
        said = os.environ.get(access.password_env)
        if said is None:
            raise _Missing(f"the variable '{access.password_env}' is not set")
        return said
    file = access.password_file or access.key_file
    if file is None:
        return None
    beside = access.place.path.parent if access.place else Path()
    path = beside / Path(file).expanduser()
    try:
        text = read_regular(path).decode()
    except OSError as error:
        raise _Missing(f"'{path}' cannot be read: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise _Missing(f"'{path}' is no text") from None
    return text if access.key_file else (text.splitlines() or [""])[0]
