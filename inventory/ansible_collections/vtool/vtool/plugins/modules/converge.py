"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: converge
short_description: Start backends and domains and wait until they are ready
description:
  - Fails with the end of a domain's console when one does not get ready.
version_added: 0.1.0
author: vtool (@vtool)
extends_documentation_fragment: [vtool.vtool.board, vtool.vtool.board.skipped]
"""

EXAMPLES = r"""
- name: Start backends and domains and wait until they are ready
  vtool.vtool.converge:
"""

RETURN = r"""
"""
