"""The start of Ansible's process: ``ansible-playbook`` with less to look at, run by its file (``playbook.py``).

Each task on each board is a fork of this process, and every verb on boards waits for its start. What stands here is a
sixth of its processor time: 0.14 s with ten boards to which nothing is new, 0.09 s with one.
"""

from __future__ import annotations

import gc
import sys

_OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Starting makes many objects that stay; Python's own 700 would look through them again and again."""


def start() -> None:
    """Be ``ansible-playbook``, with the words of this process's command line."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # Ansible imports it to see whether it is there, a tenth of its start; here no task of its own reaches a board.
    sys.modules["paramiko"] = None  # type: ignore[assignment]
    from ansible.cli.playbook import main  # type: ignore[import-untyped] # noqa: PLC0415 - after what is said above

    gc.freeze()  # a fork that looked through what was imported would copy it
    main()


if __name__ == "__main__":
    start()
