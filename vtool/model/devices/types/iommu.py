"""IOMMUs in front of a guest's PCI devices, by QEMU."""

from enum import Enum
from typing import Literal, final

from vtool.model.devices.arguments import nothing_besides
from vtool.model.devices.base import DeviceBase, DeviceType, Program, Service, only_pci
from vtool.model.types import Model


class IommuModel(Enum):
    """Which IOMMU the guest sees."""

    VIRTIO = "virtio-iommu"
    SMMUV3 = "smmuv3"


class Iommu(Model):
    """Which IOMMU the guest sees in front of its PCI devices."""

    model: IommuModel = IommuModel.VIRTIO


@final
class IommuDevice(DeviceBase):
    type: Literal["iommu"]
    iommu: Iommu = Iommu.model_construct()

    translates = True

    def driver_options(self) -> tuple[str, ...]:
        """Return its driver."""
        return ("ARM_SMMU_V3",) if self.iommu.model is IommuModel.SMMUV3 else ("VIRTIO_IOMMU",)

    def of_machine(self) -> str:
        """Return the property, which an SMMU is."""
        return "iommu=smmuv3" if self.iommu.model is IommuModel.SMMUV3 else ""


TYPE = DeviceType(IommuDevice, kvm={Program.QEMU: Service(only_pci("virtio-iommu-pci"), nothing_besides)}, xen={})
