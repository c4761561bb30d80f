"""What Xen takes of a guest, of shared memory and of itself: one row a property.

Enter at ``PROPERTIES``. Checks, lint, the planner, templates, the export for ImageBuilder, the comparison of a merged
tree and the page of the language loop over it; a row is all that a new property of a domain needs. Knows no topology:
``key`` is a path in one, and values are those of its model, with names in place of enums.

Each row cites the documentation of Xen that describes it, or the file that reads it, as the first release with it
has them. Words of xl are those of docs/man/xl.cfg.5.pod.in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any

from vtool.base.records import record
from vtool.base.units import MIB, AddressRange, dotted, exact_division, format_cpu_list
from vtool.platform.layouts import XEN_MOST_SPIS
from vtool.platform.xen_releases import OLDEST, Feature, Release


class Where(Enum):
    """Where Xen reads a property."""

    DOMAIN = "a property of a domain's node"
    BELOW = "a node below a domain's or /chosen, by its compatible"
    CHOSEN = "a property of /chosen"
    DEVICE = "a property of a device's node"
    XL = "in xl.cfg alone: Xen reads no such thing in a device tree"


@record
class Reference:
    """A phandle, written as the label that it refers to."""

    label: str


Written = bool | int | str | tuple[str, ...] | Reference | tuple[AddressRange, ...] | None
"""What is written for a value: True is the bare name; None and False are nothing."""
Writer = Callable[[Any], Written]


@record
class XlWord:
    """What xl.cfg has for a property; without ``write`` the template knows how."""

    word: str
    since: Release = OLDEST
    write: Writer | None = None
    note: str = ""
    what: str = ""


@record
class XenProperty:
    """One property or node.

    ``key`` is where a topology has it (below a domain, where it is a domain's). ``write`` makes its value in a
    device tree; without it the template or the base tree has it. ``values_since`` are values that came later,
    ``values_options`` those that a Xen needs another option for than the row's feature.
    ``limits`` are the least and the most of a number; ``words`` switch it on, on Xen's own command line.
    ``asked_elsewhere``: what it needs is asked for by the key of what it refers to. ``imagebuilder`` is its key in
    ImageBuilder's configuration, behind ``DOMU_``. The feature's ``source`` is what ``since`` was read in.
    """

    name: str
    key: str
    feature: Feature
    where: Where = Where.DOMAIN
    write: Writer | None = None
    xl: XlWord | None = None
    values_since: tuple[tuple[str, Release], ...] = ()
    values_options: tuple[tuple[str, str], ...] = ()
    limits: tuple[int, int] | None = None
    words: str = ""
    asked_elsewhere: bool = False
    imagebuilder: str | None = None
    note: str = ""

    @property
    def field(self) -> str:
        """Return the last part of ``key``."""
        return self.key.rpartition(".")[2]

    @property
    def since(self) -> Release:
        """Return the first release that reads it in a device tree."""
        return self.feature.since

    @property
    def since_words(self) -> str:
        """Say since when it is there, and what earlier releases do with it (for those that are backported)."""
        fixed, lacking = self.feature.backported, self.feature.points_without
        before = fixed.rpartition(".")[0]
        return f"came with Xen {dotted(self.since)}, and with {fixed} of the fixes to {before}: {lacking} ignore it"

    def is_in(self, release: Release) -> bool:
        """Whether a release reads it in a device tree."""
        return self.feature.is_in(release)

    def needs(self, value: object) -> Feature:
        """Return what a Xen must have that is to read this value in a device tree."""
        newer = dict(self.values_since).get(value) if isinstance(value, str) else None
        return replace(self.feature, since=newer, what=f"{self.feature.what} = {value}") if newer else self.feature

    def needs_of_xl(self, value: object) -> Feature | None:
        """Return what a Xen must have whose xl is to read this value, None where xl has no word for it."""
        if self.xl is None:
            return None
        word = value if isinstance(value, str) else ""
        since = max(self.xl.since, dict(self.values_since).get(word, self.xl.since))
        option = dict(self.values_options).get(word, self.feature.option)
        return replace(self.feature, since=since, option=option, what=self.xl.what or self.feature.what)


@record
class XenSetting:
    """A property of one guest and its value, as the plan has it."""

    row: XenProperty
    value: Any

    @property
    def in_tree(self) -> Written:
        """Return what a device tree says, None for nothing."""
        return _or_none(self.row.write(self.value)) if self.row.write else None

    @property
    def tree_bytes(self) -> bytes | None:
        """Return the property's bytes in a blob, None for nothing; places and references are compared as such."""
        match self.in_tree:
            case None | Reference() | tuple():
                return None
            case True:
                return b""
            case int() as number:
                return number.to_bytes(4, "big")
            case written:
                return f"{written}\0".encode()

    @property
    def in_xl(self) -> Written:
        """Return what an xl.cfg says, None for nothing."""
        xl = self.row.xl
        return _or_none(xl.write(self.value)) if xl and xl.write else None


def _or_none(written: Written) -> Written:
    return None if written is False or written == () else written


# -- how values are written


def _as_it_is(value: Any) -> Written:
    return value  # type: ignore[no-any-return]


def _mib(size_bytes: int | None) -> Written:
    return exact_division(size_bytes, MIB, "a size in MiB") if size_bytes else None


def _ranges(ranges: tuple[AddressRange, ...]) -> Written:
    return ranges


def _when_off(value: bool) -> Written:
    return None if value else 0


def _bits(**numbers: int) -> Writer:
    return lambda names: sum(numbers[name] for name in set(names)) or None


def _when_on(word: str) -> Writer:
    return lambda value: word if value else None


def _vector(bits: int | None) -> Written:
    """Write a length in bits, or the bare name for the longest (0)."""
    return bits if bits else bits is not None


def _vector_of_xl(bits: int | None) -> Written:
    return None if bits is None else str(bits or "hw")


def _colours_of_xl(colours: tuple[int, ...]) -> Written:
    return tuple(format_cpu_list(colours).split(",")) if colours else None


def _reference(label: str | None) -> Written:
    return Reference(label) if label else None


# -- the rows, in the order in which a domain's node has them

BOOTING = "docs/misc/arm/device-tree/booting.txt"


def _always(name: str, key: str, note: str = "", since: Release = (4, 12)) -> XenProperty:
    """Make the row of what every guest has, or what a template writes as a node."""
    where = Where.BELOW if name.startswith("multiboot,") else Where.DOMAIN
    return XenProperty(name, key, Feature(since, None, name, source=BOOTING), where, note=note)


DOM0LESS = XenProperty(
    "compatible",
    "start",
    Feature((4, 12), "DOM0LESS_BOOT", "dom0less domains", (4, 19), source=f"{BOOTING}; xen/arch/arm/Kconfig of 4.19"),
    note="`xen,domain`, with `#address-cells` and `#size-cells`: always written; `DOM0LESS_BOOT` since 4.19",
)
ENHANCED = XenProperty(
    "xen,enhanced",
    "xen.enhanced",
    Feature((4, 17), None, "xen,enhanced", source=BOOTING),
    write=_as_it_is,
    values_since=(("legacy", (4, 21)),),
    imagebuilder="ENHANCED",
    note="`no-xenstore` if left out and there are event channels; `legacy` since 4.21",
)
STATIC_MEMORY = XenProperty(
    "xen,static-mem",
    "xen.static_memory",
    Feature((4, 16), "STATIC_MEMORY", "static memory", source=BOOTING),
    write=_ranges,
    imagebuilder="STATIC_MEM",
    note="one range, at `xen.memory_address` if that is given, or all of `xen.static_ranges`; `STATIC_MEMORY`",
)
DIRECT_MAP = XenProperty(
    "direct-map",
    "xen.direct_map",
    Feature((4, 17), None, "direct-map", source=BOOTING),
    write=_as_it_is,
    imagebuilder="DIRECT_MAP",
    note="with static memory",
)
P2M_MEMORY = XenProperty(
    "xen,domain-p2m-mem-mb",
    "xen.p2m_memory",
    Feature(
        (4, 17), None, "memory for page tables", backported="4.16.3", source=f"XSA-409; {BOOTING} of 4.16.3 and of 4.17"
    ),
    write=_mib,
    xl=XlWord("shadow_memory", (4, 17), _mib, "whole MiB, for the guest's page tables"),
    imagebuilder="P2M_MEM_MB",
    note="whole MiB; 4.16.0 to 4.16.2 ignore it (a warning)",
)
SPIS = XenProperty(
    "nr_spis",
    "xen.spis",
    Feature((4, 13), None, "nr_spis", source=BOOTING),
    write=_as_it_is,
    xl=XlWord(
        "nr_spis",
        (4, 19),
        _as_it_is,
        "since 4.21 not below what virtio devices need (VT361); xl counts them where it is left out",
        "nr_spis of xl",
    ),
    limits=(1, XEN_MOST_SPIS),
    imagebuilder="NR_SPIS",
    note=f"1 to {XEN_MOST_SPIS}",
)
AFFINITY = XenProperty(
    "xen,vcpu",
    "host_cpus",
    Feature((4, 21), None, "keeping a dom0less guest on CPUs", source=BOOTING),
    Where.BELOW,
    xl=XlWord("cpus"),
    imagebuilder="VCPU_HARD_AFFINITY",
    note="nodes with `id` and `hard-affinity`: the same CPUs for each vCPU, or those of `xen.vcpu_affinity`",
)
SHARED_MEMORY = XenProperty(
    "xen,domain-shared-memory-v1",
    "regions",
    Feature((4, 17), "STATIC_SHM", "static shared memory", source=BOOTING),
    Where.BELOW,
    imagebuilder="SHARED_MEM",
    note="with `xen,shm-id`, `role`, `xen,shared-mem`; `STATIC_SHM`; `placed: false` since 4.19",
)
EVENT_CHANNELS = XenProperty(
    "xen,evtchn-v1",
    "event_channels",
    Feature(
        (4, 17), "STATIC_EVTCHN", "static event channels", (4, 19), source=f"{BOOTING}; xen/arch/arm/Kconfig of 4.19"
    ),
    Where.BELOW,
    imagebuilder="STATIC_EVTCHNS",
    note="`STATIC_EVTCHN` since 4.19",
)
CPUPOOLS = XenProperty(
    "xen,cpupool",
    "hypervisor.cpupools",
    Feature((4, 17), "BOOT_TIME_CPUPOOLS", "boot-time CPU pools", source="docs/misc/arm/device-tree/cpupools.txt"),
    Where.BELOW,
    note="`BOOT_TIME_CPUPOOLS`",
)
XSM_POLICY = Feature((4, 5), "XSM_FLASK", "a policy of FLASK", source=f"{BOOTING}; xen/common/Kconfig XSM_FLASK")
STATIC_HEAP = XenProperty(
    "xen,static-heap",
    "hypervisor.static_heap",
    Feature((4, 17), "STATIC_MEMORY", "a static heap", source=BOOTING),
    Where.CHOSEN,
    note="`STATIC_MEMORY`",
)


def _grants(name: str, imagebuilder: str, least: int, most: int) -> XenProperty:
    return XenProperty(
        name,
        f"xen.{name}",
        Feature((4, 18), None, "grant limits in the device tree", source=BOOTING),
        write=_as_it_is,
        xl=XlWord(name, OLDEST, _as_it_is),
        limits=(least, most),
        imagebuilder=imagebuilder,
        note=f"{least} to {most}",
    )


def _of_xl(key: str, feature: Feature, note: str, **more: Any) -> XenProperty:
    """Make the row of what only xl has a word for: it is named as that."""
    word = key.rpartition(".")[2]
    return XenProperty(word, key, feature, Where.XL, xl=XlWord(word, feature.since, _as_it_is, note), **more)


XL_CFG = "docs/man/xl.cfg.5.pod.in"
TEE = _of_xl(
    "tee",
    Feature(OLDEST, "OPTEE", "a trusted execution environment", source="tools/libs/light/libxl_types.idl tee_type"),
    "`optee` (`OPTEE`), or since 4.18 `ffa` (`FFA`)",
    values_since=(("ffa", (4, 18)),),
    values_options=(("ffa", "FFA"),),
)
GIC_VERSION = _of_xl(
    "xen.gic_version",
    Feature(OLDEST, None, "gic_version", source=f"{XL_CFG} gic_version"),
    "`v2` or `v3`, as far as the board's GIC has it (VT438)",
)
SECURITY_LABEL = _of_xl(
    "xen.seclabel",
    Feature(OLDEST, "XSM_FLASK", "a security label", source=f"{XL_CFG} seclabel; xen/common/Kconfig XSM_FLASK"),
    "`XSM_FLASK`, and a policy: the hypervisor's `xsm_policy`, or one that is built in; `xsm=flask` is added",
)
PROPERTIES = (
    DOM0LESS,
    _always("memory", "memory", "whole MiB"),
    _always("cpus", "cpus"),
    XenProperty(
        "vpl011",
        "xen.uart",
        Feature((4, 12), None, "vpl011", source=BOOTING),
        write=_as_it_is,
        xl=XlWord(
            "vuart", write=_when_on("sbsa_uart"), note="`sbsa_uart` where `true` is written; beside the console `hvc0`"
        ),
        imagebuilder="VPL011",
        note="on unless `false`",
    ),
    SPIS,
    ENHANCED,
    STATIC_MEMORY,
    DIRECT_MAP,
    XenProperty(
        "domain-cpupool",
        "cpupool",
        Feature((4, 17), "BOOT_TIME_CPUPOOLS", "a boot-time CPU pool", source=BOOTING),
        write=_reference,
        xl=XlWord("pool", write=_as_it_is),
        asked_elsewhere=True,
        imagebuilder="CPUPOOL",
        note="`BOOT_TIME_CPUPOOLS`; the pool of CPU 0 is dom0's (VT353)",
    ),
    P2M_MEMORY,
    XenProperty(
        "capabilities",
        "xen.capabilities",
        Feature((4, 21), None, "capabilities of dom0less guests", source=f"{BOOTING}; xen/include/public/bootfdt.h"),
        write=_bits(control=1, hardware=2, xenstore=4),
        limits=(0, 7),
        imagebuilder="CAPS",
        note="`control`; `hardware` and `xenstore` are dom0's (VT415)",
    ),
    XenProperty(
        "trap-unmapped-accesses",
        "xen.trap_unmapped_accesses",
        Feature((4, 21), None, "not trapping unmapped accesses", source=BOOTING),
        write=_when_off,
        xl=XlWord("trap_unmapped_accesses", (4, 21), _when_off, "written when `false`"),
        limits=(0, 1),
        imagebuilder="TRAP_UNMAP",
        note="written when `false`",
    ),
    XenProperty(
        "sve",
        "xen.sve",
        Feature((4, 18), "ARM64_SVE", "SVE in guests", source=BOOTING),
        write=_vector,
        xl=XlWord("sve", (4, 18), _vector_of_xl, "`hw` for `max`; `ARM64_SVE`"),
        limits=(128, 2048),
        note="128 to 2048 in steps of 128, as far as every core has it (VT358), or `max`; `ARM64_SVE`",
    ),
    XenProperty(
        "llc-colors",
        "xen.llc_colors",
        Feature((4, 20), "LLC_COLORING", "cache colouring", source=BOOTING),
        write=lambda colours: format_cpu_list(colours) or None,
        xl=XlWord("llc_colors", (4, 20), _colours_of_xl, "`LLC_COLORING`"),
        words="llc-coloring=on",
        note="`LLC_COLORING`, and colours that there are (VT359); `llc-coloring=on` is added to Xen's words",
    ),
    XenProperty(
        "xen,sci_type",
        "xen.scmi_smc",
        Feature((4, 21), "SCMI_SMC", "SCMI for guests", source=BOOTING),
        write=_when_on("scmi_smc"),
        xl=XlWord("arm_sci", (4, 21), _when_on("type=scmi_smc"), "one guest, `SCMI_SMC`"),
        words="scmi-smc-passthrough=on",
        note="one guest, `SCMI_SMC`; `scmi-smc-passthrough=on` is added to Xen's words",
    ),
    _grants("max_grant_version", "GRANT_VER", 1, 2),
    _grants("max_grant_frames", "GRANT_FRAMES", 1, 65535),
    _grants("max_maptrack_frames", "MAPTRACK_FRAMES", 0, 65535),
    XenProperty(
        "passthrough",
        "",
        Feature((4, 19), None, "passthrough without a partial device tree", source=BOOTING),
        note="the partial tree that comes with a node of `passthrough` implies it",
    ),
    AFFINITY,
    _always("multiboot,kernel", "kernel", "with `bootargs`, of the key of that name"),
    _always("multiboot,ramdisk", "ramdisk"),
    _always("multiboot,device-tree", "device_tree", "a partial tree", (4, 13)),
    XenProperty(
        "xen,xsm-policy",
        "hypervisor.xsm_policy",
        XSM_POLICY,
        Where.BELOW,
        note="below `/chosen`, of dom0: a module with FLASK's policy; `XSM_FLASK`",
    ),
    SHARED_MEMORY,
    EVENT_CHANNELS,
    CPUPOOLS,
    STATIC_HEAP,
    XenProperty(
        "xen,passthrough",
        "passthrough",
        Feature((4, 6), None, "passthrough", source="docs/misc/arm/device-tree/passthrough.txt"),
        Where.DEVICE,
        xl=XlWord("dtdev", note="with `iomem`, `irqs` and `device_tree`; itself for what an IOMMU confines (VT360)"),
        note="in a node of the board: what `--base-tree` is checked for (VT417)",
    ),
    XenProperty(
        "xen,force-assign-without-iommu",
        "xen.force_assign_without_iommu",
        Feature((4, 13), None, "passthrough without an IOMMU", source="docs/misc/arm/passthrough.txt"),
        Where.DEVICE,
        xl=XlWord("dtdev", note="left out for these nodes: `iomem` and `irqs` alone"),
        note="in the partial tree: the nodes that may be given away without an IOMMU (VT360)",
    ),
    XenProperty(
        "xen,uefi-binary",
        "",
        Feature((4, 16), None, "xen,uefi-binary", source=BOOTING),
        Where.BELOW,
        note="boards here boot by U-Boot, which loads the files",
    ),
    XenProperty(
        "v8r_el1_msa",
        "",
        Feature((4, 22), None, "v8r_el1_msa", source=BOOTING),
        note="for Armv8-R with an MPU; boards here are Armv8-A",
    ),
    TEE,
    GIC_VERSION,
    SECURITY_LABEL,
)
SETTINGS = tuple(row for row in PROPERTIES if row.write is not None or row.where is Where.XL)
"""What a domain's node or xl.cfg has one word for that follows from one key: those that ``XenSetting`` is made of."""
OF_XL = frozenset(row.field for row in PROPERTIES if row.key.startswith("xen.") and row.xl) | {"vcpu_affinity"}
"""The keys under ``xen`` that xl has a word for, too."""
OF_XL_ALONE = frozenset(row.field for row in PROPERTIES if row.where is Where.XL)
"""The keys that Xen has no property for."""


def table_of_trees() -> str:
    """Return the table of properties and nodes for the page of the language, in Markdown."""
    rows = [row for row in PROPERTIES if row.where is not Where.XL]
    return _table("property or node", [(row, row.name, row.since, row.note) for row in rows])


def table_of_xl() -> str:
    """Return the table of words of xl.cfg, in Markdown."""
    return _table("word", [(row, row.xl.word, row.xl.since, row.xl.note) for row in PROPERTIES if row.xl])


def _table(what: str, lines: list[tuple[XenProperty, str, Release, str]]) -> str:
    text = f"| {what} | key | since | notes |\n|---|---|---|---|\n"
    for row, name, since, note in lines:
        key = f"`{row.key}`" if row.key else "none"
        releases = f"{dotted(since)}, {row.feature.backported}" if row.feature.backported else dotted(since)
        text += f"| `{name}` | {key} | {releases} | {note} |\n".replace("|  |", "| |")
    return text
