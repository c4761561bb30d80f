"""What every task for boards does: a file of ``plugins/modules`` documents it, ``meta/runtime.yml`` leads here.

The documentation is the only place of a task's options, and of whether it can run in check mode.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible_collections.vtool.vtool.plugins.plugin_utils.holder import ask

MODULES = "ansible_collections.vtool.vtool.plugins.modules"
NO_BOARD = (
    "error[VT712]: this host is no board of a topology: 'vtool_source', which the inventory plugin sets, is missing"
)
_OF_AN_OPTION = ("type", "default", "required", "choices", "elements")


class ActionModule(ActionBase):
    """Asks the process that holds the boards for what the task is called, with the task's options."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the task says there; without support for check mode it is skipped in it."""
        name = self._task.action.rpartition(".")[-1]
        documented = yaml_load(import_module(f"{MODULES}.{name}").DOCUMENTATION)
        attributes, options = documented.get("attributes", {}), documented.get("options", {})
        self._supports_check_mode = attributes.get("check_mode", {}).get("support") == "full"
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {key: {part: option[part] for part in _OF_AN_OPTION if part in option} for key, option in options.items()}
        )
        variables = task_vars or {}
        if not (variables.get("vtool_source") or variables.get("vtool_socket")):
            raise AnsibleConnectionFailure(NO_BOARD)  # a failure would make a play take back what was never done
        request = {
            "task": "would_change" if name == "compare" and self._task.check_mode else name,
            "board": variables["inventory_hostname"],
            "options": arguments,
            "source": variables.get("vtool_source"),
        }
        result.update(ask(request, variables.get("vtool_socket")))
        return result
