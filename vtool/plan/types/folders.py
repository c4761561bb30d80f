"""Where vtool keeps things on a board."""

from __future__ import annotations

BOARD_FOLDER = "/var/lib/vtool"
"""vtool's folder on a board: ``generations/``, ``store/``, ``disks/`` and the link ``current``."""
CURRENT = f"{BOARD_FOLDER}/current"
DISKS = f"{BOARD_FOLDER}/disks"
SHARES = f"{BOARD_FOLDER}/shares"
RUN = "/run/vtool"
PROGRAM = f"{CURRENT}/vtool-board"
XSM_POLICY = "xsm-policy"
"""The name of a FLASK policy in the boot set."""
