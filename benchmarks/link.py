"""A link with a delay and a rate, to a network namespace of its own.

What netem does (tc-netem(8)), which not every kernel has, done to packets between two TUN devices: each waits until
those before it are sent, and then for the delay; what would wait for longer than the queue is dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import select
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

HERE, THERE = "198.51.100.1", "198.51.100.2"
"""Addresses of both ends (RFC 5737)."""
_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x1001
_MOST_QUEUED_S = 0.6
"""As many packets as netem's limit of 1000 at 20 Mbit/s."""


@contextlib.contextmanager
def link(delay_s: float, bits_s: float) -> Iterator[tuple[str, ...]]:
    """Make a link whose other end is in a network namespace; yield the command that runs another in there."""
    namespace = f"vtool-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        _ip("netns", "add", namespace)
        stack.callback(_ip, "netns", "del", namespace)
        inside = ("ip", "netns", "exec", namespace)
        ends = [_tun(f"vt{end}{os.getpid()}") for end in "ab"]
        for descriptor, _ in ends:
            stack.callback(os.close, descriptor)
        (_, here), (_, there) = ends
        _ip("link", "set", there, "netns", namespace)
        for command, name, own, other in (((), here, HERE, THERE), (inside, there, THERE, HERE)):
            _run(*command, "ip", "address", "add", own, "peer", other, "dev", name)
            _run(*command, "ip", "link", "set", name, "up")
        _run(*inside, "ip", "link", "set", "lo", "up")
        carrier = multiprocessing.get_context("fork").Process(
            target=_carry, args=([descriptor for descriptor, _ in ends], delay_s, bits_s), daemon=True
        )
        carrier.start()
        stack.callback(carrier.join)
        stack.callback(carrier.kill)
        yield inside


def _tun(name: str) -> tuple[int, str]:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEADER))
    return descriptor, name


def _carry(ends: list[int], delay_s: float, bits_s: float) -> None:
    """Carry packets both ways for ever."""
    other = dict(zip(ends, reversed(ends), strict=True))
    waiting: dict[int, deque[tuple[float, bytes]]] = {end: deque() for end in ends}
    free = dict.fromkeys(ends, 0.0)
    while True:
        due = [packets[0][0] for packets in waiting.values() if packets]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        readable, _, _ = select.select(ends, [], [], timeout)
        now = time.monotonic()
        for end in readable:
            with contextlib.suppress(BlockingIOError):
                while packet := os.read(end, 2048):
                    sent = max(now, free[end]) + 8 * len(packet) / bits_s
                    if sent - now < _MOST_QUEUED_S:
                        free[end] = sent
                        waiting[end].append((sent + delay_s, packet))
        for end, packets in waiting.items():
            while packets and packets[0][0] <= now:
                with contextlib.suppress(OSError):
                    os.write(other[end], packets.popleft()[1])


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


def why_no_link() -> str:
    """Tell why there can be no link here; empty when there can."""
    return "" if os.access("/dev/net/tun", os.R_OK | os.W_OK) and Path("/usr/sbin/ip").exists() else "no /dev/net/tun"
