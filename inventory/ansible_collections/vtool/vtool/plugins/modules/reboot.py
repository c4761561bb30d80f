"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: reboot
short_description: Reboot a board and wait for it
description:
  - Fails when another generation comes up than the one that was applied, with the end of what the console said.
version_added: 0.1.0
author: vtool (@vtool)
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
"""

EXAMPLES = r"""
- name: Reboot a board and wait for it
  vtool.vtool.reboot:
"""

RETURN = r"""
"""
