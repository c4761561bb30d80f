"""Rules on what is requested of Xen: the board's release has it, and it was built with it.

Most of what is refused here would stop the whole host before its console is up, or be accepted
without a word: nothing on a board tells the user afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.records import record
from vtool.check.context import Context, XenBuild
from vtool.check.xen_virtio import xen_virtio
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.devices import Program
from vtool.model.partial import lost_names
from vtool.model.topology import Domain, Enhanced, RegionUse, Start, Xen, XenDomain
from vtool.platform import layouts
from vtool.reading.source import KeyPath


@record
class Feature:
    """Something a Xen needs to have: the first release with it, and the Kconfig option since when it is one."""

    since: tuple[int, int]
    option: str | None
    what: str
    option_since: tuple[int, int] = (4, 0)
    without: str = "such a Xen stops before its console is up, or ignores the node: see what `image: vtool:xen` has"


STATIC_MEMORY = Feature((4, 16), "STATIC_MEMORY", "static memory")
DIRECT_MAP = Feature((4, 17), None, "direct-map")
STATIC_HEAP = Feature((4, 17), "STATIC_MEMORY", "a static heap")
SHARED_MEMORY = Feature((4, 17), "STATIC_SHM", "static shared memory")
UNPLACED = Feature((4, 19), "STATIC_SHM", "shared memory without a host address")
POOL = Feature((4, 19), "STATIC_SHM", "a pool, which Linux must find in a guest's /memory,")
EVENT_CHANNELS = Feature((4, 17), "STATIC_EVTCHN", "static event channels", (4, 19))
CPUPOOLS = Feature((4, 17), "BOOT_TIME_CPUPOOLS", "boot-time CPU pools")
DOM0LESS = Feature((4, 12), "DOM0LESS_BOOT", "dom0less domains", (4, 19))
ENHANCED = Feature((4, 17), None, "xen,enhanced")
ENHANCED_LEGACY = Feature((4, 21), None, "xen,enhanced = legacy")
GRANT_LIMITS = Feature((4, 18), None, "grant limits in the device tree")
AFFINITY = Feature((4, 21), None, "keeping a dom0less guest on CPUs")
CAPABILITIES = Feature((4, 21), None, "capabilities of dom0less guests")
UNTRAPPED = Feature((4, 21), None, "not trapping unmapped accesses")
SVE = Feature((4, 18), "ARM64_SVE", "SVE in guests")
LLC_COLORS = Feature((4, 20), "LLC_COLORING", "cache colouring")
SCMI = Feature((4, 21), "SCMI_SMC", "SCMI for guests")
PASSTHROUGH = Feature((4, 19), None, "passthrough without a partial device tree")
_SETTINGS = {
    "static_memory": STATIC_MEMORY,
    "direct_map": DIRECT_MAP,
    "capabilities": CAPABILITIES,
    "sve": SVE,
    "llc_colors": LLC_COLORS,
    "scmi_smc": SCMI,
    "max_grant_version": GRANT_LIMITS,
    "max_grant_frames": GRANT_LIMITS,
    "max_maptrack_frames": GRANT_LIMITS,
}
SPIS_OF_XL = Feature((4, 19), None, "nr_spis of xl")
P2M_SINCE = (4, 17)
SHARES = Feature((4, 19), None, "xl's p9 of type xen_9pfsd")
_NO_IOREQ = (
    "no backend can register for a guest's virtio-mmio accesses then: Debian's has it not, `image: vtool:xen` does"
)
VIRTIO = Feature((4, 15), "IOREQ_SERVER", "a virtio backend", without=_NO_IOREQ)
VIRTIO_OF_XL = Feature((4, 18), "IOREQ_SERVER", "xl's `virtio` list", without=_NO_IOREQ)
VIRTIO_DISK_OF_XL = Feature((4, 19), "IOREQ_SERVER", "`grant_usage` of xl's virtio disks", without=_NO_IOREQ)


def features_wished(context: Context) -> Iterator[tuple[str, Feature, KeyPath]]:
    """Yield (board, feature, place) for everything that asks something of a Xen."""
    for board, declared in context.topology.boards.items():
        if isinstance(declared.hypervisor, Xen):
            at = ("boards", board, "hypervisor")
            if declared.hypervisor.static_heap is not None:
                yield board, STATIC_HEAP, (*at, "static_heap")
            if declared.hypervisor.cpupools:
                yield board, CPUPOOLS, (*at, "cpupools")
    for name, domain in context.topology.domains.items():
        board_name = context.board_of.get(name)
        if board_name is None or not isinstance(context.hypervisor_of(name), Xen):
            continue
        asked = _asked_of(domain) if domain.start is Start.DOM0LESS else _asked_of_xl(domain)
        for path, feature in asked:
            yield board_name, feature, ("domains", name, *path)
    yield from _shares_wished(context)
    for name, region in context.topology.regions.items():
        if context.is_static_shared(region):
            board_name = context.board_of[context.members_of(region)[0]]
            pool = region.use is RegionUse.RESTRICTED_DMA_POOL
            feature = POOL if pool else SHARED_MEMORY if region.placed else UNPLACED
            yield board_name, feature, ("regions", name)
    yield from _virtio_wished(context)
    for name, channel in context.topology.event_channels.items():
        board_name = context.board_of.get(channel.between[0])
        if board_name is not None and isinstance(context.hypervisor_of(channel.between[0]), Xen):
            yield board_name, EVENT_CHANNELS, ("event_channels", name)


def _shares_wished(context: Context) -> Iterator[tuple[str, Feature, KeyPath]]:
    for name, device in context.sound_devices():
        if device.program is Program.XEN_9PFSD and isinstance(context.hypervisor_of(device.frontend), Xen):
            yield context.board_of[device.frontend], SHARES, ("devices", name, "program")


def _virtio_wished(context: Context) -> Iterator[tuple[str, Feature, KeyPath]]:
    for name, device, _ in xen_virtio(context):
        row = combination_of("xen", device)
        by_xl = context.topology.domains[device.frontend].start is Start.XL
        feature = (VIRTIO_OF_XL if row and row.xl_type else VIRTIO_DISK_OF_XL) if by_xl else VIRTIO
        yield context.board_of[device.frontend], feature, ("devices", name, "data_path")


def _asked_of(domain: Domain) -> Iterator[tuple[tuple[str, ...], Feature]]:
    settings = domain.xen or XenDomain()
    yield ("start",), DOM0LESS
    if domain.host_cpus:
        yield ("host_cpus",), AFFINITY
    if domain.passthrough and domain.device_tree is None:
        yield ("passthrough",), PASSTHROUGH
    if settings.enhanced is not None:
        yield ("xen", "enhanced"), ENHANCED_LEGACY if settings.enhanced is Enhanced.LEGACY else ENHANCED
    if not settings.trap_unmapped_accesses:
        yield ("xen", "trap_unmapped_accesses"), UNTRAPPED
    for key, feature in _SETTINGS.items():
        value = getattr(settings, key)
        if key in settings.model_fields_set and value is not False and value != ():
            yield ("xen", key), feature


def _asked_of_xl(domain: Domain) -> Iterator[tuple[tuple[str, ...], Feature]]:
    """Yield what a guest asks of xl, whose release is Xen's."""
    settings = domain.xen or XenDomain()
    if settings.spis is not None:
        yield ("xen", "spis"), SPIS_OF_XL
    if not settings.trap_unmapped_accesses:
        yield ("xen", "trap_unmapped_accesses"), UNTRAPPED
    if settings.sve is not None:
        yield ("xen", "sve"), SVE
    if settings.llc_colors:
        yield ("xen", "llc_colors"), LLC_COLORS
    if settings.scmi_smc:
        yield ("xen", "scmi_smc"), SCMI


@rule(
    "VT370",
    what="a feature is newer than the board's Xen",
    why="An older Xen ignores the node, or stops before its console is up.",
    example="max_grant_frames for a dom0less guest on Xen 4.17",
    fix="Use a newer Xen, or leave the setting out.",
)
def page_tables_are_read(context: Context) -> Iterator[Diagnostic]:
    """A Xen before 4.17 has memory for a guest's page tables in its last point releases only."""
    for name, domain in context.topology.domains.items():
        board = context.board_of.get(name)
        if domain.xen is None or domain.xen.p2m_memory is None or board is None or board not in context.xens:
            continue
        if context.xens[board].version < P2M_SINCE:
            path = ("domains", name, "xen", "p2m_memory")
            yield context.find("VT370", f"`p2m_memory` {layouts.XEN_P2M_SINCE}", path, severity=Severity.WARNING)


@rule("VT370")
@rule("VT371")
@rule(
    "VT379",
    what="it is not known what the board's Xen can do",
    why="Its image does not carry its configuration, so vtool cannot tell whether it would boot.",
    example="image: my-xen, a build that tells no release, with a shared region",
    fix="Write the hypervisor's version, and config with its .config file.",
)
def features_are_built(context: Context) -> Iterator[Diagnostic]:
    """The board's Xen is new enough and was built with the option."""
    for board, feature, path in features_wished(context):
        if board in lost_names(context.xens):
            continue  # VT505
        xen = context.xens.get(board)
        if xen is None:
            message = f"{feature.what}: whether the Xen of board '{board}' has that is not known"
            hint = "its image does not say its release: write `version`, and best `config`"
            yield context.find("VT379", message, ("boards", board, "hypervisor"), key=True, hints=(hint,))
            continue
        label = Label(context.span("boards", board, "hypervisor"), f"this Xen: {xen.source}")
        key = len(path) == 2
        if xen.version < feature.since:
            since = ".".join(map(str, feature.since))
            message = f"{feature.what} needs Xen {since} or later, board '{board}' has {xen.release}"
            yield context.find("VT370", message, path, key=key, labels=(label,))
        elif _lacks(xen, feature):
            message = f"{feature.what} needs a Xen built with CONFIG_{feature.option}, this one is built without"
            yield context.find("VT371", message, path, key=key, labels=(label,), hints=(feature.without,))


def _lacks(xen: XenBuild, feature: Feature) -> bool:
    if feature.option is None or xen.options is None or xen.version < feature.option_since:
        return False
    return xen.options.get(feature.option) != "y"
