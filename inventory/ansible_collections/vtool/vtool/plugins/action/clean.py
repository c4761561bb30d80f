"""Remove everything that vtool put on a board; documented beside it in ``plugins/modules``."""

from __future__ import annotations

from ansible_collections.vtool.vtool.plugins.plugin_utils.holder import BoardAction


class ActionModule(BoardAction):
    """Asks for it."""
