"""Rules on what only guests of KVM have: CPUs of each vCPU, pages that their memory is made of."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import format_size
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.topology import Kvm, Role


@rule(
    "VT447",
    what="a setting of KVM's guests that this domain cannot have",
    why="Under Xen vCPUs are Xen's, and memory is made of what Xen has; a control domain has the board's.",
    example="kvm: {hugepages: 2MiB} for a guest of Xen",
    fix="Leave it out, or follow the message.",
)
def settings_are_for_guests_of_kvm(context: Context) -> Iterator[Diagnostic]:
    """What stands below `kvm` is of a guest of KVM, and of as many vCPUs as it has."""
    for name, domain in context.topology.domains.items():
        hypervisor, path = context.hypervisor_of(name), ("domains", name, "kvm")
        if domain.kvm is None or hypervisor is None:
            continue
        if not isinstance(hypervisor, Kvm):
            hint = "`xen: {vcpu_affinity: …}` is the same under Xen" if domain.kvm.vcpu_affinity else "leave it out"
            message = f"`kvm` is KVM's; board '{context.board_of[name]}' runs Xen"
            yield context.find("VT447", message, path, key=True, hints=(hint,))
        elif domain.role is not Role.GUEST:
            message = f"`kvm` is for guests, '{name}' is the control domain"
            yield context.find("VT447", message, path, key=True)
        elif (affinity := domain.kvm.vcpu_affinity) and len(affinity) != domain.cpus:
            message = f"`vcpu_affinity` has {len(affinity)} entries, '{name}' {domain.cpus} vCPUs: one each"
            yield context.find("VT447", message, (*path, "vcpu_affinity"), key=True)


@rule(
    "VT448",
    what="memory that is no whole number of huge pages",
    why="QEMU starts no guest whose memory, or a pool of it, ends within a page.",
    example="hugepages: 1GiB for a guest of 512MiB",
    fix="Use smaller pages, or a size that is a multiple of them.",
)
def memory_is_of_whole_pages(context: Context) -> Iterator[Diagnostic]:
    """A guest's memory and its pools are whole numbers of the huge pages that they are made of."""
    for name, domain in context.topology.domains.items():
        page = domain.under_kvm.hugepages
        if page is None or domain.memory is None or not isinstance(context.hypervisor_of(name), Kvm):
            continue
        label = Label(context.span("domains", name, "kvm", "hugepages"), "its pages")
        if domain.memory % page:
            message = f"{format_size(domain.memory)} of '{name}' are no whole number of pages of {format_size(page)}"
            yield context.find("VT448", message, ("domains", name, "memory"), labels=(label,))
        for region_name, region in context.lookup.pools_of(name):
            if region.size % page:
                message = f"the pool '{region_name}' of {format_size(region.size)} is no whole number of them"
                yield context.find("VT448", message, ("regions", region_name, "size"), labels=(label,))
