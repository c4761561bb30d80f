"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: confirm
short_description: Make what runs what boots from now on
description:
  - Comes after M(vtool.vtool.observe).
version_added: 0.1.0
author: vtool (@vtool)
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
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
