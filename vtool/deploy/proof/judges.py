"""How the results of steps are judged: named judges, whose parameters are data, and what they come to.

A judge travels with its steps in a generation (``vtool.deploy.proof.saved``) and judges on the controller. Those that
one path alone needs stand beside its proof. Enter at ``Judge``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from vtool.base.units import AddressRange
from vtool.model.access import ProofKind
from vtool.plan.types import TRACK_HIWATER

Results = Mapping[str, Any]
"""What vtool-board said of each step, by the step's id."""
_OF_NOTHING = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class Verdict:
    """What was expected, what was seen, whether that proves the row; ``detail`` are the words of failures."""

    expected: str
    seen: str
    proven: bool
    detail: tuple[str, ...] = ()
    bytes_checked: int = 0
    noted: bool = False


class Judge(BaseModel):
    """What takes the results of steps, which it names by their ids, for proof or not.

    Its fields are its parameters. ``name`` and the fields' names and meaning are part of the format that a generation
    keeps: what changes them is a judge of another name. One without a name is there to be derived from. ``kind`` is
    that of the rows that it judges, where that goes without saying.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: ClassVar[str] = ""
    kind: ClassVar[ProofKind | None] = None
    known: ClassVar[dict[str, type[Judge]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Make a judge known by its name."""
        if cls.name:
            assert cls.name not in Judge.known, f"two judges are named '{cls.name}'"
            Judge.known[cls.name] = cls

    def judge(self, results: Results) -> Verdict:
        """Judge the results."""
        raise NotImplementedError


def failure(results: Results, step: str) -> tuple[str, ...]:
    """Return the words of a step's failure; none when it succeeded."""
    result = results.get(step, {"error": {"message": "not observed", "detail": []}})
    if "error" in result:
        error = result["error"]
        return (error["message"], *error.get("detail", ()))
    if result.get("code", 0) != 0:
        said = (str(result.get("output", "")) + str(result.get("errors", ""))).strip()
        return (f"exit code {result['code']}: {said[-300:]}",)
    return ()


def value_of(results: Results, step: str, key: str = "output") -> tuple[str | None, tuple[str, ...]]:
    """Return a step's result as text (None when it failed) with the words of the failure."""
    why = failure(results, step)
    return (None, why) if why else (str(results[step][key]).strip(), ())


class OneOf(Judge):
    """A step's ``key`` is one of ``values``."""

    name = "one-of"
    step: str
    expected: str
    values: tuple[str, ...]
    key: str = "output"

    def judge(self, results: Results) -> Verdict:
        """Compare."""
        seen, why = value_of(results, self.step, self.key)
        return Verdict(self.expected, "nothing" if seen is None else seen, seen in self.values, why)


class AboveZero(Judge):
    """A step's output is a number above 0."""

    name = "above-zero"
    step: str
    expected: str = "above 0"

    def judge(self, results: Results) -> Verdict:
        """Compare."""
        seen, why = value_of(results, self.step)
        proven = seen is not None and seen.isdigit() and int(seen) > 0
        return Verdict(self.expected, "nothing" if seen is None else seen, proven, why)


class Side(BaseModel):
    """Where one of two digests is: what a step said under a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: str
    key: str = "output"


class SameDigest(Judge):
    """``size_bytes`` have one SHA-256 on both sides, which is not that of nothing."""

    name = "same-digest"
    kind: ClassVar[ProofKind | None] = ProofKind.DATA
    first: Side
    second: Side
    size_bytes: int

    def judge(self, results: Results) -> Verdict:
        """Compare the first words, 64 digits each."""
        one, why = value_of(results, self.first.step, self.first.key)
        two, other = value_of(results, self.second.step, self.second.key)
        digest = (one or "").split(" ")[0]
        proven = len(digest) == 64 and digest != _OF_NOTHING and digest == (two or "").split(" ")[0]
        seen = f"{digest[:16]}…" if proven else f"{(two or 'nothing')[:16]}"
        why += other if self.second.step != self.first.step else ()
        return Verdict(f"{digest[:16] or 'a digest'}…", seen, proven, why, self.size_bytes if proven else 0)


class SameLines(Judge):
    """A step's two lines are one digest of so many ``digits``: of what was written, and of what the other side has."""

    name = "same-lines"
    kind: ClassVar[ProofKind | None] = ProofKind.DATA
    step: str
    digits: int
    size_bytes: int

    def judge(self, results: Results) -> Verdict:
        """Compare the lines."""
        output, why = value_of(results, self.step)
        written, _, seen = (output or "").partition("\n")
        proven = len(written.split(" ")[0]) == self.digits and written == seen
        expected, said = f"{written[:16] or 'a digest'}…", f"{seen[:16] or 'nothing'}…"
        return Verdict(expected, said, proven, why, self.size_bytes if proven else 0)


class Reg(Judge):
    """A `reg` property, two cells each in hexadecimal, is [base, base + size_bytes)."""

    name = "reg"
    step: str
    base: int
    size_bytes: int

    def judge(self, results: Results) -> Verdict:
        """Compare the bytes."""
        seen, why = value_of(results, self.step)
        where = AddressRange.of_size(self.base, self.size_bytes)
        wanted = self.base.to_bytes(8, "big").hex() + self.size_bytes.to_bytes(8, "big").hex()
        return Verdict(str(where), _shown_reg(seen), seen == wanted, why)


def _shown_reg(text: str | None) -> str:
    """Return such bytes for people."""
    if text is None or len(text) != 32:
        return text or "no such node"
    base, size = int(text[:16], 16), int(text[16:], 16)
    return f"{AddressRange.of_size(base, size)}" if size else f"base {base:#x}, size 0"


class Features(Judge):
    """A driver accepted VERSION_1 and, with ``platform``, ACCESS_PLATFORM (bits 32 and 33), and else not the latter.

    The step ``accepted`` gives sysfs' ``features`` of the guest, or their digits 32 and 33; the step ``offers`` what
    QEMU offers, which is the most that can be accepted, for a guest that hangs on the device.
    """

    name = "features"
    kind: ClassVar[ProofKind | None] = ProofKind.FEATURES
    accepted: str
    offers: str
    platform: bool

    def judge(self, results: Results) -> Verdict:
        """Read the bits that the guest tells."""
        known = ("VIRTIO_F_VERSION_1", "VIRTIO_F_IOMMU_PLATFORM")
        wanted = ", ".join(known if self.platform else known[:1])
        digits, why = value_of(results, self.accepted)
        bits = digits[32:34] if digits and re.fullmatch(r"([01]{64})+", digits) else digits
        if bits and re.fullmatch(r"[01]{2}", bits):
            seen = ", ".join(word for word, bit in zip(known, bits, strict=True) if bit == "1") or "neither"
        else:
            offered = results.get(self.offers, {})
            words = ", ".join(word for word in known if offered.get(word)) or "neither"
            seen = "not known" + (f": of what QEMU offers, {words}" if known[0] in offered else "")
        return Verdict(wanted, seen, seen == wanted, why)


class SlotsUsed(Judge):
    """A pool's high-water mark is above 0; one that is 0 says whether the kernel counts at all.

    The step gives the mark, then, where the guest was asked, the kernel's release and TRACK_HIWATER if its command line
    has that: Linux counts with it alone from 7.3 on (kernel/dma/swiotlb.c).
    """

    name = "slots-used"
    step: str

    def judge(self, results: Results) -> Verdict:
        """Read the mark."""
        told, why = value_of(results, self.step)
        mark, *kernel = (told or "").split() or [""]
        seen = mark or "nothing"
        if seen == "0" and kernel:
            counts = "has" if TRACK_HIWATER in kernel else "lacks"
            seen = f"0; its command line {counts} {TRACK_HIWATER}, without which Linux 7.3 and later count nothing"
            seen += f"; this is {kernel[0]}"
        return Verdict("above 0", seen, mark.isdigit() and int(mark) > 0, why)
