"""A pool in RAM that is shared as a whole: as of any pool, beside what the backend maps and can reach: all of it."""

from __future__ import annotations

from vtool.deploy.proof.paths import PathProof
from vtool.deploy.proof.pools import through_pool

PROOF = PathProof(kvm_device=through_pool)
