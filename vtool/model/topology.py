"""What the user wrote: the topology file as frozen types, version 1.

Holds shape only. References are names; whether they point anywhere, and whether the numbers fit,
is decided by ``vtool.check``; what was left out is decided by ``vtool.plan``.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from vtool.model.devices import Device
from vtool.model.types import Address, FactsReference, ImageReference, KernelArguments, Model, Name, Size


class Role(Enum):
    """What a domain is to its board: ``control`` owns the hardware (dom0, the KVM host)."""

    CONTROL = "control"
    GUEST = "guest"


class RegionUse(Enum):
    """What a region is for; decides its device-tree node."""

    RESTRICTED_DMA_POOL = "restricted-dma-pool"
    SHARED_MEMORY = "shared-memory"


class Kvm(Model):
    """KVM: Linux on the board is the host, QEMU the VMM."""

    kind: Literal["kvm"]


class Xen(Model):
    """Xen with an xl-managed set of domains; ``image`` is the hypervisor binary."""

    kind: Literal["xen"]
    image: ImageReference = "vtool:xen"
    bootargs: KernelArguments = ""


Hypervisor = Annotated[Kvm | Xen, Field(discriminator="kind")]


class Board(Model):
    """One board: whose facts file describes it, and what hypervisor it shall run."""

    facts: FactsReference
    hypervisor: Hypervisor


class Domain(Model):
    """One domain. ``board`` may be left out when the topology has one board.

    ``memory`` is required of guests and of a Xen dom0; a region that a guest owns comes on top of it.
    ``ready`` is the text on the domain's console that says it is up.
    """

    board: Name | None = None
    role: Role = Role.GUEST
    cpus: Annotated[int, Field(ge=1, le=128)] = 1
    memory: Size | None = None
    kernel: ImageReference = "vtool:linux"
    ramdisk: ImageReference | None = None
    bootargs: KernelArguments = ""
    ready: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=r"^[\x20-\x7e]+$",
            description="1 to 200 printable ASCII characters",
        ),
    ] = "vtool: domain ready"


class Region(Model):
    """Memory shared ahead of time: the owner pays for it, the borrowers see it too.

    ``address`` is guest-physical for a region owned by a guest, host-physical for one owned by the
    control domain.
    """

    size: Size
    owner: Name
    borrowers: tuple[Name, ...] = ()
    use: RegionUse
    address: Address | None = None


class Topology(Model):
    """The whole file."""

    version: Literal[1]
    name: Name
    boards: Annotated[dict[Name, Board], Field(min_length=1)]
    domains: Annotated[dict[Name, Domain], Field(min_length=1)]
    regions: dict[Name, Region] = Field(default_factory=dict)
    devices: dict[Name, Device] = Field(default_factory=dict)
