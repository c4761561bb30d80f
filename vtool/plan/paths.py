"""What a data path's own package decides (``vtool/data_paths/NAME/planning.py``), as the planners ask for it.

Enter at ``planning_of``, ``every_planning`` and ``kernel_words``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.data_paths import DataPath, modules
from vtool.model.devices import Device
from vtool.plan import types as plan
from vtool.plan.scope import BoardScope


def _none(*_: Any) -> None:
    return None


def _nothing(*_: Any) -> tuple[()]:
    return ()


@record
class Planning:
    """What one data path alone has decided of its devices; what it leaves out, it has not.

    ``kernel_words`` is what the kernel of a guest is told of a device. ``kvm_ring``: a guest's end of what programs in
    two guests carry, from the scope, the device's name, the device, the guest and the file of the region's BAR in it.
    ``xen_rings``: what programs carry between a guest that Xen builds and dom0, from the scope, the guest, and where it
    and dom0 see its regions.
    """

    kernel_words: Callable[[plan.KvmDevice | plan.XenVirtio], Iterable[str]] = _nothing
    kvm_ring: Callable[[BoardScope, str, Device, str, str], plan.KvmRing | None] = _none
    xen_rings: Callable[
        [BoardScope, str, Mapping[str, AddressRange], Mapping[str, AddressRange]], Iterable[plan.XenRing]
    ] = _nothing


_OF_NONE = Planning()


def planning_of(path: DataPath) -> Planning:
    """Return what a path's own package decides."""
    module = modules("planning").get(path.value)
    return _OF_NONE if module is None else module.PLANNING


def kernel_words(devices: Iterable[plan.KvmDevice | plan.XenVirtio]) -> tuple[str, ...]:
    """Return what a guest's kernel is told of the paths of its devices, each word once."""
    return tuple(dict.fromkeys(word for d in devices for word in planning_of(d.data_path).kernel_words(d)))


def every_planning() -> Iterator[Planning]:
    """Yield what each package decides that decides something, in the order of the paths."""
    yield from (module.PLANNING for module in modules("planning").values())
