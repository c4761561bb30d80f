"""A facts file as text that a person reads and corrects: commented, hexadecimal addresses, IEC sizes."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from vtool.base.units import format_size
from vtool.model.board_facts import BoardFacts
from vtool.report.summary import table

_ADDRESSES = ("base", "address", "hypervisor", "kernel", "device_tree", "ramdisk")
_SIZES = ("size", "alignment")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9 /@,._+()-]*[A-Za-z0-9/@._+()-]|[A-Za-z/]")
_WIDTH = 100
_WORDS = ("true", "false", "null")
_COMMENTS = {
    "source": "Where this comes from.",
    "ram": "RAM, host-physical, as Linux or Xen will be told of it.",
    "carve_outs": "RAM that is not vtool's to give away.",
    "dynamic_reservations": "RAM that the kernel reserves at a place of its own choice.",
    "uarts": "Those that the tree does not disable. `console` is Linux's name and the speed.",
    "device_tree": "Cell widths of the base tree, at the root and in /reserved-memory.",
    "boot": "How the board boots: no device tree tells this.",
}
_NO_BOOT = "There is no section `boot`: vtool plans and renders for this board, it does not deploy to it."


def facts_yaml(facts: BoardFacts) -> str:
    """Write facts so that ``vtool.model.validate.read_facts`` reads the same back."""
    lines = [f"# {facts.description}: facts imported by `vtool board import`."]
    if facts.boot is None:
        lines.append(f"# {_NO_BOOT}")
    for key in type(facts).model_fields:
        value = getattr(facts, key)
        if value in (None, ()):
            continue
        if key in _COMMENTS:
            lines.append(f"# {_COMMENTS[key]}")
        lines += _entry(key, value)
    return "\n".join(lines) + "\n"


def facts_lines(facts: BoardFacts) -> Iterator[str]:
    """Yield what was found, in a few lines."""
    yield f"{facts.name}: {facts.description}"
    kinds = dict.fromkeys(node.compatible for node in facts.cpu_nodes)
    ram = ", ".join(f"{bank.range} {format_size(bank.size)}" for bank in facts.ram)
    reserved = f"{len(facts.carve_outs)} at fixed places, {len(facts.dynamic_reservations)} placed by the kernel"
    stdout = f", stdout {facts.stdout.path} ({facts.stdout.console or 'console not known'})" if facts.stdout else ""
    rows = [
        ("cpus", f"{facts.cpus}: {', '.join(kinds)}"),
        ("ram", ram),
        ("reserved", reserved),
        ("gic", f"version {facts.gic.version}, {facts.gic.path}"),
        ("uarts", f"{len(facts.uarts)}{stdout}"),
        ("iommus", str(len(facts.iommus))),
    ]
    yield from table(rows)


def address_text(address: int) -> str:
    """Write an address in hexadecimal, with an underscore before every fourth digit from the right."""
    digits = f"{address:x}"
    groups = [digits[max(0, end - 4) : end] for end in range(len(digits), 0, -4)]
    return "0x" + "_".join(reversed(groups))


def _entry(key: str, value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield f"{key}:"
        yield from (f"  {line}" for line in _fields(value))
    elif isinstance(value, tuple):
        yield f"{key}:"
        for item in value:
            lines = list(_fields(item)) if isinstance(item, BaseModel) else [_scalar("", item)]
            yield from (f"  {'-' if index == 0 else ' '} {line}" for index, line in enumerate(lines))
    else:
        line = f"{key}: {_scalar(key, value)}"
        folded = textwrap.wrap(str(value), _WIDTH, break_long_words=False, break_on_hyphens=False)
        if len(line) > _WIDTH and " ".join(folded) == value:
            yield f"{key}: >-"
            yield from (f"  {part}" for part in folded)
        else:
            yield line


def _fields(model: BaseModel) -> Iterable[str]:
    """Yield the fields that do not stand at their default, the name first."""
    fields = type(model).model_fields
    for name in sorted(fields, key=lambda name: name != "name"):
        value = getattr(model, name)
        if value != fields[name].default:
            yield from _entry(name, value)


def _scalar(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return address_text(value) if key in _ADDRESSES else format_size(value) if key in _SIZES else str(value)
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text not in _WORDS else json.dumps(text, ensure_ascii=False)
