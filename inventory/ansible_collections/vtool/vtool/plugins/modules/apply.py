"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: apply
short_description: Make what was sent run, unconfirmed
description:
  - Comes after M(vtool.vtool.compare) and M(vtool.vtool.send).
  - Until M(vtool.vtool.confirm), any boot leads back to the last good generation.
version_added: 0.1.0
author: vtool (@vtool)
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
"""

EXAMPLES = r"""
- name: Make what was sent run, unconfirmed
  vtool.vtool.apply:
"""

RETURN = r"""
reboot:
  description: Whether the board has to reboot for it.
  returned: success
  type: bool
restarted:
  description: The units that were stopped.
  returned: success
  type: list
  elements: raw
"""
