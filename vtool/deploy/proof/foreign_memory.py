"""A program for the board: what a process in dom0 has mapped of a Xen guest, and what it could map by itself.

It is sent as text with the step that runs it, because few boards need it: standard library only, Python >= 3.8.

    mapped SEED PID                 what a process has mapped through /dev/xen/gntdev and /dev/xen/privcmd
    own SEED DOMAIN BASE:SIZE...    map the guest's memory by one's own hand, until the secret is found
    region SEED DOMAIN BASE:SIZE... map all of it and count the pages of the secret and of the control

SEED is that of the guest's secret and control (vtool/deploy/on_board/reach.py). Each prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PAGE = 4096
AT_ONCE = 256  # pages: what dom0 has to find room for in its own address space
GRANTS, FOREIGN = "/dev/xen/gntdev", "/dev/xen/privcmd"
MMAPBATCH_V2 = 0x205004  # IOCTL_PRIVCMD_MMAPBATCH_V2, Linux include/uapi/xen/privcmd.h
LOOKS = 300


def needles(seed: str) -> dict[str, bytes]:
    """Return the bytes that are looked for, as ``reach.bytes_of`` does."""
    return {kind: hashlib.sha256(f"{kind} {seed}".encode()).digest() * 8 for kind in ("secret", "control")}


def ranges(pid: str, name: str) -> Iterator[tuple[int, int]]:
    """Yield where a process has mapped a device."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        if len(fields) > 5 and fields[5].strip() == name:
            base, end = (int(number, 16) for number in fields[0].split("-"))
            yield base, end


def mapped(seed: str, pid: str) -> dict[str, int]:
    """Count the pages that a process has mapped; look into granted ones until the control was there.

    A grant is mapped for the time of a request. Linux lets nobody read what another process has mapped by privcmd.
    """
    most, wanted = {"gntdev": 0, "privcmd": 0, "secret": 0, "control": 0}, needles(seed).items()
    for _ in range(LOOKS):
        now = dict.fromkeys(most, 0)
        now["privcmd"] = sum(end - base for base, end in ranges(pid, FOREIGN)) // PAGE
        for page in granted(pid):
            now["gntdev"] += 1
            for kind, sought in wanted:
                now[kind] += sought in page
        most = {key: max(count, now[key]) for key, count in most.items()}
        if most["control"] or not most["gntdev"]:
            break
        time.sleep(0.005)  # between two looks; the loop ends by itself
    return most


def granted(pid: str) -> Iterator[bytes]:
    """Yield the granted pages that a process has mapped, without those that go meanwhile."""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for base, end in ranges(pid, GRANTS):
            for address in range(base, end, PAGE):
                with contextlib.suppress(OSError):
                    yield os.pread(memory.fileno(), PAGE, address)


def own(seed: str, domain: str, *where: str) -> dict[str, int | str]:
    """Map a guest's memory until the secret is found, as any process can that may open /dev/xen/privcmd."""
    seen, secret = {"mapped": 0, "refused": 0}, needles(seed)["secret"]
    for frame, page in frames_of(int(domain), where):
        seen["mapped" if page else "refused"] += 1
        if page and secret in page:
            return {**seen, "frame": hex(frame)}
    return {**seen, "frame": ""}


def region(seed: str, domain: str, *where: str) -> dict[str, int]:
    """Map a piece of a guest's memory and count what it holds."""
    seen, wanted = {"mapped": 0, "refused": 0, "secret": 0, "control": 0}, needles(seed).items()
    for _, page in frames_of(int(domain), where):
        seen["mapped" if page else "refused"] += 1
        for kind, sought in wanted:
            seen[kind] += sought in (page or b"")
    return seen


def frames_of(domain: int, where: tuple[str, ...]) -> Iterator[tuple[int, bytes | None]]:
    """Yield the frames of ranges BASE:SIZE, and what is in each; None where Xen refused."""
    device = os.open(FOREIGN, os.O_RDWR | os.O_CLOEXEC)
    for text in where:
        base, size = (int(number, 16) // PAGE for number in text.split(":"))
        for first in range(base, base + size, AT_ONCE):
            yield from enumerate(foreign(device, domain, range(first, min(first + AT_ONCE, base + size))), first)


def foreign(device: int, domain: int, frames: range) -> list[bytes | None]:
    """Have Xen map frames of a domain; return what is in each, None where Xen refused."""
    array, errors = (ctypes.c_uint64 * len(frames))(*frames), (ctypes.c_int * len(frames))()
    with mmap.mmap(device, len(frames) * PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as room:
        held = ctypes.c_char.from_buffer(room)
        address = ctypes.addressof(held)
        # struct privcmd_mmapbatch_v2: num, dom, addr, arr, err
        words = struct.pack("<IHxxQQQ", len(frames), domain, address, ctypes.addressof(array), ctypes.addressof(errors))
        try:
            fcntl.ioctl(device, MMAPBATCH_V2, words)
        except OSError:
            return [None] * len(frames)
        finally:
            del held  # the mapping cannot be closed while somebody points into it
        return [None if wrong else room[n * PAGE : (n + 1) * PAGE] for n, wrong in enumerate(errors)]


if __name__ == "__main__":
    looks: dict[str, Callable[..., object]] = {"mapped": mapped, "own": own, "region": region}
    sys.stdout.write(json.dumps(looks[sys.argv[1]](*sys.argv[2:])) + "\n")
