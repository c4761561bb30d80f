"""What has to be shown of one data path, as its own package says it (``vtool/data_paths/NAME/proof.py``).

Enter at ``every_proof``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vtool.base.records import record
from vtool.data_paths import modules
from vtool.deploy.proof.steps import Proof
from vtool.plan.types import KvmGuest, XenBootGuest


def _nothing(*_: Any) -> Iterator[Proof]:
    return iter(())


@record
class PathProof:
    """What has to be shown of one data path; each returns rows, in order.

    ``kvm_guests`` is asked of all guests of a board, for what goes between two of them; ``built_guest`` of a guest that
    Xen builds.
    """

    kvm_guests: Callable[[Sequence[KvmGuest]], Iterator[Proof]] = _nothing
    built_guest: Callable[[XenBootGuest], Iterator[Proof]] = _nothing


def every_proof() -> Iterator[PathProof]:
    """Yield what each path's package says that says something, in the order of the paths."""
    yield from (module.PROOF for module in modules("proof").values())
