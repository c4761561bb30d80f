"""Rules on IOMMUs of guests: that there is one, and what must not be behind it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.check.kvm import kvm_devices
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule


@rule(
    "VT342",
    what="a domain has no IOMMU, or two",
    why="What goes through an IOMMU needs one; a guest's PCI bus has one.",
    example="data_path: viommu without a device of type iommu",
    fix="Add a device with type: iommu, or remove the second.",
)
@rule(
    "VT343",
    what="a pool behind an IOMMU",
    why="Linux looks for a pool only when a device has no IOMMU, so the pool would silently stay unused.",
    example="transport: pci and data_path: pool-in-ram in a domain with an IOMMU",
    fix="Use virtio-mmio, which no IOMMU stands before, or data_path: viommu.",
)
def iommus_fit(context: Context) -> Iterator[Diagnostic]:
    """A domain has one IOMMU, which whoever goes through it needs, and no pool behind it."""
    for domain in context.topology.domains:
        mine = {n: d for n, d, _ in kvm_devices(context, domain) if d.frontend == domain}
        iommus = [n for n, d in mine.items() if d.type == "iommu"]
        for extra in iommus[1:]:
            message = f"domain '{domain}' has a second IOMMU '{extra}', beside '{iommus[0]}'"
            label = Label(context.span("devices", iommus[0], key=True), "the first is here")
            yield context.find("VT342", message, ("devices", extra), key=True, labels=(label,))
        for name, device in mine.items():
            path = ("devices", name, "data_path")
            if device.data_path.traits.translated and not iommus:
                message = f"device '{name}' goes through an IOMMU, but domain '{domain}' has none"
                hint = f"add a device with `type: iommu` and `frontend: {domain}`"
                yield context.find("VT342", message, path, hints=(hint,))
            if device.data_path.traits.pooled and device.transport is Transport.PCI and iommus:
                message = f"device '{name}' has a pool and stands behind the IOMMU '{iommus[0]}'"
                label = Label(context.span("devices", iommus[0], key=True), "the IOMMU is here")
                hint = "Linux never uses a pool for a device behind an IOMMU: use virtio-mmio, or the data path viommu"
                yield context.find("VT343", message, path, labels=(label,), hints=(hint,))
