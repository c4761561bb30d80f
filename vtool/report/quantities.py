"""Numbers as a person reads them: three digits, binary prefixes for bytes, instructions where they were counted. Pure.

An emulated board that counts instructions has no seconds: 1e-9 of its seconds are one instruction, and it is
instructions that people are shown (docs/reference/bench-format.md). Enter at ``quantity``, and at ``scale_of`` for
numbers that share a unit: an axis, a column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from vtool.base.records import record
from vtool.base.units import GIB, KIB, MIB, format_size
from vtool.results.records import Cell, Clock

CLOCK_WORDS = {
    Clock.REAL: "real time",
    Clock.EMULATED: "emulated: its times mean nothing",
    Clock.INSTRUCTIONS: "emulated: instructions",
}
"""What stands beside every number that was measured by a clock."""
_INSTRUCTIONS_PER_S = 1e9
"""QEMU's ``-icount shift=0``: a nanosecond for each instruction (docs/reference/bench-format.md)."""
_BYTES = ((KIB * GIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


@record
class Scale:
    """A unit for people: a number in base units is divided by ``factor``."""

    factor: float
    unit: str

    def of(self, value: float, step: float = 0.0) -> str:
        """Return a number with three digits, without its unit; of a counter that has steps, with the step."""
        return with_step(value / self.factor, step / self.factor)


def scale_of(unit: str, clock: Clock, values: Iterable[float], per: str = "", *, short: bool = False) -> Scale:
    """Return a scale on which the median of these values has one to three digits before the point.

    ``unit`` is a base unit (B, s, B/s, 1/s, 1); ``short`` says instructions as ``instr.``.
    """
    known = sorted(abs(value) for value in values if value)
    typical = known[len(known) // 2] if known else 1.0
    counted = clock is Clock.INSTRUCTIONS
    instructions, divided = ("instr.", "/") if short else ("instructions", " per ")
    each = f"{divided}10⁹ {instructions}" if counted else "/s"
    match unit:
        case "B/s":
            factor, prefix = _step(_BYTES, typical)
            name = prefix + each
        case "B":
            factor, name = _step(_BYTES, typical)
        case "s" if counted:
            factor, prefix = _step(_COUNTS, typical * _INSTRUCTIONS_PER_S)
            factor, name = factor / _INSTRUCTIONS_PER_S, f"{prefix} {instructions}".strip()
        case "s":
            factor, name = _step(_SECONDS, typical)
        case "1/s":
            factor, prefix = _step(_COUNTS, typical)
            name = prefix + each
        case _:
            factor, name = _step(_COUNTS, typical)
    return Scale(factor, f"{name} per {per}".strip() if per else name)


def _step(steps: Sequence[tuple[float, str]], value: float) -> tuple[float, str]:
    return next((step for step in steps if value >= step[0] * 0.9995), steps[-1])


def quantity(value: float, unit: str, clock: Clock, step: float = 0.0, *, shown: bool = True) -> str:
    """Write a number in a base unit (B, s, B/s, 1/s, 1) on the scale that suits it: ``57 ± 10 k instr.``.

    ``step`` is that of its counter, 0 where that is too small to matter; where it is not ``shown``, it has the digits.
    """
    scale = scale_of(unit, clock, [max(value, step) if step else value], short=True)
    between = "" if scale.unit.startswith("/") else " "
    told = (with_step if shown else number)(value / scale.factor, step / scale.factor)
    return f"{told}{between}{scale.unit}".strip()


def with_step(value: float, step: float) -> str:
    """Write a number, and by how much it may be off because its counter moves in steps: ``57 ± 10``."""
    return f"{number(value, step)} ± {number(step, step)}" if step else number(value)


def number(value: float, step: float = 0.0) -> str:
    """Write a number with three digits, no exponent, and a true minus sign.

    Of a counter with steps, the digits are those that stand beside one or two of a step (Particle Data Group, Review of
    Particle Physics, "rounding": two of 100 to 354, one of 355 to 949).
    """
    if not math.isfinite(value):
        return "not a number"
    if step:
        place = math.floor(math.log10(step / 3.55) + 1e-12)
        value = round(value, -place)
    if value == 0:
        return "0"
    digits = -place if step else 2 - math.floor(math.log10(abs(value)) + 1e-12)
    digits = max(0, digits)
    text = f"{value:,.{min(digits, 6)}f}"
    text = text if text.strip("-0.") else "0"
    return text.replace("-", "−")


def served(cell: Cell) -> str:
    """Say how a cell's device is served: ``viommu by qemu (pci)``; of a guest nothing."""
    program = f" by {cell.program}" if cell.program else ""
    return f"{cell.data_path}{program}" + (f" ({cell.transport})" if cell.transport else "")


def size(size_bytes: int) -> str:
    """Write bytes exactly, as ``64 KiB``."""
    return re.sub(r"^(\d+)", r"\1 ", format_size(size_bytes))


def percent(share: float, *, signed: bool = False) -> str:
    """Write a share of 1 as a percentage, 0.254 as ``25 %``, small ones with a digit more; ``signed``: ``+25 %``."""
    value = 100 * share
    if abs(value) >= 1000:
        text = number(value)
    else:
        text = f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}"
        text = "0" if text in ("-0.0", "0.0", "-0") else text.replace("-", "−")
    return f"{'+' if signed and value > 0 and text != '0' else ''}{text} %"
