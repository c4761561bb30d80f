"""How fast vtool-ring moves data between two processes of this machine, as a ratio to what Linux has for the same.

    make bench            (or: python -m benchmarks.rings [--runs 5] [--mib 256])

A file in shared memory, read through `export` and `attach`, against two `dd` with a pipe between them, both in blocks
of 64 KiB (a record carries one); TCP between two network namespaces over `net`, against a pair of veth interfaces.
In turn; of each the least seconds of all runs. The program is built for this machine. TAP and veth need root.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vtool.images import DATA

MIB = 1 << 20
BLOCK = ("bs=64k", "status=none")
TCP = """
import socket, sys, time
role, address, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
if role == "receive":
    with socket.create_server((address, 7777)) as listening:
        print("listening", flush=True)
        while True:
            connection, _ = listening.accept()
            left = size
            while left and (data := connection.recv(1 << 18)):
                left -= len(data)
            connection.sendall(b".")
else:
    with socket.create_connection((address, 7777), timeout=60) as connection:
        block, began = bytes(1 << 18), time.monotonic()
        for _ in range(size >> 18):
            connection.sendall(block)
        connection.recv(1)
        print(time.monotonic() - began)
"""


def seconds(argv: list[str], **options: object) -> float:
    began = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    return time.monotonic() - began


@contextmanager
def started(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def new_ring(program: Path, folder: Path, name: str) -> str:
    region = folder / name
    region.write_bytes(b"")
    os.truncate(region, MIB)
    subprocess.run([program, "init", "--region", region], check=True, stdout=subprocess.DEVNULL)
    return str(region)


def measure(ways: dict[str, Callable[[], float]], runs: int) -> dict[str, float]:
    rounds = [{name: way() for name, way in ways.items()} for _ in range(runs + 1)]
    return {name: min(taken[name] for taken in rounds[1:]) for name in ways}


def block(program: Path, folder: Path, size: int, runs: int) -> dict[str, float]:
    """Return the seconds to move `size` bytes out of a file in memory, by way."""
    file, region = folder / "disk", new_ring(program, folder, "block")
    file.write_bytes(os.urandom(MIB) * (size // MIB))
    read = [str(program), "attach", "--region", region, "--read", "0", str(size)]
    pipe = f"dd if={file} {' '.join(BLOCK)} | dd of=/dev/null {' '.join(BLOCK)}"
    with started([str(program), "export", "--region", region, "--file", str(file), "--read-only"]):
        return measure({"pipe": lambda: seconds(["sh", "-c", pipe]), "ring": lambda: seconds(read)}, runs)


def network(program: Path, folder: Path, size: int, runs: int, mtu: int) -> dict[str, float]:
    """Return the seconds to send `size` bytes by TCP from one network namespace to another, by way."""
    region = new_ring(program, folder, f"net-{mtu}")
    with ExitStack() as stack:
        inside, holders = {}, []
        for side in "ab":
            holder = stack.enter_context(started(["unshare", "--net", "sh", "-c", "echo; exec cat"]))
            assert holder.stdout
            holder.stdout.readline()
            holders.append(str(holder.pid))
            inside[side] = ["nsenter", "--net", "--target", holders[-1]]

        def ip(side: str, *arguments: str) -> None:
            subprocess.run([*inside[side], "ip", *arguments], check=True)

        ip("a", "link", "add", "veth", "type", "veth", "peer", "name", "veth", "netns", holders[1])
        for number, side in enumerate("ab", 1):
            ip(side, "tuntap", "add", "dev", "ring", "mode", "tap")
            net = ["net", "--region", region, "--side", side, "--tap", "ring"]
            stack.enter_context(started([*inside[side], str(program), *net]))
            for interface, prefix in (("veth", "192.0.2"), ("ring", "198.51.100")):
                ip(side, "addr", "add", f"{prefix}.{number}/24", "dev", interface)
                ip(side, "link", "set", "up", "mtu", str(mtu), "dev", interface)

        def by(address: str) -> Callable[[], float]:
            python = [sys.executable, "-c", TCP]
            receiver = stack.enter_context(started([*inside["b"], *python, "receive", address, str(size)]))
            assert receiver.stdout
            receiver.stdout.readline()
            send = [*inside["a"], *python, "send", address, str(size)]
            return lambda: float(subprocess.run(send, check=True, capture_output=True).stdout)

        return measure({"veth": by("192.0.2.2"), "ring": by("198.51.100.2")}, runs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mib", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        make = ["make", "--silent", "-C", str(DATA / "ring"), f"OUT={folder}"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        program, size = folder / "vtool-ring", options.mib * MIB
        tables = {"block, of a pipe": block(program, folder, size, options.runs)}
        if os.geteuid() == 0:
            for mtu in (1500, 65000):
                tables[f"TCP, MTU {mtu}, of veth"] = network(program, folder, size, options.runs, mtu)
    print(f"{'':<24} {'peer MiB/s':>10} {'ring MiB/s':>10} {'ratio':>6}")
    for what, taken in tables.items():
        peer, ring = (size / MIB / taken[way] for way in taken)
        print(f"{what:<24} {peer:>10.0f} {ring:>10.0f} {ring / peer:>6.2f}")


if __name__ == "__main__":
    main()
