"""Look whether a board shows what it was deployed with; documented beside it in ``plugins/modules``."""

from __future__ import annotations

from ansible_collections.vtool.vtool.plugins.plugin_utils.holder import BoardAction


class ActionModule(BoardAction):
    """Asks for it."""

    _supports_check_mode = True
