"""Lines of xl.cfg: one assignment each, as xl's own parser reads it.

Xen tools/libs/util/libxlu_cfg_l.l and libxlu_cfg_y.y (4.16 to 4.22); which names xl knows is tools/xl/xl_parse.c, and
those that it does not know it passes over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vtool.platform.extra import Format
from vtool.platform.xen_properties import PROPERTIES

_TOKEN = re.compile(
    r"""(?P<skip>[ \t]+)|(?P<name>[a-z][._0-9a-z]*)|(?P<number>[0-9][0-9a-fx]*)|(?P<set>\+?=)|(?P<mark>[\[\],])"""
    r"""|(?P<text>'(?:[^'\\]|\\["'\\])*'|"(?:[^"\\]|\\["'\\])*")"""
)

_BY_OTHER_NAMES = {
    "builder": "vtool's guests are of the type pvh",
    "maxvcpus": "`cpus` says it",
    "maxmem": "`memory` says it",
    "cmdline": "`bootargs` says it",
    "root": "`bootargs` says it",
    "bootloader": "`kernel` says it",
    "firmware_override": "`kernel` says it",
}
WRITTEN: Mapping[str, str] = {
    "type": "vtool's guests are of the type pvh",
    "name": "the domain's name says it",
    "vcpus": "`cpus` says it",
    "memory": "`memory` says it",
    "kernel": "`kernel` says it",
    "ramdisk": "`ramdisk` says it",
    "device_tree": "`device_tree` says it",
    "extra": "`bootargs` says it",
    "driver_domain": "it follows from `backend` of devices",
    "on_poweroff": "vtool's units rely on it",
    "on_reboot": "vtool's units rely on it",
    "on_crash": "vtool's units rely on it",
    **dict.fromkeys(("disk", "vif", "virtio", "p9"), "`devices` say it"),
    **{row.xl.word: f"`{row.key}` says it" for row in PROPERTIES if row.xl},
}
"""Every name that vtool writes in some xl.cfg, and what of a topology says it."""


def read(line: str) -> tuple[str, ...]:
    """Return the name that a line assigns to. ValueError where xl would stop at it, or read several assignments."""
    tokens, at = [], 0
    while at < len(line):
        found = _TOKEN.match(line, at)
        if found is None:
            raise ValueError(f"xl cannot read `{line[at : at + 20]}`")
        at = found.end()
        if found.lastgroup != "skip":
            tokens.append((found.lastgroup, found[0]))
    if [kind for kind, _ in tokens[:2]] != ["name", "set"]:
        raise ValueError("it is no assignment of xl.cfg")
    rest = _after_value(tokens[2:])
    if rest:
        raise ValueError(f"`{rest[0][1]}` stands behind the value")
    return (tokens[0][1],)


def _after_value(tokens: list[tuple[str | None, str]]) -> list[tuple[str | None, str]]:
    """Return what stands behind the value that tokens begin with."""
    if not tokens:
        raise ValueError("it ends before its value does")
    (kind, value), rest = tokens[0], tokens[1:]
    if kind in ("number", "text"):
        return rest
    if value != "[":
        raise ValueError(f"`{value}` is no value: numbers, texts in quotes and lists are")
    while rest[:1] != [("mark", "]")]:
        rest = _after_value(rest)
        if rest[:1] == [("mark", ",")]:
            rest = rest[1:]
        elif rest[:1] != [("mark", "]")]:
            raise ValueError("a list ends with `]`, and has `,` between its values")
    return rest[1:]


def decided(name: str) -> str | None:
    """Return why a name of xl.cfg is vtool's to write."""
    return WRITTEN.get(name) or _BY_OTHER_NAMES.get(name)


OF_XL = Format("a line of xl.cfg", "cpu_weight = 512", read, decided, once=True)
