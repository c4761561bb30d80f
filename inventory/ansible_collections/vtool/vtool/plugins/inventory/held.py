"""The boards of a running vtool as Ansible's inventory, which is its socket."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.vtool.vtool.plugins.plugin_utils.holder import ask

DOCUMENTATION = r"""
name: held
short_description: Boards that a running vtool holds
description:
  - Reads the socket of C(vtool deploy) and other verbs, which start Ansible themselves.
  - Waits until vtool knows the boards; Ansible starts meanwhile.
options: {}
"""


class InventoryModule(BaseInventoryPlugin):
    """Asks for names; what else there is to know of a board, the process that holds it knows."""

    NAME = "vtool.vtool.held"

    def verify_file(self, path: str) -> bool:
        """Take a socket."""
        return super().verify_file(path) and stat.S_ISSOCK(Path(path).stat().st_mode)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the boards."""
        super().parse(inventory, loader, path, cache)
        said = ask({"task": "boards"}, path)
        if "boards" not in said:
            raise AnsibleParserError(said["msg"])
        group = self.inventory.add_group("control")
        for board in said["boards"]:
            self.inventory.add_host(board, group=group)
            self.inventory.set_variable(board, "vtool_socket", path)
            self.inventory.set_variable(board, "ansible_connection", "local")  # else each task reads what ssh can do
