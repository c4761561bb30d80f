"""Quoting and units for templates: one filter per target language.

A filter returns text that the target's own parser reads back as the value it was given, or refuses
with RenderError; nothing is silently changed.
"""

from __future__ import annotations

import re
import shlex

from vtool.base.units import KIB, MIB, PAGE_BYTES, AddressRange, exact_division, format_cpu_list
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.diagnostics.codes import declare
from vtool.plan.types import GuestProperty, QemuOption, Registers
from vtool.platform.xen_properties import Reference, XenSetting

_STRINGS = re.compile(rb"([\x20-\x7e]+\x00)+")
_PLAIN_WORD = re.compile(r"^[A-Za-z0-9_@:.,/=+-]+\Z")


declare(
    "VT420",
    what="a value cannot be written in a target language",
    why="A quote in a U-Boot script would end the string and run the rest.",
    example="bootargs: it's",
    fix="Leave out quotes and backslashes.",
)


def render_error(message: str) -> VtoolError:
    """Make the error for a value that a target language cannot hold."""
    return VtoolError(Diagnostic("VT420", message))


def systemd(value: str) -> str:
    """Quote one word of an ExecStart line (systemd.service(5), systemd.syntax(7))."""
    one_line(value, "a systemd unit")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def xl(value: str) -> str:
    """Quote a string of an xl.cfg (Xen tools/libs/util/libxlu_cfg_l.l)."""
    one_line(value, "an xl.cfg")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def uboot(value: str) -> str:
    """Quote one word for U-Boot's hush shell; what single quotes cannot hold is refused."""
    one_line(value, "a U-Boot script")
    if "'" in value or "\\" in value:
        raise render_error(f"{value!r} holds a quote or backslash, which a U-Boot script cannot carry")
    return f"'{value}'"


def dts(value: str) -> str:
    """Quote a device-tree string (dtc's lexer takes C's escapes)."""
    one_line(value, "a device-tree source")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dts_property(setting: XenSetting, chosen_cells: tuple[int, int]) -> str:
    """Write a property of a domain's node; addresses are in the cells of ``/chosen``."""
    name = setting.row.name
    match setting.in_tree:
        case True:
            return f"{name};"
        case int() as number:
            return f"{name} = <{number}>;"
        case str() as word:
            return f"{name} = {dts(word)};"
        case Reference(label):
            return f"{name} = <&{label}>;"
        case tuple() as ranges if ranges and all(isinstance(where, AddressRange) for where in ranges):
            wide, long = chosen_cells
            written = (f"{cells(w.base, wide)} {cells(w.size_bytes, long)}" for w in ranges)
            return f"{name} = <{' '.join(written)}>;"
        case written:
            raise render_error(f"`{name}` cannot be written in a device tree as {written!r}")


def dts_bytes(written: GuestProperty) -> str:
    """Write a property of a device's node: labels, strings where its bytes are some, else cells, else bytes."""
    name, value = written.name, written.value
    if written.labels:
        return f"{name} = {', '.join(f'<&{label}>' for label in written.labels)};"
    if not value:
        return f"{name};"
    if _STRINGS.fullmatch(value):
        return f"{name} = {', '.join(dts(text.decode()) for text in value[:-1].split(bytes(1)))};"
    if len(value) % 4 == 0:
        numbers = (int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4))
        return f"{name} = <{' '.join(f'{number:#x}' for number in numbers)}>;"
    return f"{name} = [{value.hex(' ')}];"


def iomem(registers: Registers) -> str:
    """Write pages for xl: the first of the host's, how many, the first of the guest's (xl.cfg(5) iomem)."""
    first, size, inside = registers.host.base, registers.host.size_bytes, registers.inside.base
    return f"{first // PAGE_BYTES:#x},{size // PAGE_BYTES:#x}@{inside // PAGE_BYTES:#x}"


def xl_setting(setting: XenSetting) -> str:
    """Write an assignment of an xl.cfg: a number, a string, or a list of strings (xl.cfg(5))."""
    assert setting.row.xl is not None
    word = setting.row.xl.word
    match setting.in_xl:
        case int() as number:
            return f"{word} = {int(number)}"
        case str() as text:
            return f"{word} = {xl(text)}"
        case tuple() as texts if all(isinstance(text, str) for text in texts):
            return "\n".join([f"{word} = [", *(f"    {xl(str(text))}," for text in texts), "]"])
        case written:
            raise render_error(f"`{word}` cannot be written in an xl.cfg as {written!r}")


def qemu(value: str) -> str:
    """Write a value inside a QEMU option list, where a comma is doubled (QEMU util/keyval.c)."""
    one_line(value, "a QEMU command line")
    return value.replace(",", ",,")


def systemd_word(value: str) -> str:
    """Write one word of an ExecStart line, quoted only where it has to be."""
    return value if _PLAIN_WORD.match(value) else systemd(value)


def option_list(option: QemuOption) -> str:
    """Write what follows an option of QEMU: its word, then key=value, with commas in values doubled."""
    words = [qemu(option.word)] if option.word else []
    return ",".join([*words, *(f"{key}={qemu(value)}" for key, value in option.pairs)])


def line_of(words: tuple[str, ...] | QemuOption) -> str:
    """Write one line of a command: an option and its value, each a word of an ExecStart line."""
    if isinstance(words, QemuOption):
        words = (words.name, option_list(words))
    return " ".join(systemd_word(word) for word in words)


def qemu_line(line: str) -> str:
    """Write an option of QEMU that the user wrote as a shell reads it, each word one of an ExecStart line."""
    return line_of(tuple(shlex.split(line)))


def shell(value: str) -> str:
    """Quote one word for a POSIX shell."""
    one_line(value, "a shell file")
    return shlex.quote(value)


def mib(size_bytes: int) -> int:
    """Convert bytes to MiB, exactly."""
    return _exact(size_bytes, MIB, "MiB")


def kib(size_bytes: int) -> int:
    """Convert bytes to KiB, exactly."""
    return _exact(size_bytes, KIB, "KiB")


def cells(value: int, count: int) -> str:
    """Write a number as ``count`` 32-bit device-tree cells, most significant first."""
    if value >> (32 * count):
        raise render_error(f"{value:#x} does not fit into {count} device-tree cells")
    return " ".join(f"0x{(value >> (32 * index)) & 0xFFFFFFFF:x}" for index in reversed(range(count)))


def _exact(size_bytes: int, unit: int, name: str) -> int:
    try:
        return exact_division(size_bytes, unit, f"a size in {name}")
    except ValueError as error:
        raise render_error(str(error)) from None


def one_line(value: str, where: str) -> str:
    """Return a value that holds no control characters, which no target language could carry."""
    if not value.isprintable():
        raise render_error(f"{value!r} holds a control character, which {where} cannot carry")
    return value


FILTERS = {
    "systemd": systemd,
    "line_of": line_of,
    "qemu_line": qemu_line,
    "xl": xl,
    "dts": dts,
    "dts_property": dts_property,
    "xl_setting": xl_setting,
    "dts_bytes": dts_bytes,
    "iomem": iomem,
    "shell": shell,
    "uboot": uboot,
    "qemu": qemu,
    "cpu_list": format_cpu_list,
    "mib": mib,
    "kib": kib,
    "cells": cells,
}
