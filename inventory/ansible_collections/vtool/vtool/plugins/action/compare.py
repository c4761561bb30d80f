"""Ask what a board lacks of what its topology asks for; documented beside it in ``plugins/modules``."""

from __future__ import annotations

from ansible_collections.vtool.vtool.plugins.plugin_utils.holder import BoardAction


class ActionModule(BoardAction):
    """Asks for it."""

    _supports_check_mode = True

    def task(self) -> str:
        """Return another task in check mode: one that holds nothing."""
        return "would_change" if self._task.check_mode else "compare"
