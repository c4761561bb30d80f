"""An older vtool among the tools of ``benchmarks.fleet``: its own facts, topology, inventory and boot sets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from tests.integration.machine import Machine


def write_facts(topology_room: Path, path: Path) -> None:
    """Write facts of a board of the fleet, as a checkout whose room of topologies is given understands them."""
    facts = yaml.safe_load((topology_room / "boards" / "qemu-virt.yaml").read_text())
    facts["name"] = "fleet"
    facts["boot"]["state"]["device"] = "/run/boot-state"
    path.write_text(json.dumps(facts))


class Older:
    """Pushes what this vtool pushes; ``write`` comes before each push, after the topology was written."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self._fleet, self._folder, self._checkout = folder, folder / "older", checkout.resolve()
        self._folder.mkdir()
        for name in ("kernel", "guest-kernel", "xen"):
            (self._folder / name).symlink_to(folder / name)
        write_facts(self._checkout / "topology", self._folder / "facts.yaml")
        self.boot_sets: dict[str, str] = {}

    def write(self) -> None:
        """Take over the topology and the inventory; both name their own facts."""
        shutil.copyfile(self._fleet / "topology.yaml", self._folder / "topology.yaml")
        inventory = (self._fleet / "vtool.yaml").read_text()
        own = inventory.replace(str(self._fleet / "facts.yaml"), str(self._folder / "facts.yaml"))
        (self._folder / "vtool.yaml").write_text(own)

    def command(self) -> list[str]:
        """Return the words that push, in the checkout's folder."""
        files = [str(self._folder / "topology.yaml"), str(self._folder / "vtool.yaml")]
        run_there = f"import os, sys; os.chdir({str(self._checkout)!r}); os.execv(sys.executable, sys.argv[1:])"
        return [sys.executable, "-c", run_there, sys.executable, "-m", "benchmarks.push", *files]

    def learn_boot_sets(self, machines: Mapping[str, Machine], run: Callable[[list[str]], object]) -> None:
        """Push once to boards that run another boot set, which it ends with; what they should boot is its own then."""
        self.write()
        run(self.command())
        for name, machine in machines.items():
            (told,) = (machine.folder / "lib" / "vtool" / "generations").glob("*/generation.json")
            self.boot_sets[name] = str(json.loads(told.read_text())["boot_set"])


def quietly(environment: Mapping[str, str]) -> Callable[[list[str]], object]:
    """Return how to run a command whose end does not matter."""
    return lambda command: subprocess.run(command, capture_output=True, check=False, env=environment)
