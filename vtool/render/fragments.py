"""The device-tree fragments alone, each with a comment that says how it is applied, for those who use nothing else.

The fragments are what ``vtool deploy`` uses: the same renderer makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vtool.model.board_facts import DeviceTreeFacts
from vtool.plan.types import BoardPlan
from vtool.render import devicetree
from vtool.render.artifacts import Artifact, Kind

_EMPTY = re.compile(r"&\{/\} \{\s*\};\s*$")


@dataclass(frozen=True)
class Fragment:
    """An overlay's source: ``domain`` whose tree it goes into, ``file_name`` is unique in a topology."""

    board: str
    domain: str
    file_name: str
    text: str


def fragments(board: BoardPlan, base: DeviceTreeFacts | None = None) -> Iterator[Fragment]:
    """Yield the fragments of a board's own tree and of its guests' trees; empty ones are left out.

    ``base`` is what the tree of a guest's machine is like, where that is not QEMU's own.
    """
    for artifact in devicetree.render(board, base or devicetree.QEMU_TREE):
        if artifact.kind not in (Kind.OVERLAY, Kind.HOST_OVERLAY) or _EMPTY.search(artifact.content):
            continue
        host = artifact.kind is Kind.HOST_OVERLAY
        domain = board.control.name if host else artifact.asked_by[1]
        stem = board.name if host else f"{board.name}.{domain}"  # no name has a full stop
        comment = _comment(artifact, board, stem)
        yield Fragment(board.name, domain, f"{stem}.dts", f"{comment}{artifact.content}")


def _comment(artifact: Artifact, board: BoardPlan, stem: str) -> str:
    if artifact.kind is Kind.HOST_OVERLAY:
        base = f"base.dtb is the tree that the board '{board.name}' boots with."
    else:
        base = (
            "base.dtb is the tree of the guest's machine; with QEMU add dumpdtb=base.dtb to -machine, all else equal."
        )
    lines = (
        base,
        f"    dtc -@ -q -I dts -O dtb -o {stem}.dtbo {stem}.dts",
        f"    fdtoverlay -i base.dtb -o {stem}.dtb {stem}.dtbo",
    )
    return "/*\n" + "".join(f" * {line}\n" for line in lines) + " */\n"
