"""A guest of Xen that serves others: what it was granted, and what it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vtool.base.units import MIB
from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.steps import Proof, counts, in_domain, on_board
from vtool.model.access import ProofKind
from vtool.plan.types import XenGuest


def driver_domain(guest: XenGuest, frontends: list[XenGuest]) -> Iterator[Proof]:
    """Return what has to be shown of a driver domain: what Xen says it has of others, and that it gets no more."""
    for frontend in frontends:
        counted = on_board(
            f"pages-{guest.name}-{frontend.name}",
            f"D=$(xl domid {frontend.name}); B=$(xl domid {guest.name}); xl debug-keys g; n=0; "
            f"until sleep 1; C=$(xl dmesg | awk -v d=$D -v b=$B '{_GRANTED}') || [ $n -ge 15 ]; "
            "do n=$((n+1)); done; echo $C",
        )
        what = f"pages of '{frontend.name}' granted to it and in use, in Xen's table"
        yield counts(f"domain {guest.name}", what, counted)
    yield _other_pages(guest, frontends[0])


# In what Xen prints for the key g: entries of the last print, of domain d's table, granted to domain b; fails while it
# is being printed.
_GRANTED = """/gnttab_usage_print_all \\[/ { n = 0; whole = 0 }
/gnttab_usage_print_all \\]/ { whole = 1 }
/grant-table for remote d/ { mine = index($0, "remote d" d " ") }
mine && /\\[0x[0-9a-f]*\\] / { sub(/.*\\[0x[0-9a-f]*\\] */, ""); if ($1 == b) n++ }
END { print n + 0; exit !whole }"""

# A page of a guest's RAM (from GUEST_RAM0_BASE on, Xen public/arch-arm.h), 16 MiB in: nobody grants it.
_FRAME = 0x40000 + 16 * MIB // 4096
# Reference 0 is a guest's console, granted to dom0 alone (Xen public/grant_table.h, GNTTAB_RESERVED_CONSOLE).
_ATTEMPTS = f"""for K in vbd vif; do for D in $(xenstore-list backend/$K); do
for N in $(xenstore-list backend/$K/$D); do
R=$(xenstore-ls $(xenstore-read backend/$K/$D/$N/frontend) | awk -F\'"\' \'/ring-ref/ {{ print $2; exit }}\')
echo "ring $(take-page grant $D $R), console $(take-page grant $D 0), memory $(take-page foreign $D {_FRAME:#x})"
done; done; done 2>/dev/null | sort -u"""
# The same request by dom0, which may: without it, that the page is refused proves nothing.
_BY_DOM0 = f"""python3 -c 'import ctypes, fcntl, mmap, os, struct, sys
node = os.open("/dev/xen/privcmd", os.O_RDWR)
page = mmap.mmap(node, 4096)
frame, error = ctypes.c_uint64({_FRAME:#x}), ctypes.c_int(0)
place = ctypes.addressof(ctypes.c_char.from_buffer(page))
batch = struct.pack("<IH2xQQQ", 1, int(sys.argv[1]), place, ctypes.addressof(frame), ctypes.addressof(error))
fcntl.ioctl(node, ord("P") << 8 | 4 | 32 << 16, batch)
print("mapped" if error.value == 0 else os.strerror(-error.value))'"""


def _other_pages(guest: XenGuest, frontend: XenGuest) -> Proof:
    """Return the row of what the driver domain gets when it asks for more than it was granted.

    Its frontends' rings were granted to it: what refuses those as well, or dom0 the memory, shows nothing.
    """
    asked = in_domain(guest.name, f"asked-{guest.name}", _ATTEMPTS)
    control = on_board(f"asked-by-dom0-{guest.name}", f"{_BY_DOM0} $(xl domid {frontend.name})")
    what = "what it can map: its frontends' rings, their consoles (dom0's), memory that nobody granted"
    judge = RefusedPages(asked=asked["id"], by_dom0=control["id"])
    return Proof(f"domain {guest.name}", what, (asked, control), judge)


class RefusedPages(Judge):
    """A driver domain mapped its frontends' rings and was refused other pages, which dom0 may map."""

    name = "refused-pages"
    kind: ClassVar[ProofKind | None] = ProofKind.REACH
    asked: str
    by_dom0: str

    def judge(self, results: Results) -> Verdict:
        """Read what each got."""
        shape = re.compile(r"ring mapped, console refused \([A-Z].*\), memory refused \([A-Z].*\)")
        (answer, why), (other, why_other) = value_of(results, self.asked), value_of(results, self.by_dom0)
        seen = f"{answer or 'nothing'}; by dom0 {other or 'nothing'}"
        proven = shape.fullmatch(answer or "") is not None and other == "mapped"
        expected = "ring mapped, console refused, memory refused; by dom0 mapped"
        return Verdict(expected, seen, proven, (*why, *why_other))
