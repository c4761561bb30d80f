"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: rollback
short_description: Make an earlier generation run again, unconfirmed
description:
  - M(vtool.vtool.reboot), M(vtool.vtool.converge), M(vtool.vtool.observe) and M(vtool.vtool.confirm) follow.
version_added: 0.1.0
author: vtool (@vtool)
options:
  generation:
    description: How its name begins; the one before the last good one if it is empty.
    type: str
    default: ''
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
"""

EXAMPLES = r"""
- name: Make an earlier generation run again, unconfirmed
  vtool.vtool.rollback:
"""

RETURN = r"""
generation:
  description: The generation.
  returned: success
  type: str
reboot:
  description: Whether the board has to reboot for it.
  returned: success
  type: bool
"""
