"""The emulated boards whose deploys are broken, and what each of them is to run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.integration.conftest import EXAMPLES, Bench
from tests.integration.foreign import BOARD, ForeignBench

# Debian's Xen, of which this configuration says what it has not: it dies at the node of the region and prints nothing.
_NOT_ITS_CONFIG = """\
# Xen/arm 4.20.0 Configuration
CONFIG_DOM0LESS_BOOT=y
CONFIG_STATIC_MEMORY=y
CONFIG_STATIC_SHM=y
"""
_XEN_DIES_SILENTLY = """\
version: 1
name: {name}
boards:
  {board}: {{facts: {facts}, watchdog: {watchdog}, hypervisor: {{kind: xen, config: not-its.config}}}}
domains:
  dom0: {{role: control, memory: 768MiB, kernel: {kernel}}}
  fe0: {{start: dom0less, memory: 128MiB, ramdisk: vtool:guest-initramfs}}
regions:
  ring0: {{size: 4MiB, borrowers: [fe0, dom0], use: shared-memory}}
"""
# What a backend of its own serves, and Debian has.
_FOLDER = """\
devices:
  folder:
    type: fs
    frontend: fe0
    backend: host
    program: virtiofsd
    transport: mmio
    data_path: shared-ram
    share: {directory: folder}
"""


@dataclass(frozen=True)
class Subject:
    """A board, the topology that it is to run, and one by which it dies."""

    bench: Bench
    topology: str
    deadly: str


def own(folder: Path) -> Subject:
    """Return the board with vtool's own system."""
    (folder / "not-its.config").write_text(_NOT_ITS_CONFIG)
    words = {"name": "kvm-pool", "board": "board0", "facts": "qemu-virt", "watchdog": "true", "kernel": "vtool:linux"}
    topology = (EXAMPLES / "kvm-pool.yaml").read_text()
    return Subject(Bench(folder), topology, _XEN_DIES_SILENTLY.format(**words))


def foreign(folder: Path) -> Subject:
    """Return the board whose system nobody made for vtool, and which goes on with its own kernel."""
    (folder / "not-its.config").write_text(_NOT_ITS_CONFIG)
    shutil.copyfile(BOARD / "facts.yaml", folder / "facts.yaml")
    topology = (BOARD / "kvm.yaml").read_text() + "\n" + _FOLDER
    words = {
        "name": "foreign-kvm",
        "board": "foreign0",
        "facts": "./facts.yaml",
        "watchdog": "false",
        "kernel": "board",
    }
    return Subject(ForeignBench(folder), topology, _XEN_DIES_SILENTLY.format(**words))
