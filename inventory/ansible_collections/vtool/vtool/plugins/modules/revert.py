"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: revert
short_description: Go back to the last good generation
description:
  - Does nothing where nothing was applied, or what was is confirmed.
version_added: 0.1.0
author: vtool (@vtool)
options:
  keep:
    description: Leave it running, unconfirmed, to be looked at.
    type: bool
    default: false
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
"""

EXAMPLES = r"""
- name: Go back to the last good generation
  vtool.vtool.revert:
"""

RETURN = r"""
generation:
  description: The generation that runs now, empty for the system that the board came with.
  returned: success
  type: str
"""
