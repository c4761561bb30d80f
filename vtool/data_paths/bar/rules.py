"""Rules on windows: whose the region is. That it has the size of a BAR is a rule on all that guests see behind one."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.check.kvm import kvm_devices
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.topology import RegionUse, Role


@rule(
    "VT346",
    what="a region between two guests cannot be shared like this",
    why="It is the BAR of a PCI device in both: a power of two of bytes, owned by one, lent to the other.",
    example="size: 3MiB for an ivshmem device",
    fix="Make it shared-memory of one end, lent to the other, 1MiB times a power of two, without an address.",
)
def windows_are_between_two_guests(context: Context) -> Iterator[Diagnostic]:
    """A window is a region between two guests, one's own and lent to the other, and theirs alone."""
    users: dict[str, str] = {}
    for name, device, _ in kvm_devices(context):
        if device.type != "ivshmem":
            continue
        for end in ("frontend", "backend"):
            if context.topology.domains[getattr(device, end)].role is not Role.GUEST:
                message = f"the {end} of '{name}' is not a guest: an ivshmem region is between two guests"
                yield context.find("VT346", message, ("devices", name, end))
        if device.region is None:
            yield context.find("VT346", f"device '{name}' needs a `region`", ("devices", name), key=True)
            continue
        region = context.topology.regions.get(device.region)
        if region is None:
            continue  # VT301
        path = ("devices", name, "region")
        label = (Label(context.span("regions", device.region, key=True), f"'{device.region}' is here"),)
        ends = {device.frontend, device.backend}
        if region.use is not RegionUse.SHARED_MEMORY or {region.owner, *region.borrowers} != ends:
            message = (
                f"region '{device.region}' is not shared-memory that '{device.frontend}' or '{device.backend}' "
                "owns and the other borrows"
            )
            yield context.find("VT346", message, path, labels=label)
        if users.setdefault(device.region, name) != name:
            message = f"region '{device.region}' is already behind device '{users[device.region]}'"
            yield context.find("VT346", message, path)
