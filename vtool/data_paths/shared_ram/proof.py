"""All of the guest's RAM: data both ways, and that the backend can reach all of it."""

from __future__ import annotations

from vtool.deploy.proof import kvm, xen_virtio
from vtool.deploy.proof.paths import PathProof

PROOF = PathProof(kvm_device=kvm.virtio_device, xl_device=xen_virtio.virtio_device)
