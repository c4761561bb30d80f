"""Documentation only: ``plugins/action/board.py`` does it, on the controller."""

DOCUMENTATION = r"""
module: compare
short_description: Ask what a board lacks of what its topology asks for
description:
  - Holds the board, which is made and switched on if need be, and makes the generation that it is to run.
  - In check mode it holds nothing, and says what deploying would change; with C(--diff) it shows the difference.
version_added: 0.1.0
author: vtool (@vtool)
attributes:
  check_mode:
    description: Can run in check mode and say what it would change.
    support: full
  diff_mode:
    description: Shows what it would change.
    support: full
extends_documentation_fragment: [vtool.vtool.board]
"""

EXAMPLES = r"""
- name: Ask what a board lacks of what its topology asks for
  vtool.vtool.compare:
"""

RETURN = r"""
generation:
  description: The generation that the topology asks for.
  returned: success
  type: str
running:
  description: The one that runs, empty for none.
  returned: success
  type: str
current:
  description: Whether nothing is to be sent or applied.
  returned: success
  type: bool
confirmed:
  description: Whether it boots from now on already.
  returned: success
  type: bool
missing:
  description: Digests of what the board lacks.
  returned: success
  type: list
  elements: raw
"""
