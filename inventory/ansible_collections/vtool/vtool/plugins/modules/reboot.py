"""Documentation only: the action plugin of this name does it, on the controller."""

DOCUMENTATION = r"""
module: reboot
short_description: Reboot a board and wait for it
description:
  - Fails when another generation comes up than the one that was applied, with the end of what the console said.
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
- name: Reboot a board and wait for it
  vtool.vtool.reboot:
"""

RETURN = r"""
"""
