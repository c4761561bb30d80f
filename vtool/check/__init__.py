"""Rules of meaning: one generator function per rule, all of them run, all they find reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache

from vtool.check import (
    access,
    addresses,
    alignment,
    command_lines,
    control_domains,
    devices,
    disks,
    driver_domains,
    extra,
    host_memory,
    interfaces,
    interrupts,
    kernels,
    kvm,
    kvm_settings,
    loads,
    memory_needs,
    memory_words,
    networks,
    other_kernels,
    pci,
    places,
    programs,
    qemu_machines,
    queues,
    references,
    regions,
    reservations,
    roots,
    xen,
    xen_colours,
    xen_cpus,
    xen_features,
    xen_memory,
    xen_passthrough,
    xen_start,
    xen_virtio,
)
from vtool.check.context import Context, KernelOptions, XenBuild
from vtool.data_paths import modules
from vtool.diagnostics import Diagnostic, in_order
from vtool.diagnostics.codes import rules_of
from vtool.files.boot_files import BootFile
from vtool.files.disk_images import ImageFile
from vtool.model.partial import Unsound
from vtool.model.salvage import forget
from vtool.model.topology import Topology
from vtool.model.validate import LoadedFacts
from vtool.reading.source import Document

_FIRST = (
    references.NAMES,
    references.RELATIONS,
    references.ENDS,
    devices.COMBINATIONS_EXIST,
    xen_start.STARTS,
)
_MODULES = (
    references,
    access,
    devices,
    disks,
    networks,
    interfaces,
    programs,
    kvm,
    kvm_settings,
    queues,
    places,
    qemu_machines,
    alignment,
    regions,
    addresses,
    host_memory,
    interrupts,
    reservations,
    kernels,
    other_kernels,
    control_domains,
    command_lines,
    extra,
    memory_needs,
    memory_words,
    loads,
    roots,
    xen_features,
    xen_start,
    xen_memory,
    xen_colours,
    xen_cpus,
    xen_passthrough,
    pci,
    xen,
    driver_domains,
    xen_virtio,
)

__all__ = ["KernelOptions", "XenBuild", "check", "layers"]


@cache
def layers() -> tuple[tuple[Callable[[Context], Iterator[Diagnostic]], ...], ...]:
    """Return every rule, in the order in which they depend on each other.

    What one layer finds wrong, the later ones do not know. A rule is what is decorated with ``@rule`` in a module of
    this room, or in a data path's ``rules``.
    """
    others = rules_of(*_MODULES, *modules("rules").values())
    return (*_FIRST, tuple(each for each in others if not any(each in layer for layer in _FIRST)))


def check(
    document: Document,
    topology: Topology,
    facts: Mapping[str, LoadedFacts],
    kernels: Mapping[str, KernelOptions],
    xens: Mapping[str, XenBuild] | None = None,
    files: Mapping[tuple[str, str], BootFile] | None = None,
    disk_images: Mapping[str, ImageFile] | None = None,
) -> list[Diagnostic]:
    """Return everything the rules find, in the order of the file. Raises nothing.

    Of what is known in part only (``vtool.model.partial``) they find what is true whatever the rest should be.
    """
    xens, files = {} if xens is None else xens, {} if files is None else files
    disk_images = {} if disk_images is None else disk_images
    found: dict[Diagnostic, None] = {}
    context = Context(document, topology, facts, kernels, xens, files, disk_images)
    for layer in layers():
        for rule in layer:
            with suppress(Unsound):
                for finding in rule(context):
                    found[finding] = None
        if context.blamed:
            topology = forget(topology, context.blamed)
            context = Context(document, topology, facts, kernels, xens, files, disk_images)
    return in_order(found)
