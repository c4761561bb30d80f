"""What the user wrote: the topology file as frozen types, version 1.

Holds shape only. References are names; whether they point anywhere, and whether the numbers fit,
is decided by ``vtool.check``; what was left out is decided by ``vtool.plan``.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from vtool.model.combinations import QEMU_OF_SUITE, Suite, Version
from vtool.model.devices import Device
from vtool.model.types import Address, ImageReference, KernelArguments, Model, Name, Size


class Role(Enum):
    """What a domain is to its board: ``control`` owns the hardware (dom0, the KVM host)."""

    CONTROL = "control"
    GUEST = "guest"


class RegionUse(Enum):
    """What a region is for; decides its device-tree node."""

    RESTRICTED_DMA_POOL = "restricted-dma-pool"
    SHARED_MEMORY = "shared-memory"


class Vmm(Enum):
    """Who writes QEMU's command line on the board: vtool's units, or libvirt from XML."""

    QEMU = "qemu"
    LIBVIRT = "libvirt"


class Kvm(Model):
    """KVM: Linux on the board is the host, QEMU the VMM.

    ``suite`` is the Debian release of the board; ``qemu_version`` is for a QEMU that is not that
    release's own; ``machine`` pins QEMU's ``virt`` to a version.
    """

    kind: Literal["kvm"]
    vmm: Vmm = Vmm.QEMU
    suite: Suite = Suite.TRIXIE
    qemu_version: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,2}\.[0-9]{1,2}$", description="a QEMU version such as 10.0")
    ] = None
    machine: Annotated[
        str, Field(pattern=r"^virt(-[0-9]{1,2}\.[0-9]{1,2})?$", description="virt, or virt with a version: virt-10.0")
    ] = "virt"

    @property
    def qemu(self) -> Version:
        """Return the version of the board's QEMU."""
        if self.qemu_version is None:
            return QEMU_OF_SUITE[self.suite]
        major, minor = self.qemu_version.split(".")
        return int(major), int(minor)


class Xen(Model):
    """Xen with an xl-managed set of domains; ``image`` is the hypervisor binary."""

    kind: Literal["xen"]
    image: ImageReference = "vtool:xen"
    bootargs: KernelArguments = ""


Hypervisor = Annotated[Kvm | Xen, Field(discriminator="kind")]


class Board(Model):
    """One board: whose facts file describes it, and what hypervisor it shall run."""

    facts: Name
    hypervisor: Hypervisor


class Domain(Model):
    """One domain. ``board`` may be left out when the topology has one board.

    ``memory`` is required of guests and of a Xen dom0; a region that a guest owns comes on top of it.
    ``ready`` is the text on the domain's console that says it is up. ``host_cpus`` are the board's CPUs
    that a KVM guest is kept on; none means any.
    """

    board: Name | None = None
    role: Role = Role.GUEST
    cpus: Annotated[int, Field(ge=1, le=128)] = 1
    host_cpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
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
