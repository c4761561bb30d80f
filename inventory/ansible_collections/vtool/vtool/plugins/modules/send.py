"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: send
short_description: Send a board what it lacks
description:
  - Comes after M(vtool.vtool.compare).
version_added: 0.1.0
author: vtool (@vtool)
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
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
