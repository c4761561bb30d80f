"""How a Xen was built, read from the binary itself (CONFIG_HYPFS_CONFIG), a ``.config``, or what the user says."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from vtool.check import XenBuild
from vtool.diagnostics import Diagnostic
from vtool.files.boot_files import look_at
from vtool.files.kernel_image import options_in, unpacked
from vtool.files.regular import open_regular, read_text, reason_of
from vtool.images import PREFIX, XEN_OPTIONS, recipe_text
from vtool.images.named_files import why_unfit
from vtool.model.partial import Unsound, derived, known
from vtool.model.topology import QEMU_XENPVH, Hypervisor, Topology, Xen, XenPatch
from vtool.reading.source import Document

_MOST_BLOCKS = 64
"""So many MiB of a Xen are looked at; one has less than two."""
_GZIP = b"\x1f\x8b\x08"
_TITLE = re.compile(r"^# Xen/arm (\d+)\.(\d+)", re.MULTILINE)
_CONFIGURATIONS = {
    "vtool:xen": XEN_OPTIONS,
    # what is inside Debian 13's xen-hypervisor-4.20-arm64
    "vtool:xen-debian": "xen-debian-4.20.config",
}
_PATCHES = {"vtool:xen": frozenset(XenPatch)}


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
    lost: list[str] = []
    for board, declared in known(topology.boards).items():
        try:
            xen, wrong = _xen_of(document, board, declared.hypervisor)
        except Unsound:
            lost.append(board)
            continue
        unreadable += wrong
        if xen is not None:
            found[board] = xen
        elif wrong:
            lost.append(board)
    return derived(topology.boards, found, lost), unreadable


def _xen_of(document: Document, board: str, hypervisor: Hypervisor) -> tuple[XenBuild | None, list[Diagnostic]]:
    """Return how a board's Xen was built, None where that is not known, and what could not be read."""
    if not isinstance(hypervisor, Xen):
        return None, []
    unreadable: list[Diagnostic] = []
    text = None
    for key in ("config", "image", "qemu_image", "xsm_policy"):
        reference = getattr(hypervisor, key)
        if reference is None:
            continue
        span = document.span(("boards", board, "hypervisor", key))
        try:
            if reference.startswith(PREFIX):
                read = _own(reference, key)
            elif key == "image" and text is not None and not (document.path.parent / reference).exists():
                continue  # `config` says what there is to know of it; deploying needs it
            else:
                read = _given(document.path.parent / reference, key)
            text = text or read
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            message = f"{key} '{reference}' of board '{board}' cannot be used: {reason}"
            unreadable.append(Diagnostic("VT505", message, span))
        except LookupError as error:
            message = f"{key} '{reference}' of board '{board}' is not one that vtool builds"
            unreadable.append(Diagnostic("VT505", message, span, hints=(f"there are: {error.args[0]}",)))
    version = hypervisor.version or release_in(text or "")
    if version is None or unreadable:
        return None, unreadable
    major, minor = version.split(".")
    patches = _PATCHES.get(hypervisor.image, frozenset())
    options = options_in(text) if text else None
    return XenBuild((int(major), int(minor)), options, f"{hypervisor.image}, {version}", patches), unreadable


def _own(reference: str, key: str) -> str | None:
    """Return the configuration of an image of vtool's; LookupError, with those there are, when it is not one."""
    known = {"qemu_image": (QEMU_XENPVH,), "xsm_policy": ()}.get(key, tuple(_CONFIGURATIONS))
    if reference not in known:
        raise LookupError(", ".join(known) or "none")
    return recipe_text(_CONFIGURATIONS[reference]) if key != "qemu_image" else None


def _given(path: Path, key: str) -> str | None:
    """Return the configuration in a user's file, None when it has none.

    OSError when it cannot be read, ValueError when it is not what the key wants.
    """
    if (fault := why_unfit(key, look_at(path))) is not None:
        raise ValueError(fault)
    if key == "config":
        return read_text(path)
    if key in ("qemu_image", "xsm_policy"):
        return None
    with open_regular(path) as stream:
        return configuration_in(b"".join(islice(unpacked(stream), _MOST_BLOCKS)))
