"""Rules on what is requested of Xen: the board's release has it, and it was built with it.

Most of what is refused here would stop the whole host before its console is up, or be accepted
without a word: nothing on a board tells the user afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import dotted
from vtool.check.context import Context, XenBuild
from vtool.check.xen_virtio import xen_virtio
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.partial import lost_names
from vtool.model.topology import Domain, RegionUse, Start, Xen
from vtool.model.xen_settings import is_requested, requested
from vtool.platform.xen_properties import (
    AFFINITY,
    CPUPOOLS,
    DOM0LESS,
    EVENT_CHANNELS,
    PROPERTIES,
    SETTINGS,
    SHARED_MEMORY,
    STATIC_HEAP,
    STATIC_MEMORY,
    XSM_POLICY,
    Where,
    XenProperty,
)
from vtool.platform.xen_releases import (
    OLDEST,
    POOL,
    UNPLACED,
    VIRTIO,
    VIRTIO_DISK_OF_XL,
    VIRTIO_OF_XL,
    Feature,
)
from vtool.reading.source import KeyPath


def features_requested(context: Context) -> Iterator[tuple[str, Feature, KeyPath]]:
    """Yield (board, feature, place) for everything that asks something of a Xen."""
    for board, declared in context.topology.boards.items():
        if isinstance(declared.hypervisor, Xen):
            at = ("boards", board, "hypervisor")
            if declared.hypervisor.static_heap is not None:
                yield board, STATIC_HEAP.feature, (*at, "static_heap")
            if declared.hypervisor.cpupools:
                yield board, CPUPOOLS.feature, (*at, "cpupools")
            if declared.hypervisor.xsm_policy is not None:
                yield board, XSM_POLICY, (*at, "xsm_policy")
    for name, domain in context.topology.domains.items():
        board_name = context.board_of.get(name)
        if board_name is None or not isinstance(context.hypervisor_of(name), Xen):
            continue
        for path, feature in _asked_of(domain):
            yield board_name, feature, ("domains", name, *path)
    yield from _services_requested(context)
    for name, region in context.topology.regions.items():
        if context.is_static_shared(region):
            board_name = context.board_of[context.members_of(region)[0]]
            pool = region.use is RegionUse.RESTRICTED_DMA_POOL
            feature = POOL if pool else SHARED_MEMORY.feature if region.placed else UNPLACED
            yield board_name, feature, ("regions", name)
    yield from _virtio_requested(context)
    for name, channel in context.topology.event_channels.items():
        board_name = context.board_of.get(channel.between[0])
        if board_name is not None and isinstance(context.hypervisor_of(channel.between[0]), Xen):
            yield board_name, EVENT_CHANNELS.feature, ("event_channels", name)


def _services_requested(context: Context) -> Iterator[tuple[str, Feature, KeyPath]]:
    for name, device in context.sound_devices():
        row = combination_of("xen", device)
        feature = row.service.feature if row and row.service else None
        if feature is not None and isinstance(context.hypervisor_of(device.frontend), Xen):
            yield context.board_of[device.frontend], feature, ("devices", name, "program")


def _virtio_requested(context: Context) -> Iterator[tuple[str, Feature, KeyPath]]:
    for name, device, _ in xen_virtio(context):
        row = combination_of("xen", device)
        by_xl = context.topology.domains[device.frontend].start is Start.XL
        feature = (VIRTIO_OF_XL if row and row.xl_type else VIRTIO_DISK_OF_XL) if by_xl else VIRTIO
        yield context.board_of[device.frontend], feature, ("devices", name, "data_path")


def _asked_of(domain: Domain) -> Iterator[tuple[tuple[str, ...], Feature]]:
    """Yield what a guest asks of Xen, or of xl, whose release is Xen's."""
    dom0less = domain.start is Start.DOM0LESS
    if dom0less:
        yield ("start",), DOM0LESS.feature
    for row in _requested(domain):
        value = requested(domain, row)
        feature = row.needs(value) if dom0less else row.needs_of_xl(value)
        if feature is not None and (feature.since > OLDEST or feature.option is not None):
            yield tuple(row.key.split(".")), feature
    if dom0less and domain.under_xen.vcpu_affinity:
        yield ("xen", "vcpu_affinity"), AFFINITY.feature
    if dom0less and domain.under_xen.static_ranges:
        yield ("xen", "static_ranges"), STATIC_MEMORY.feature


def _requested(domain: Domain) -> Iterator[XenProperty]:
    """Yield the rows of what a domain says, each where it says more than what is the case without it."""
    dom0less = domain.start is Start.DOM0LESS
    for row in (*SETTINGS, AFFINITY):
        if dom0less and row.where is Where.XL:
            continue  # VT372
        if not row.asked_elsewhere and is_requested(domain, row):
            yield row


@rule(
    "VT370",
    what="a feature is newer than the board's Xen",
    why="An older Xen ignores the node, or stops before its console is up.",
    example="max_grant_frames for a dom0less guest on Xen 4.17",
    fix="Use a newer Xen, or leave the setting out.",
)
def point_releases_read_it(context: Context) -> Iterator[Diagnostic]:
    """What came with fixes is in the last point releases only of the Xen before the one that brought it."""
    for name, domain in context.topology.domains.items():
        board = context.board_of.get(name)
        if board is None or board not in context.xens:
            continue
        for row in PROPERTIES:
            if row.feature.is_in_fixes_to(context.xens[board].version) and is_requested(domain, row):
                path = ("domains", name, *row.key.split("."))
                yield context.find("VT370", f"`{row.field}` {row.since_words}", path, severity=Severity.WARNING)


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
    for board, feature, path in features_requested(context):
        if board in lost_names(context.xens):
            continue  # VT505
        xen = context.xens.get(board)
        if feature.backported and (xen is None or feature.is_in_fixes_to(xen.version)):
            continue  # whether its point release has it: `point_releases_read_it`
        if xen is None:
            message = f"{feature.what}: whether the Xen of board '{board}' has that is not known"
            hint = "its image does not say its release: write `version`, and preferably `config`"
            yield context.find("VT379", message, ("boards", board, "hypervisor"), key=True, hints=(hint,))
            continue
        label = Label(context.span("boards", board, "hypervisor"), f"this Xen: {xen.source}")
        key = len(path) == 2
        if not feature.is_in(xen.version):
            since = dotted(feature.since)
            message = f"for {feature.what}, Xen {since} or later is needed; board '{board}' has {xen.release}"
            yield context.find("VT370", message, path, key=key, labels=(label,))
        elif _lacks(xen, feature):
            message = (
                f"for {feature.what}, a Xen built with CONFIG_{feature.option} is needed; this one is built without"
            )
            yield context.find("VT371", message, path, key=key, labels=(label,), hints=(feature.without,))


def _lacks(xen: XenBuild, feature: Feature) -> bool:
    if feature.option is None or xen.options is None or xen.version < feature.option_since:
        return False
    return xen.options.get(feature.option) != "y"
