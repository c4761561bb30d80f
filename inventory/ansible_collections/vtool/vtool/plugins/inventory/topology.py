"""Ansible's inventory from a topology: what ``vtool render`` writes, and how the boards are reached just now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template

DOCUMENTATION = r"""
name: topology
short_description: Boards and guests of a vtool topology
description:
  - Reads a topology of vtool, or a C(*.vtool.yaml) file that names one.
  - Boards are reached as vtool reaches them, guests with an address through their board.
  - Hosts that can be reached are in the group C(reachable).
options:
  plugin:
    description: The name of this plugin.
    required: true
    choices: [vtool.vtool.topology]
  topology:
    description: The topology, as seen from the folder of this file.
    type: str
    required: true
  overlays:
    description: Files that are merged over it, as with C(--overlay).
    type: list
    elements: str
    default: []
  set:
    description: Values that are set last of all, as with C(--set).
    type: list
    elements: str
    default: []
  inventory:
    description: How boards are reached, as with C(--inventory); vtool's default without it.
    type: str
"""

EXAMPLES = r"""
# lab.vtool.yaml
plugin: vtool.vtool.topology
topology: pair.yaml
"""


class InventoryModule(BaseInventoryPlugin):
    """Reads topologies; everything it knows comes from vtool."""

    NAME = "vtool.vtool.topology"

    def verify_file(self, path: str) -> bool:
        """Whether a file is taken: ``*.vtool.yaml`` (``.yml``), and YAML files whose top has what topologies have."""
        if not super().verify_file(path):
            return False
        if not _is_source(path) and _names_this_plugin(Path(path)):
            self.display.warning(
                f"{path} names the plugin {self.NAME}, which reads files that end in .vtool.yaml: rename it"
            )
        return _is_source(path) or _is_topology(Path(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts and groups of the topology."""
        super().parse(inventory, loader, path, cache)
        topology, overlays, settings, boards = Path(path), [], [], None
        if _is_source(path):
            self._read_config_data(path)
            folder = Path(path).parent
            topology = folder / self.get_option("topology")
            overlays = [folder / name for name in self.get_option("overlays")]
            settings = self.get_option("set")
            boards = folder / self.get_option("inventory") if self.get_option("inventory") else None
        try:
            from vtool.cli.ansible_hosts import reachable_hosts  # noqa: PLC0415 - the error below names its absence
            from vtool.diagnostics import VtoolError, format_diagnostic  # noqa: PLC0415
        except ImportError as error:
            raise AnsibleParserError(f"vtool is not installed for the Python that runs Ansible: {error}") from error
        try:
            hosts = reachable_hosts(topology, overlays, settings, boards)
        except VtoolError as error:
            raise AnsibleParserError("\n" + "\n".join(map(format_diagnostic, error.diagnostics))) from None
        # For tasks that start the process which holds the boards: what it is to read.
        files = {"topology": str(topology.absolute()), "overlays": [str(path.absolute()) for path in overlays]}
        source = {**files, "set": list(settings), "inventory": str(boards.absolute()) if boards else None}
        for host in hosts:
            self.inventory.add_host(host.name)
            for group in host.groups:
                self.inventory.add_group(group)
                self.inventory.add_host(host.name, group=group)
            for name, value in host.variables.items():
                self.inventory.set_variable(host.name, name, _trusted(value))
            if "control" in host.groups:
                self.inventory.set_variable(host.name, "vtool_source", _trusted(source))


def _is_source(path: str) -> bool:
    return path.endswith((".vtool.yaml", ".vtool.yml"))


def _is_topology(path: Path) -> bool:
    keys = _top_of(path)
    return {"version", "name"} <= set(keys) and not {"boards", "domains", "include"}.isdisjoint(keys)


def _names_this_plugin(path: Path) -> bool:
    return _top_of(path).get("plugin", "").strip("\"'") == InventoryModule.NAME


def _top_of(path: Path) -> dict[str, str]:
    """Return what stands at the left margin of a YAML file, without what follows a key below it."""
    if path.suffix not in (".yaml", ".yml"):
        return {}
    try:
        lines = [line.partition(":") for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return {}
    return {key: value.partition(" #")[0].strip() for key, _, value in lines}


def _trusted(value: Any) -> Any:
    """Let ``ansible-inventory`` show texts as they are; one that could be a template stays a mere text."""
    if isinstance(value, dict):
        return {key: _trusted(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_trusted(below) for below in value]
    return trust_as_template(value) if isinstance(value, str) and "{" not in value else value
