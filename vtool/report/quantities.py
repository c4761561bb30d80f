"""Numbers of benchmarks as a person reads them; where instructions were counted, in instructions. Pure."""

from __future__ import annotations

from vtool.base.units import GIB, KIB, MIB
from vtool.results.records import Clock

CLOCK_WORDS = {
    Clock.REAL: "real time",
    Clock.EMULATED: "emulated: its times mean nothing",
    Clock.INSTRUCTIONS: "emulated: instructions",
}
"""What stands beside every number that was measured by a clock."""
_INSTRUCTIONS_PER_S = 10**9
"""QEMU's ``-icount shift=0``: a nanosecond for each instruction (docs/reference/bench-format.md)."""
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B"))


def quantity(value: float, unit: str, clock: Clock) -> str:
    """Write a number in a base unit (B, s, B/s, 1/s, 1) with three or four digits."""
    counted = clock is Clock.INSTRUCTIONS
    each = "/10⁹ instr." if counted else "/s"
    match unit:
        case "s" if counted:
            return f"{digits(value * _INSTRUCTIONS_PER_S)} instr."
        case "s":
            factor, name = _prefix(value, SECONDS)
            return f"{digits(value / factor)} {name}"
        case "B/s":
            factor, name = _prefix(value, _PREFIXES)
            return f"{digits(value / factor)} {name}B{each}"
        case "1/s":
            return f"{digits(value)}{each}"
        case "B":
            factor, name = _prefix(value, _BYTES)
            return f"{digits(value / factor)} {name}"
    return digits(value)


def digits(value: float) -> str:
    """Write a number with at least three significant digits and no exponent, down to a millionth."""
    if value and abs(value) < 1e-6:
        return f"{value:.1e}"
    size = abs(value)
    after = 0 if size >= 1000 or size == 0 else 1 if size >= 100 else 2 if size >= 10 else 3
    if 0 < size < 1:
        return f"{value:.3g}"
    return f"{value:,.{after}f}"


def percent(share: float) -> str:
    """Write a share as percent with its sign: ``+12.5 %``."""
    shown = share * 100
    return f"{shown:+,.0f} %" if abs(shown) >= 1000 else f"{shown:+.1f} %"


def _prefix(value: float, prefixes: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    return next((one for one in prefixes if abs(value) >= one[0]), prefixes[-1])
