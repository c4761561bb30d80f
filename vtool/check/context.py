"""What a rule sees: the topology with its places, the facts of its boards, the options of its kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

from vtool.base.records import record
from vtool.diagnostics import Diagnostic, Label, Severity, Span
from vtool.files.boot_files import BootFile
from vtool.files.disk_images import ImageFile
from vtool.model.devices import Device
from vtool.model.lookup import Lookup
from vtool.model.topology import Domain, Hypervisor, Kvm, Region, Role, Topology, Xen, XenPatch
from vtool.model.validate import LoadedFacts
from vtool.reading.source import Document, KeyPath


@record
class KernelOptions:
    """How a kernel was built (option -> y, m or a value; unset ones absent) and where that was read."""

    options: Mapping[str, str]
    source: str


@record
class XenBuild:
    """How a Xen was built: release, Kconfig options (None when unknown), where that was read, and patches."""

    version: tuple[int, int]
    options: Mapping[str, str] | None
    source: str
    patches: frozenset[XenPatch] = frozenset()

    @property
    def release(self) -> str:
        """Return the release as people write it."""
        return f"{self.version[0]}.{self.version[1]}"


@record
class Context:
    """Everything a rule may look at.

    ``facts`` and ``xens`` are keyed by board, ``kernels`` by image reference, ``files`` by key and reference,
    ``disk_images`` by reference.
    ``blamed`` are the places of values that were found to be wrong: what depends on them is not to be judged.
    """

    document: Document
    topology: Topology
    facts: Mapping[str, LoadedFacts]
    kernels: Mapping[str, KernelOptions]
    xens: Mapping[str, XenBuild]
    files: Mapping[tuple[str, str], BootFile]
    disk_images: Mapping[str, ImageFile] = field(default_factory=dict)
    blamed: set[KeyPath] = field(default_factory=set)

    def span(self, *path: str | int, key: bool = False) -> Span:
        """Return the place of something in the topology."""
        return self.document.span(path, key=key)

    def value(self, path: KeyPath) -> Any:
        """Return what stands at a place of the topology, None when nothing does."""
        value: Any = self.document.value
        for part in path:
            value = value.get(part) if isinstance(value, dict) else value[part]
            if value is None:
                return None
        return value

    def find(
        self,
        code: str,
        message: str,
        path: KeyPath,
        *,
        key: bool = False,
        labels: tuple[Label, ...] = (),
        hints: tuple[str, ...] = (),
        severity: Severity = Severity.ERROR,
        blames: Iterable[KeyPath] = (),
    ) -> Diagnostic:
        """Make a finding at a place of the topology; an error blames the value there, or those at other places."""
        if severity is Severity.ERROR:
            self.blamed.update(blames or (() if key else (path,)))
        span = self.document.span(path, key=key)
        labels = labels if key else (*labels, *self.document.notes.get(path, ()))
        return Diagnostic(code, message, span, labels, hints, severity=severity)

    @property
    def board_of(self) -> Mapping[str, str]:
        """Domain -> board, for every domain whose board is known."""
        return self.lookup.board_of

    def kernel_file(self, domain: str) -> BootFile | None:
        """Return what is known of a domain's kernel, None where nothing is."""
        declared = self.topology.domains[domain]
        return None if declared.boots_itself else self.files.get(("kernel", declared.kernel))

    def ramdisk_file(self, domain: str) -> BootFile | None:
        """Return what is known of a domain's ramdisk, None where nothing is, or where it has none."""
        return self.files.get(("ramdisk", self.topology.domains[domain].ramdisk or ""))

    def hypervisor_of(self, domain: str) -> Hypervisor | None:
        """Return the hypervisor under a domain, or None when its board is not known."""
        board = self.board_of.get(domain)
        return self.topology.boards[board].hypervisor if board else None

    def has_patch(self, board: str, patch: XenPatch) -> bool:
        """Whether a board's Xen has a change: as its image is known to have it, or as the topology says."""
        hypervisor = self.topology.boards[board].hypervisor
        said = isinstance(hypervisor, Xen) and patch in hypervisor.patches
        return said or (board in self.xens and patch in self.xens[board].patches)

    def members_of(self, region: Region) -> tuple[str, ...]:
        """Return the domains that exist among a region's owner and borrowers, owner first."""
        return self.lookup.members_of(region)

    def is_static_shared(self, region: Region) -> bool:
        """Whether Xen shares the region between domains at boot, rather than dom0 keeping it."""
        return self.lookup.is_static_shared(region)

    @cached_property
    def lookup(self) -> Lookup:
        """The topology by name."""
        return Lookup(self.topology)

    def domains_on(self, board: str) -> Iterator[tuple[str, Domain]]:
        """Yield the domains of a board in the order of the file."""
        yield from self.lookup.domains_on[board].items()

    def sound_devices(self, domain: str | None = None) -> Iterator[tuple[str, Device]]:
        """Yield devices whose two domains exist on one board; those of one domain if it is given."""
        devices = self.topology.devices if domain is None else self.lookup.devices_of[domain]
        for name, device in devices.items():
            board = self.board_of.get(device.frontend)
            if board is not None and board == self.board_of.get(device.backend):
                yield name, device

    def is_a_bar(self, region: str) -> bool:
        """Whether guests see a region behind a PCI BAR, which VT346 is on."""
        users = self.lookup.users_of[region].values()
        return any(
            user.data_path.traits.at_both_ends and isinstance(self.hypervisor_of(user.frontend), Kvm) for user in users
        )

    def by_a_guest(self, device: Device) -> bool:
        """Whether a guest, not its board's control domain, serves a device."""
        backend = self.topology.domains.get(device.backend)
        return backend is not None and backend.role is Role.GUEST
