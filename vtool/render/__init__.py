"""From a plan to files in memory. ``render`` is the only entry; the registry names every renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vtool.plan.types import BoardPlan
from vtool.render import (
    board_manifest,
    devicetree,
    imagebuilder,
    images,
    kvm,
    libvirt,
    systemd,
    systemd_boot,
    uboot,
    xen,
)
from vtool.render.artifacts import Artifact, ArtifactSet

Renderer = Callable[[BoardPlan], Iterable[Artifact]]

RENDERERS: tuple[Renderer, ...] = (
    board_manifest.render,
    devicetree.render,
    imagebuilder.render,
    images.render,
    kvm.render,
    libvirt.render,
    systemd.render,
    systemd_boot.render,
    uboot.render,
    xen.render,
)


def render(board: BoardPlan) -> ArtifactSet:
    """Render everything one board needs. Same plan in, same bytes out. Raises VtoolError VT420."""
    artifacts = systemd.with_extras(board, (artifact for renderer in RENDERERS for artifact in renderer(board)))
    return ArtifactSet(board.name, tuple(sorted(artifacts, key=lambda a: (a.place.value, a.name))))
