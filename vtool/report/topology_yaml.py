"""A topology as text that a person reads and goes on with: what a key means stands beside it.

The words are those of the language's own types and of the data paths' facts, written there once. Enter at
``topology_yaml``.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from vtool.data_paths import rows
from vtool.model.devices.disk import Disk, VerifyAccess
from vtool.model.devices.types.net import Network
from vtool.model.topology import Domain, Kvm, Region, Role, Start, Xen

_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z0-9./][A-Za-z0-9 ./_+-]*(:[A-Za-z0-9./_+-]+)*")
_WHOLE: Mapping[tuple[str, str], type] = {
    ("domains", "role"): Role,
    ("domains", "start"): Start,
    ("devices", "disk"): Disk,
    ("devices", "verify"): VerifyAccess,
    ("devices", "network"): Network,
}
"""Keys of which the first paragraph of their type's description tells."""
_KEYS: Mapping[tuple[str, str], type] = {
    ("boards", "qemu_image"): Xen,
    ("domains", "kernel"): Domain,
    ("domains", "memory"): Domain,
}
"""Keys of which a sentence of the description around them tells."""


def topology_yaml(topology: Mapping[str, Any], head: str) -> str:
    """Write a topology as YAML, with ``head`` and the language's own words as comments."""
    return "\n".join((*_comment(head, ""), *_mapping(topology, (), set()))) + "\n"


def _mapping(values: Mapping[str, Any], path: tuple[str, ...], told: set[str]) -> Iterator[str]:
    indent = "  " * len(path)
    for key, value in values.items():
        if len(path) == 0 and isinstance(value, Mapping):
            yield ""
        words = _about((*path, key), value)
        if words and words not in told:
            told.add(words)
            yield from _comment(words, indent)
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _mapping(value, (*path, key), told)
        else:
            yield f"{indent}{key}: {_scalar(value)}"


def _about(path: tuple[str, ...], value: Any) -> str:
    """Return what is to be said of a key, where it stands for the first time."""
    section, key = path[0], path[-1]
    if (section, key) == ("boards", "hypervisor"):
        return _first(Xen if value["kind"] == "xen" else Kvm)
    if key == "data_path":
        row = next(row for row in rows() if row.data_path == value)
        return f"{row.idea}. Its backend reaches: {row.backend_reaches}."
    if section == "regions" and len(path) == 2:
        return _first(Region)
    if model := _WHOLE.get((section, key)):
        return _first(model)
    return _sentence(_KEYS[section, key], key) if (section, key) in _KEYS else ""


def _first(model: type) -> str:
    """Return the first paragraph of what a type says of itself."""
    return _words((inspect.getdoc(model) or "").partition("\n\n")[0])


def _sentence(model: type, key: str) -> str:
    """Return the first sentence of a type's description that names a key."""
    sentences = re.split(r"(?<=[.]) ", _words(inspect.getdoc(model) or ""))
    return next(sentence for sentence in sentences if re.search(rf"`{key}[`:]", sentence))


def _words(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _comment(words: str, indent: str) -> list[str]:
    lines = textwrap.wrap(words[:1].upper() + words[1:], _WIDTH - len(indent) - 2, break_on_hyphens=False)
    return [f"{indent}# {line}" for line in lines]


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
