"""QEMU's monitor: a line of JSON asks, a line answers (QEMU docs/interop/qmp-spec.rst). Enter at ``monitor``."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_DEADLINE_S = 15.0


Execute = Callable[..., Any]
"""Runs a command of QMP, with its arguments by name, and returns its result; OSError when it fails."""


@contextmanager
def monitor(path: Path) -> Iterator[Execute]:
    """Connect to a monitor's socket; OSError when nobody answers there."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_DEADLINE_S)
        connection.connect(str(path))
        stream = connection.makefile("rw")

        def execute(command: str, **arguments: Any) -> Any:
            stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            stream.flush()
            while line := stream.readline():
                answer = json.loads(line)
                if "error" in answer:
                    raise OSError(answer["error"]["desc"])
                if "return" in answer:  # events come in between
                    return answer["return"]
            raise ConnectionError(f"QEMU closed '{path}'")

        stream.readline()  # it says which QEMU it is
        execute("qmp_capabilities")
        yield execute
