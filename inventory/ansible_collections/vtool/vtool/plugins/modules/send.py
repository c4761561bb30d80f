"""Documentation only: the action plugin of this name does it, on the controller."""

DOCUMENTATION = r"""
module: send
short_description: Send a board what it lacks
description:
  - Comes after M(vtool.vtool.compare).
version_added: 0.1.0
author: vtool (@vtool)
attributes:
  check_mode:
    description: Is skipped in check mode.
    support: none
  diff_mode:
    description: Has nothing to show.
    support: none
requirements: [vtool]
notes:
  - Runs on hosts that are boards of a topology, as the inventory plugin P(vtool.vtool.topology#inventory) makes them.
"""

EXAMPLES = r"""
- name: Send a board what it lacks
  vtool.vtool.send:
"""

RETURN = r"""
objects:
  description: How many were missing.
  returned: success
  type: int
"""
