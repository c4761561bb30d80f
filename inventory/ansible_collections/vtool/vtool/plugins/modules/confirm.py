"""Documentation only: the action plugin of this name does it, on the controller."""

DOCUMENTATION = r"""
module: confirm
short_description: Make what runs what boots from now on
description:
  - Comes after M(vtool.vtool.observe).
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
- name: Make what runs what boots from now on
  vtool.vtool.confirm:
"""

RETURN = r"""
generation:
  description: The generation that boots.
  returned: success
  type: str
"""
