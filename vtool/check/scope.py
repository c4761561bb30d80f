"""What every rule sees: the topology, its places in the file, the boards' facts, the kernels' options.

Owns lookups that do not mind a wrong topology: a name that leads nowhere yields None, because the
rule that reports it is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from vtool.diagnostics import Diagnostic, Label, Span
from vtool.model.topology import Device, Domain, Hypervisor, Kvm, Region, RegionUse, Role, Topology
from vtool.model.validate import LoadedFacts
from vtool.source import DataPathTuple, Document


@dataclass(frozen=True)
class KernelOptions:
    """What a kernel was built with: option without ``CONFIG_`` → ``y``, ``m`` or a value; and who says so."""

    options: Mapping[str, str]
    origin: str


@dataclass(frozen=True)
class Scope:
    """A topology of the right shape; its references may still lead nowhere.

    ``facts`` is keyed by board name, ``kernels`` by image reference; what is in neither is not judged.
    """

    document: Document
    topology: Topology
    facts: Mapping[str, LoadedFacts]
    kernels: Mapping[str, KernelOptions]

    def span(self, *path: str | int) -> Span:
        """Return the place of a value in the topology file."""
        return self.document.span(path)

    def key(self, *path: str | int) -> Span:
        """Return the place of a key in the topology file."""
        return self.document.span(path, key=True)

    def written(self, *path: str | int) -> Span:
        """Return the place of a value, or of the key of the mapping that leaves it to its default."""
        value = self.document.value
        for part in path[:-1]:
            value = value[part]
        return self.span(*path) if path[-1] in value else self.key(*path[:-1])

    def board_of(self, domain_name: str) -> str | None:
        """Return the board a domain is on, when both are known."""
        domain = self.topology.domains.get(domain_name)
        boards = self.topology.boards
        if domain is None:
            return None
        if domain.board is not None:
            return domain.board if domain.board in boards else None
        return next(iter(boards)) if len(boards) == 1 else None

    def hypervisor_of(self, domain_name: str) -> Hypervisor | None:
        """Return the hypervisor of the board a domain is on, when known."""
        board = self.board_of(domain_name)
        return None if board is None else self.topology.boards[board].hypervisor

    def domains_on(self, board: str) -> dict[str, Domain]:
        """Return the domains of a board, in file order."""
        return {n: d for n, d in self.topology.domains.items() if self.board_of(n) == board}

    def is_control(self, domain_name: str) -> bool:
        """Tell whether a domain is known and owns the hardware of its board."""
        domain = self.topology.domains.get(domain_name)
        return domain is not None and domain.role is Role.CONTROL

    def region_of(self, device: Device) -> Region | None:
        """Return the region a device names, when it is known."""
        return self.topology.regions.get(device.region) if device.region else None

    def host_regions(self, board: str) -> dict[str, Region]:
        """Return the regions that are set aside in a board's own memory, in file order."""
        return {
            name: region
            for name, region in self.topology.regions.items()
            if self.is_control(region.owner) and self.board_of(region.owner) == board
        }

    def guest_pools(self) -> dict[str, Region]:
        """Return the restricted DMA pools that KVM guests own, in file order."""
        return {
            name: region
            for name, region in self.topology.regions.items()
            if region.use is RegionUse.RESTRICTED_DMA_POOL
            and isinstance(self.hypervisor_of(region.owner), Kvm)
            and not self.is_control(region.owner)
        }


Rule = Callable[[Scope], Iterator[Diagnostic]]
"""A rule reports every place where the topology breaks it, and never fails on one that breaks others."""


def repeated(
    code: str, what: str, entries: Iterable[tuple[object, DataPathTuple]], scope: Scope
) -> Iterator[Diagnostic]:
    """Report every entry whose value (the first item) stood before, at its path, with the first one's place."""
    first: dict[object, DataPathTuple] = {}
    for value, path in entries:
        if value in first:
            before = Label(scope.span(*first[value]), "first used here")
            shown = value[-1] if isinstance(value, tuple) else value
            yield Diagnostic(code, f"{what} '{shown}' is used twice", scope.span(*path), (before,))
        first.setdefault(value, path)
