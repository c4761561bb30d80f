"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: observe
short_description: Look whether a board shows what it was deployed with
description:
  - Fails when a row of the proof is not proven.
version_added: 0.1.0
author: vtool (@vtool)
attributes:
  check_mode:
    description: Can run in check mode and say what it would change.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
extends_documentation_fragment: [vtool.vtool.board]
"""

EXAMPLES = r"""
- name: Look whether a board shows what it was deployed with
  vtool.vtool.observe:
"""

RETURN = r"""
proven:
  description: Whether everything was.
  returned: success
  type: bool
rows:
  description: What had to be shown, what was expected and what was seen.
  returned: success
  type: list
  elements: raw
"""
