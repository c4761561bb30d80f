"""Devices of the board for guests of Xen, as a topology asks for them. Enter at ``wished``.

What the board's own tree says of them is added once that is at hand (``vtool.plan.tree_devices``).
"""

from __future__ import annotations

from vtool.model.topology import Domain
from vtool.plan.scope import BoardScope
from vtool.plan.types import PassthroughNode


def wished(scope: BoardScope, name: str, domain: Domain) -> tuple[PassthroughNode, ...]:
    """Return the nodes that a guest is to get, in the order of the file."""
    forced = domain.under_xen.force_assign_without_iommu
    return tuple(
        PassthroughNode(
            path=wish.node,
            domain=name,
            place=scope.document.span(("domains", name, "passthrough", index)),
            address=wish.address,
            clocks_hz=wish.clocks,
            forced=wish.node in forced,
        )
        for index, wish in enumerate(domain.passthrough)
    )
