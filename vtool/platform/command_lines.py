"""The command lines of Xen and of Linux: their words, read as those two read them.

Enter at ``xen_words`` and ``linux_words``. Knows nothing of what a word does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.base.records import record

_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([bBkKmMgGtTpPeE]?)")
_SHIFTS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_NO = ("0", "no", "off", "false", "disable", "n", "f")


@record
class Word:
    """One word: as it is written, what is left and right of its ``=`` (right is empty without one), and where."""

    text: str
    name: str
    value: str
    offset: int

    @property
    def is_off(self) -> bool:
        """Whether its value says no (Xen parse_bool, Linux kstrtobool)."""
        return self.value.lower() in _NO


def xen_words(line: str) -> tuple[Word, ...]:
    """Return the words of Xen's command line, between spaces (Xen xen/common/kernel.c parse_params)."""
    return tuple(_word(found[0], found[0], found.start()) for found in re.finditer("[^ ]+", line))


def linux_words(line: str) -> tuple[Word, ...]:
    """Return the words that Linux itself reads: up to ``--``, spaces in quotes kept (Linux lib/cmdline.c next_arg).

    In a name ``-`` is as good as ``_`` (kernel/params.c parameq); names are returned with the latter.
    """
    return tuple(_linux_words(line))


def _linux_words(line: str) -> Iterator[Word]:
    for found in re.finditer(r'(?:"[^"]*(?:"|$)|[^\s"])+', line):
        if found[0] == "--":
            return
        word = _word(found[0], found[0].replace('"', ""), found.start())
        yield Word(word.text, word.name.replace("-", "_"), word.value, word.offset)


def _word(text: str, bare: str, offset: int) -> Word:
    name, _, value = bare.partition("=")
    return Word(text, name, value, offset)


def last(words: tuple[Word, ...], *names: str) -> Word | None:
    """Return the last word of one of these names, which is the one that counts; None when there is none."""
    return next((word for word in reversed(words) if word.name in names), None)


def number_of(value: str, unit_shift: int = 0) -> int | None:
    """Return the number that a value begins with, None when it begins with none.

    A letter multiplies it (K is 1024); without one it counts in units of ``1 << unit_shift``: bytes in Linux
    (lib/cmdline.c memparse), KiB in Xen (xen/lib/parse-size.c). ``0x`` is hexadecimal, a leading 0 octal.
    """
    found = _NUMBER.match(value)
    if found is None:
        return None
    digits, unit = found.groups()
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" and set(digits) <= set("01234567") else 10
    return int(digits, base) << (_SHIFTS[unit.lower()] if unit else unit_shift)


XEN_UNIT_SHIFT = 10
"""Sizes on Xen's command line are in KiB where no letter says another unit."""


def dom0_memory(line: str) -> int | None:
    """Return the bytes that ``dom0_mem`` asks for, the last one as Xen reads it; None when it cannot be told."""
    word = last(xen_words(line), "dom0_mem")
    return number_of(word.value, XEN_UNIT_SHIFT) if word else None


def starts_every_kind(words: tuple[Word, ...]) -> Word | None:
    """Return the word that makes Xen start cores of every kind, None without one (docs/misc/arm/big.LITTLE.txt)."""
    word = last(words, "hmp-unsafe", "no-hmp-unsafe")
    return word if word is not None and word.name == "hmp-unsafe" and not word.is_off else None


def keeps_iommus_off(words: tuple[Word, ...]) -> Word | None:
    """Return the word by which Xen drives no IOMMU, None without one (xen/drivers/passthrough/iommu.c)."""
    word = last(words, "iommu", "no-iommu")
    parts = [Word(word.text, word.name, part, word.offset) for part in word.value.split(",")] if word else []
    return word if word is not None and (word.name == "no-iommu" or any(part.is_off for part in parts)) else None
