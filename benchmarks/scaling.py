"""How long vtool takes to plan and render, against Lopper on as many regions, and alone up to 1000 boards.

    make bench            (or: python -m benchmarks.scaling [--most-boards 1000] [--against FOLDER])

Both programs run as whole processes on this machine, in turn; of each the least processor time of three counts.
Lopper merges N reserved-memory regions of a YAML domain file into a system device tree; vtool checks, places and
renders N regions of a topology.
The two do not do the same: Lopper places nothing and checks less, vtool knows nothing of other clusters. Alone,
vtool validates, plans and renders topologies of many boards with ten guests each in one process; the exponent is
the slope of log(seconds) over log(boards), 1.0 being proportional. With an older checkout (``git worktree add --detach
FOLDER COMMIT``) vtool alone is measured in turns with that: processor time and peak memory of whole processes.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.checkouts import HERE, measured, measured_command
from benchmarks.peers import peer

REGIONS = (10, 50, 200)
BOARDS = (1, 10, 100, 1000)
MIB = 1 << 20
RUNS = 3


def regions_topology(count: int) -> str:
    """Return a topology with so many regions of 1 MiB in the emulated board's reserved memory."""
    regions = "".join(f"  r{i}: {{size: 1MiB, owner: dom0, use: shared-memory}}\n" for i in range(count))
    return (
        "version: 1\nname: scaling\nboards: {b: {facts: qemu-virt, hypervisor: {kind: xen}}}\n"
        f"domains: {{dom0: {{role: control, memory: 512MiB}}}}\nregions:\n{regions}"
    )


def boards_topology(boards: int) -> str:
    """Return a topology of so many Xen boards, each with dom0, nine guests and a disk for each of these."""
    lines = ["version: 1", "name: scaling", "boards:"]
    lines += [f"  b{b}: {{facts: qemu-virt, hypervisor: {{kind: xen}}}}" for b in range(boards)]
    lines += ["domains:"]
    for b in range(boards):
        lines += [f"  dom0-{b}: {{board: b{b}, role: control, memory: 512MiB}}"]
        lines += [f"  g{b}-{g}: {{board: b{b}, memory: 64MiB, ramdisk: vtool:guest-initramfs}}" for g in range(9)]
    lines += ["devices:"]
    ways = "type: blk, program: blkback, transport: xenbus, data_path: pv"
    for b in range(boards):
        for g in range(9):
            disk = f"disk: {{file: g{b}-{g}.img, size: 64MiB}}"
            lines += [f"  d{b}-{g}: {{frontend: g{b}-{g}, backend: dom0-{b}, {ways}, {disk}}}"]
    return "\n".join(lines) + "\n"


def system_device_tree(folder: Path, count: int) -> tuple[Path, Path]:
    """Write a system device tree and a domain file with so many regions of 1 MiB, each named by a device."""
    tree, domains = folder / "system.dts", folder / "domains.yaml"
    tree.write_text(
        '/dts-v1/;\n/ { compatible = "vtool,scaling"; #address-cells = <2>; #size-cells = <2>;\n'
        "cpus { #address-cells = <1>; #size-cells = <0>;\n"
        "cluster: cpus-a72@0 { #address-cells = <1>; #size-cells = <0>;\n"
        'compatible = "cpus,cluster"; cpu@0 { compatible = "arm,cortex-a72"; device_type = "cpu"; reg = <0>; }; }; };\n'
        'memory@40000000 { device_type = "memory"; reg = <0x0 0x40000000 0x0 0xc0000000>; };\n'
        "reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; };\n"
        'axi: axi { compatible = "simple-bus"; #address-cells = <2>; #size-cells = <2>; ranges;\n'
        'serial0: serial@9000000 { compatible = "arm,pl011"; reg = <0x0 0x9000000 0x0 0x1000>; }; }; };\n'
    )
    bases = [0x6000_0000 + i * MIB for i in range(count)]
    nodes = "".join(
        f"  r{i}@{base:x}:\n    label: r{i}\n    compatible: shared-dma-pool\n    no-map: true\n"
        f"    start: {base:#x}\n    size: {MIB:#x}\n"
        for i, base in enumerate(bases)
    )
    named = "".join(f'      - "&r{i}"\n' for i in range(count))
    listed = "".join(f"      - r{i}@{base:x}\n" for i, base in enumerate(bases))
    domains.write_text(
        'compatible: openamp,domain-v1\nreserved-memory:\n  "#address-cells": 2\n  "#size-cells": 2\n  ranges: true\n'
        f"{nodes}axi:\n  serial@9000000:\n    memory-region:\n{named}domains:\n  linux:\n"
        "    compatible: access-domain,domain-v1\n    memory:\n      - start: 0x40000000\n        size: 0xc0000000\n"
        f"    reserved-memory:\n{listed}    cpus:\n      - cluster: cluster\n        cpumask: 0x1\n"
    )
    return tree, domains


def against_lopper(folder: Path) -> None:
    """Print seconds of both and how many times faster vtool is, by number of regions."""
    program = peer("lopper")
    vtool = Path(sys.executable).with_name("vtool")
    print(f"{'regions':>8} {'vtool s':>9} {'lopper s':>9} {'times':>7}")
    for count in REGIONS:
        (folder / "t.yaml").write_text(regions_topology(count))
        tree, domains = system_device_tree(folder, count)
        commands: list[list[str | Path]] = [
            [vtool, "render", "t.yaml", "-o", "out"],
            [program, "-f", "--enhanced", "-x", "*.yaml", "-i", domains, tree, "out.dts"],
        ]
        runs = [[measured_command(command, folder).seconds for command in commands] for _ in range(RUNS)]
        ours, theirs = (min(of) for of in zip(*runs, strict=True))
        merged = (folder / "out.dts").read_text().count("shared-dma-pool")
        note = "" if merged == count else f"   (lopper kept {merged} of {count} regions)"
        print(f"{count:>8} {ours:>9.2f} {theirs:>9.2f} {theirs / ours:>7.1f}{note}")


def one_size(path: Path) -> None:
    """Validate, plan and render a topology in this process; print seconds and peak memory in MiB."""
    from vtool.cli.common import prepare
    from vtool.render import render

    begin = time.monotonic()
    files = sum(len(render(board).artifacts) for board in prepare(path).plan.boards)
    seconds = time.monotonic() - begin
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, files)


def alone(folder: Path, most: int) -> None:
    """Print seconds and memory by number of boards, and the exponents."""
    print(f"{'boards':>8} {'domains':>8} {'files':>8} {'seconds':>9} {'MiB':>7}")
    points: list[tuple[int, float, float]] = []
    for boards in (size for size in BOARDS if size <= most):
        path = folder / f"{boards}.yaml"
        path.write_text(boards_topology(boards))
        command = [sys.executable, "-m", "benchmarks.scaling", "--one", str(path)]
        seconds, mib, files = map(float, subprocess.run(command, check=True, capture_output=True).stdout.split())
        points.append((boards, seconds, mib))
        print(f"{boards:>8} {boards * 10:>8} {int(files):>8} {seconds:>9.2f} {mib:>7.0f}")
    if len(points) > 2:
        print(f"exponent of time {slope([(b, s) for b, s, _ in points[1:]]):.2f}", end=", ")
        base = points[0][2]
        print(f"of memory above the first {slope([(b, m - base) for b, _, m in points[1:]]):.2f}")


def against(folder: Path, older: Path, boards: int) -> None:
    """Print the least processor time and peak memory of both checkouts for the largest topology."""
    path = folder / "most.yaml"
    path.write_text(boards_topology(boards))
    runs = [[measured(("-m", "benchmarks.scaling", "--one", path), at) for at in (HERE, older)] for _ in range(RUNS)]
    print(f"{'boards':>8} {'':<10} {'this':>9} {'older':>9} {'ratio':>7}")
    for word, this, other in (
        ("seconds", *(min(run.seconds for run in of) for of in zip(*runs, strict=True))),
        ("MiB", *(min(run.peak_bytes for run in of) / MIB for of in zip(*runs, strict=True))),
    ):
        print(f"{boards:>8} {word:<10} {this:>9.2f} {other:>9.2f} {this / other:>7.2f}")


def slope(points: list[tuple[int, float]]) -> float:
    """Return the slope of the line through the points in logarithmic scales (least squares)."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return across / sum((x - mean_x) ** 2 for x in xs)


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most-boards", type=int, default=BOARDS[-1])
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="an older checkout, measured in turns with this")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one_size(arguments.one)
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.against:
            against(Path(folder), arguments.against.resolve(), arguments.most_boards)
            return
        against_lopper(Path(folder))
        alone(Path(folder), arguments.most_boards)


if __name__ == "__main__":
    main()
