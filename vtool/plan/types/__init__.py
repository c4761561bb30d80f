"""What was decided: every address, interrupt, socket, unit and order. Nothing optional left to choose.

Records in the vocabulary of the hypervisors. A renderer loops over them and prints; if it
needs arithmetic, a field is missing here. Addresses carry their origin. Enter at `Plan`.

One module a theme; all names are this package's, so that a reader of plans need not know which module has one.
"""

from vtool.model.devices.arguments import QemuOption
from vtool.plan.types.board import (
    BoardPlan,
    Bridge,
    ControlDomain,
    Plan,
    UnitExtra,
    XenArgument,
)
from vtool.plan.types.devices import MmioPlace, PciPlace, Queues, Tap, VhostUserBackend
from vtool.plan.types.folders import BOARD_FOLDER, CURRENT, DISKS, PROGRAM, RUN, SHARES, XSM_POLICY
from vtool.plan.types.guest import (
    DiskImage,
    FileDisk,
    GrantLimit,
    Guest,
    GuestAccess,
    GuestDevice,
    GuestImage,
    GuestKind,
    RegionView,
    board_devices,
    file_disks,
    served_by,
    units_of,
    written_files,
)
from vtool.plan.types.kvm import TRACK_HIWATER, HostPci, KvmDevice, KvmFirmware, KvmGuest, KvmMemory
from vtool.plan.types.origins import Origin, OriginKind, StaticRange
from vtool.plan.types.passthrough import (
    FixedClock,
    GuestNode,
    GuestProperty,
    PassthroughNode,
    Registers,
    TreeDevice,
)
from vtool.plan.types.regions import HostRegion, Pool, RegionFile, SharedView
from vtool.plan.types.rings import KvmRing, RingEnd, XenRing
from vtool.plan.types.windows import GuestWindows, Window, WindowKind
from vtool.plan.types.xen import (
    DriverDomain,
    XenAttached,
    XenDaemon,
    XenDisk,
    XenGuest,
    XenInterface,
    XenQemu,
    XenServedDisk,
    XenShare,
    XenVhostFrontend,
    XenVirtio,
)
from vtool.plan.types.xen_boot import BootModule, EventChannelEnd, XenBoot, XenBootGuest, XenCpuPool

__all__ = [
    "BOARD_FOLDER",
    "CURRENT",
    "DISKS",
    "PROGRAM",
    "RUN",
    "SHARES",
    "TRACK_HIWATER",
    "XSM_POLICY",
    "BoardPlan",
    "BootModule",
    "Bridge",
    "ControlDomain",
    "DiskImage",
    "DriverDomain",
    "EventChannelEnd",
    "FileDisk",
    "FixedClock",
    "GrantLimit",
    "Guest",
    "GuestAccess",
    "GuestDevice",
    "GuestImage",
    "GuestKind",
    "GuestNode",
    "GuestProperty",
    "GuestWindows",
    "HostPci",
    "HostRegion",
    "KvmDevice",
    "KvmFirmware",
    "KvmGuest",
    "KvmMemory",
    "KvmRing",
    "MmioPlace",
    "Origin",
    "OriginKind",
    "PassthroughNode",
    "PciPlace",
    "Plan",
    "Pool",
    "QemuOption",
    "Queues",
    "RegionFile",
    "RegionView",
    "Registers",
    "RingEnd",
    "SharedView",
    "StaticRange",
    "Tap",
    "TreeDevice",
    "UnitExtra",
    "VhostUserBackend",
    "Window",
    "WindowKind",
    "XenArgument",
    "XenAttached",
    "XenBoot",
    "XenBootGuest",
    "XenCpuPool",
    "XenDaemon",
    "XenDisk",
    "XenGuest",
    "XenInterface",
    "XenQemu",
    "XenRing",
    "XenServedDisk",
    "XenShare",
    "XenVhostFrontend",
    "XenVirtio",
    "board_devices",
    "file_disks",
    "served_by",
    "units_of",
    "written_files",
]
