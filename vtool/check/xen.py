"""Rules on what guests of Xen have between them: static event channels, and grants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vtool.check.context import Context
from vtool.check.shares import Share, largest_first, listed
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.grants import (
    DEFAULT_FRAMES,
    EVENT_CHANNELS,
    available_grants,
    free_port,
    grant_frames_for,
    held_by,
)
from vtool.model.topology import Enhanced, Role, Start, Xen
from vtool.reading.source import KeyPath


@rule(
    "VT377",
    what="a static event channel is not possible",
    why="Its two ends are different domains of one board that Xen starts, each with a port of its own.",
    example="an end that xl starts",
    fix="Follow the message.",
)
def event_channels_are_sound(context: Context) -> Iterator[Diagnostic]:
    """A static event channel joins two domains that Xen builds, at ports nobody else has."""
    used: dict[tuple[str, int], str] = {}
    channels, ends_of = context.topology.event_channels, Counter[str]()
    for name, channel in channels.items():
        path = ("event_channels", name)
        ends_of.update(set(channel.between))
        for end in sorted({*channel.between} & {end for end, count in ends_of.items() if count == EVENT_CHANNELS + 1}):
            message = f"event channel '{name}' is number {ends_of[end]} of '{end}', which has {EVENT_CHANNELS} ports"
            yield context.find("VT377", message, path, key=True)
        first, second = channel.between
        at: KeyPath
        ends = [end for end in channel.between if end in context.topology.domains]
        if first == second:
            message = f"event channel '{name}' leads from '{first}' to itself"
            yield context.find("VT377", message, (*path, "between"))
            continue
        if len({context.board_of.get(end) for end in ends}) > 1:
            message = f"event channel '{name}' leads from one board to another"
            yield context.find("VT377", message, (*path, "between"))
        for index, end in enumerate(channel.between):
            if end not in context.topology.domains:
                continue
            domain, at = context.topology.domains[end], (*path, "between", index)
            if not isinstance(context.hypervisor_of(end), Xen):
                yield context.find("VT377", f"'{end}' runs under KVM, which has no event channels", at)
            elif domain.role is Role.GUEST and domain.start is Start.XL:
                message = f"'{end}' is started by xl; static event channels join domains that Xen starts"
                yield context.find("VT377", message, at, hints=("start: dom0less",))
            elif domain.xen is not None and domain.xen.enhanced is Enhanced.DISABLED:
                message = f"'{end}' has `enhanced: disabled`, so it has no event channels"
                yield context.find("VT377", message, at, hints=("enhanced: no-xenstore",))
        for end, port in channel.ports.items():
            at = (*path, "ports", end)
            if end not in channel.between:
                yield context.find("VT377", f"'{end}' is not an end of event channel '{name}'", at, key=True)
            elif (end, port) in used:
                message = f"port {port} of '{end}' belongs to event channel '{used[end, port]}' already"
                free = free_port([fixed for each in channels.values() if (fixed := each.ports.get(end)) is not None])
                hint = f"leave it out and let vtool choose, or write {free}, which is free"
                yield context.find("VT377", message, at, hints=(hint,) if free else ())
            used.setdefault((end, port), name)


@rule(
    "VT380",
    what="a domain has fewer grants than its devices can hold",
    why="Under load, a disk without a grant waits and a network interface drops packets, without a clear message.",
    example="max_grant_frames: 1 with a disk",
    fix="Raise max_grant_frames as the hint says.",
)
def grants_suffice(context: Context) -> Iterator[Diagnostic]:
    """A domain has grants for all its devices at their busiest; without, they hang or fail under load."""
    for name, domain in context.topology.domains.items():
        if not isinstance(context.hypervisor_of(name), Xen):
            continue
        shares = largest_first(
            Share(f"'{device_name}'", held_by(device, domain.cpus).grants, ("devices", device_name), of_key=True)
            for device_name, device in context.sound_devices(name)
            if device.frontend == name
        )
        needed = sum(share.amount for share in shares)
        frames = domain.xen.max_grant_frames if domain.xen else None
        if needed > available_grants(frames):
            path = ("domains", name, "xen", "max_grant_frames") if frames else ("domains", name)
            message = (
                f"the {len(shares)} granting devices of '{name}' hold up to {needed} grants, "
                f"{frames or DEFAULT_FRAMES} frames are {available_grants(frames)}"
            )
            label = Label(context.span(*shares[0].path, key=True), f"{shares[0].who} takes the largest share")
            hints = (f"they hold {listed(shares, str)}", f"xen: {{max_grant_frames: {grant_frames_for(needed)}}}")
            yield context.find("VT380", message, path, key=not frames, labels=(label,), hints=hints)
