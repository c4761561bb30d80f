"""What has to be shown of one data path, as its own package says it (``vtool/data_paths/NAME/proof.py``).

Enter at ``proof_of`` and ``every_proof``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vtool.base.records import record
from vtool.data_paths import DataPath, modules
from vtool.deploy.proof.steps import Proof
from vtool.plan.types import KvmDevice, KvmGuest, XenBootGuest, XenGuest, XenVirtio


def _nothing(*_: Any) -> Iterator[Proof]:
    return iter(())


@record
class PathProof:
    """What has to be shown of one data path; each returns rows, in order.

    ``kvm_device`` is asked of each virtio device of a guest under KVM, ``kvm_guests`` of all guests of a board, for
    what goes between two of them. ``xl_device`` is asked of each virtio device of a guest that xl starts, ``xl_guest``
    of such a guest, for its other devices; ``built_guest`` of a guest that Xen builds. What is left out shows nothing.
    """

    kvm_device: Callable[[KvmGuest, KvmDevice], Iterator[Proof]] = _nothing
    kvm_guests: Callable[[Sequence[KvmGuest]], Iterator[Proof]] = _nothing
    xl_device: Callable[[XenGuest, XenVirtio], Iterator[Proof]] = _nothing
    xl_guest: Callable[[XenGuest], Iterator[Proof]] = _nothing
    built_guest: Callable[[XenBootGuest], Iterator[Proof]] = _nothing


def proof_of(path: DataPath) -> PathProof:
    """Return what has to be shown of a path. KeyError where its package does not say: it is not deployed."""
    proof: PathProof = modules("proof")[path.value].PROOF
    return proof


def every_proof() -> Iterator[PathProof]:
    """Yield what each path's package says that says something, in the order of the paths."""
    yield from (module.PROOF for module in modules("proof").values())
