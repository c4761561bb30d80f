"""What the documentation of tasks for boards shares."""

from __future__ import annotations


class ModuleDocFragment:
    """Tasks that ask the process which holds a board."""

    DOCUMENTATION = r"""
attributes:
  action:
    description: All of it is done on the controller, and by the process that holds the board.
    support: full
requirements: [vtool]
notes:
  - Runs on hosts that are boards of a topology, as the inventory plugin P(vtool.vtool.topology#inventory) makes them.
"""

    SKIPPED = r"""
attributes:
  check_mode:
    description: Is skipped in check mode.
    support: none
  diff_mode:
    description: Has nothing to show.
    support: none
"""
