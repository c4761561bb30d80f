"""Granted pages: that the guest's kernel grants them, data both ways, and that QEMU maps nothing else."""

from __future__ import annotations

from vtool.deploy.proof.paths import PathProof
from vtool.deploy.proof.xen_virtio import virtio_device

PROOF = PathProof(xl_device=virtio_device)
