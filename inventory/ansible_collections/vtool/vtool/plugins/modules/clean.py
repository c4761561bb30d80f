"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: clean
short_description: Remove everything that vtool put on a board
description:
  - Domains and backends are stopped, disks are removed.
version_added: 0.1.0
author: vtool (@vtool)
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
"""

EXAMPLES = r"""
- name: Remove everything that vtool put on a board
  vtool.vtool.clean:
"""

RETURN = r"""
reboot:
  description: Whether the board has to reboot to run the system that it came with.
  returned: success
  type: bool
"""
