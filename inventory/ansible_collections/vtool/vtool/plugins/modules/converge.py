"""Documentation only: the action plugin of this name does it, on the controller."""

DOCUMENTATION = r"""
module: converge
short_description: Start backends and domains and wait until they are ready
description:
  - Fails with the end of a domain's console when one does not get ready.
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
- name: Start backends and domains and wait until they are ready
  vtool.vtool.converge:
"""

RETURN = r"""
"""
