"""What a data path's own package decides (``vtool/data_paths/NAME/planning.py``), as the planners ask for it.

Enter at ``planning_of`` and ``every_planning``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.data_paths import DataPath, modules
from vtool.model.devices import Device
from vtool.plan import types as plan
from vtool.plan.scope import BoardScope


def _no_ring(_scope: BoardScope, _name: str, _device: Device, _guest: str, _bar: str) -> None:
    return None


def _no_rings(
    _scope: BoardScope, _guest: str, _inside: Mapping[str, AddressRange], _in_dom0: Mapping[str, AddressRange]
) -> Iterator[plan.XenRing]:
    return iter(())


@record
class Planning:
    """What one data path alone has decided of its devices; what it leaves out, it has not.

    ``kvm_ring``: a guest's end of what programs in two guests carry, from the scope, the device's name, the device, the
    guest and the file of the region's BAR in it. ``xen_rings``: what programs carry between a guest that Xen builds and
    dom0, from the scope, the guest, and where it and dom0 see its regions.
    """

    kvm_ring: Callable[[BoardScope, str, Device, str, str], plan.KvmRing | None] = _no_ring
    xen_rings: Callable[
        [BoardScope, str, Mapping[str, AddressRange], Mapping[str, AddressRange]], Iterator[plan.XenRing]
    ] = _no_rings


def planning_of(path: DataPath) -> Planning:
    """Return what a path's own package decides."""
    module = modules("planning").get(path.value)
    return Planning() if module is None else module.PLANNING


def every_planning() -> Iterator[Planning]:
    """Yield what each package decides that decides something, in the order of the paths."""
    yield from (module.PLANNING for module in modules("planning").values())
