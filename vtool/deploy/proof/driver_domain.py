"""PV devices that a guest of Xen serves: data between the two guests, who the backend is, what that one is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.base.units import MIB, format_size
from vtool.deploy.proof.judges import Judge, Results, Verdict, value_of
from vtool.deploy.proof.steps import TRANSFER_BYTES, Proof, counts, in_domain, on_board, same_digest, shows
from vtool.plan.types import XenGuest, XenInterface, XenServedDisk

_BLOCKS = TRANSFER_BYTES // MIB
_SIZE = format_size(TRANSFER_BYTES)
_NO_END = "rm -f /tmp/f; mknod /tmp/f p; exec 3<>/tmp/f"
"""An input that never ends: with one that does, nc ends its half of a connection."""


def served_disk(guest: XenGuest, disk: XenServedDisk) -> Iterator[Proof]:
    """Return what has to be shown of a PV disk that a driver domain serves."""
    subject, identity = f"device {disk.name}", f"{guest.name}-{disk.name}"
    block, behind = f"/dev/{disk.virtual_device}", disk.target
    back = 0
    random = f"dd if=/dev/urandom of=/tmp/w bs=1M count={_BLOCKS} 2>/dev/null"
    if disk.scratch is not None:
        front = disk.scratch.base // MIB
        back = front + _BLOCKS
        write = in_domain(guest.name, f"write-{identity}", f"{random}; {_put(block, front)}")
        check = in_domain(disk.backend, f"written-{identity}", _digest(behind, front))
        yield same_digest(subject, f"{_SIZE} written by the frontend, read in '{disk.backend}'", write, check)
        fill = in_domain(disk.backend, f"fill-{identity}", f"{random}; {_put(behind, back)}")
    else:
        fill = in_domain(disk.backend, f"fill-{identity}", _digest(behind, back))
    fetch = in_domain(guest.name, f"read-{identity}", _digest(block, back))
    yield same_digest(subject, f"{_SIZE} at {behind} of '{disk.backend}', read by the frontend", fill, fetch)
    ring = (
        f"D=$(xl domid {guest.name}); for F in $(xenstore-list /local/domain/$D/device/vbd); do "
        f"F=/local/domain/$D/device/vbd/$F; B=$(xenstore-read $F/backend); "
        f'[ "$(xenstore-read $B/dev)" = {disk.virtual_device} ] || continue; '
        f"{_BACKEND}; "
        'echo "$N, state $(xenstore-read $B/state), '
        'ring by grant $(xenstore-read $F/ring-ref >/dev/null && echo yes)"; done'
    )
    what = "backend by xenstore, blkback connected, ring granted"
    yield shows(subject, what, on_board(f"state-{identity}", ring), f"'{disk.backend}', state 4, ring by grant yes")
    if disk.scratch is not None:
        counter = in_domain(
            disk.backend,
            f"written-sectors-{identity}",
            "for S in /sys/bus/xen-backend/devices/vbd-*; do "
            f'[ "$(xenstore-read $(cat $S/nodename)/params)" = {behind} ] && cat $S/statistics/wr_sect; done; true',
        )
        what = f"sectors that blkback of '{disk.backend}' wrote"
        yield counts(subject, what, counter)


_BACKEND = "N=${B#/local/domain/}; N=\"'$(xl domname ${N%%/*})'\""
"""In shell: the name of the domain that has the xenstore path B, in quotes."""


def _put(block: str, at_mib: int) -> str:
    """Return a shell line that writes the file /tmp/w to a place of a disk, and says its digest."""
    write = f"dd if=/tmp/w of={block} bs=1M seek={at_mib} oflag=direct conv=fsync,notrunc 2>/dev/null"
    return f"{write} || exit 1; sha256sum /tmp/w; rm /tmp/w"


def _digest(block: str, at_mib: int) -> str:
    return f"dd if={block} bs=1M skip={at_mib} count={_BLOCKS} iflag=direct 2>/dev/null | sha256sum"


def served_interface(guest: XenGuest, interface: XenInterface) -> Iterator[Proof]:
    """Return what has to be shown of a PV interface whose bridge is in a driver domain."""
    assert interface.backend is not None
    subject, identity = f"device {interface.name}", f"{guest.name}-{interface.name}"
    address = interface.frontend_address.partition("/")[0]
    random = f"dd if=/dev/urandom of=/tmp/n bs=1M count={_BLOCKS} 2>/dev/null"
    serve = in_domain(
        guest.name,
        f"serve-{identity}",
        f"{random}; (nc -l -p 7002 </tmp/n >/dev/null 2>&1 &); sha256sum /tmp/n",
    )
    fetch = in_domain(
        interface.backend,
        f"fetch-{identity}",
        f"{_NO_END}; {_retried(f'nc {address} 7002 <&3 >/tmp/r')}; sha256sum /tmp/r; rm /tmp/r /tmp/f",
    )
    yield same_digest(subject, f"{_SIZE} sent by the frontend, received in '{interface.backend}'", serve, fetch)
    listen = in_domain(
        guest.name,
        f"listen-{identity}",
        f"rm -f /tmp/r /tmp/n /tmp/s; {_NO_END}; "
        "(nc -l -p 7001 <&3 >/tmp/r 2>/dev/null; sha256sum /tmp/r >/tmp/s) >/dev/null 2>&1 & echo ok",
    )
    send = in_domain(
        interface.backend,
        f"send-{identity}",
        f"{random}; {_retried(f'nc {address} 7001 </tmp/n >/dev/null')}; sha256sum /tmp/n; rm /tmp/n",
    )
    received = in_domain(
        guest.name,
        f"received-{identity}",
        "n=0; while [ ! -s /tmp/s ] && [ $n -lt 100 ]; do n=$((n+1)); usleep 100000; done; cat /tmp/s",
    )
    both = same_digest(subject, f"{_SIZE} sent by '{interface.backend}', received in the frontend", send, received)
    yield both.after(listen)
    copy = on_board(
        f"copy-{identity}",
        f"F=/local/domain/$(xl domid {guest.name})/device/vif/{interface.index}; B=$(xenstore-read $F/backend); "
        f'{_BACKEND}; echo "$N, state $(xenstore-read $F/state), rx by grant copy $(xenstore-read $F/request-rx-copy)"',
    )
    what = "backend by xenstore, netback connected, grant copy asked for"
    yield shows(subject, what, copy, f"'{interface.backend}', state 4, rx by grant copy 1")


def _retried(command: str) -> str:
    """Return a shell line that tries to connect until the other side listens."""
    return f"n=0; until {command} 2>/dev/null || [ $n -ge 50 ]; do n=$((n+1)); usleep 200000; done"


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
