"""Properties of a dom0less domain's node: one a line, as dtc reads it.

Devicetree Specification v0.4, 2.2.4 (names) and 6 (the source format). No label, reference, node or directive: what
stands in a line cannot reach beyond its node.
"""

from __future__ import annotations

import re

from vtool.platform.extra import Format
from vtool.platform.xen_properties import PROPERTIES, Where

_NUMBER = r"(?:0x[0-9a-fA-F]{1,16}|[0-9]{1,19})"
_VALUE = re.compile(
    rf"""\s*(?:"(?:[^"\\]|\\["\\])*"|(?:/bits/\s+(?P<bits>8|16|32|64)\s*)?<(?P<cells>(?:\s*{_NUMBER})*\s*)>"""
    r"""|\[(?:\s*[0-9a-fA-F]{2})*\s*\])\s*"""
)
_NAME = re.compile(r"\s*([A-Za-z0-9,._+?#-]{1,31})\s*")

WRITTEN = {
    "#address-cells": "vtool writes the cells of the node",
    "#size-cells": "vtool writes the cells of the node",
    "phandle": "dtc writes it",
    "linux,phandle": "dtc writes it",
    **{row.name: f"`{row.key}` says it" for row in PROPERTIES if row.where is Where.DOMAIN and row.key},
}
"""Every property that vtool writes in a domain's node, and what of a topology says it."""


def read(line: str) -> tuple[str, ...]:
    """Return the name of the property of a line. ValueError where dtc would not take it."""
    text = line.rstrip().removesuffix(";")
    name = _NAME.match(text)
    if name is None:
        raise ValueError("it does not begin with the name of a property")
    at = name.end()
    if at == len(text):
        return (name[1],)
    if text[at] != "=":
        raise ValueError(f"`{text[at : at + 20]}` stands behind the name of a property")
    while True:
        value = _VALUE.match(text, at + 1)
        if value is None:
            raise ValueError(f'`{text[at + 1 :].strip()[:20]}` is no value: "text", <numbers> and [bytes] are')
        bits = int(value["bits"] or 32)
        for number in re.findall(_NUMBER, value["cells"] or ""):
            if int(number, 0 if number.startswith("0x") else 10) >> bits:
                raise ValueError(f"{number} has more than {bits} bits")
        at = value.end()
        if at == len(text):
            return (name[1],)
        if text[at] != ",":
            raise ValueError(f"`{text[at : at + 20]}` stands behind a value")


def decided(name: str) -> str | None:
    """Return why a property is vtool's to write."""
    return WRITTEN.get(name)


OF_NODE = Format("a property of the domain's node", 'vendor,role = "sensor"', read, decided, once=True)
