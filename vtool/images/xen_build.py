"""How a Xen was built, read from the binary itself (CONFIG_HYPFS_CONFIG), a ``.config``, or what the user says."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from vtool.check import XenBuild
from vtool.diagnostics import Diagnostic
from vtool.images import PREFIX, XEN_OPTIONS, recipe_text
from vtool.images.kernel_options import options_in
from vtool.model.topology import Topology, Xen, XenPatch
from vtool.source import Document

_GZIP = b"\x1f\x8b\x08"
_TITLE = re.compile(r"^# Xen/arm (\d+)\.(\d+)", re.MULTILINE)
_CONFIGURATIONS = {
    "vtool:xen": XEN_OPTIONS,
    # what is inside Debian 13's xen-hypervisor-4.20-arm64
    "vtool:xen-debian": "xen-debian-4.20.config",
}
_PATCHES = {"vtool:xen": frozenset({XenPatch.POOL_NODE})}


def configuration_in(binary: bytes) -> str | None:
    """Return the configuration text that a Xen binary carries, None when it carries none."""
    at = binary.find(_GZIP)
    while at >= 0:
        try:
            text = zlib.decompressobj(31).decompress(binary[at:], 1 << 20).decode()
        except (zlib.error, UnicodeDecodeError):
            text = ""
        if _TITLE.search(text):
            return text
        at = binary.find(_GZIP, at + 1)
    return None


def release_in(text: str) -> str | None:
    """Return the release, such as ``4.20``, that a configuration text names in its title."""
    title = _TITLE.search(text)
    return f"{title[1]}.{title[2]}" if title else None


def xens_of(document: Document, topology: Topology) -> tuple[Mapping[str, XenBuild], list[Diagnostic]]:
    """Return how each board's Xen was built, and what could not be read (VT505)."""
    found: dict[str, XenBuild] = {}
    unreadable: list[Diagnostic] = []
    for board, declared in topology.boards.items():
        hypervisor = declared.hypervisor
        if not isinstance(hypervisor, Xen):
            continue
        text = None
        for key in ("config", "image"):
            reference = getattr(hypervisor, key)
            if reference is None or text is not None:
                continue
            try:
                text = _configuration(document.path.parent, reference, key)
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is no text"
                span = document.span(("boards", board, "hypervisor", key))
                message = f"{key} '{reference}' of board '{board}' cannot be used: {reason.lower()}"
                unreadable.append(Diagnostic("VT505", message, span))
        version = hypervisor.version or release_in(text or "")
        if version is not None:
            major, minor = version.split(".")
            source = f"{hypervisor.image}, {version}"
            patches = _PATCHES.get(hypervisor.image, frozenset())
            found[board] = XenBuild((int(major), int(minor)), options_in(text) if text else None, source, patches)
    return found, unreadable


def _configuration(folder: Path, reference: str, key: str) -> str | None:
    if reference.startswith(PREFIX):
        file = _CONFIGURATIONS.get(reference)
        return recipe_text(file) if file else None
    path = folder / reference
    return path.read_text() if key == "config" else configuration_in(path.read_bytes())
