"""How long a disk's image takes to a board over a slow link, against rsync over the same one, in one run.

    python -m benchmarks.disks [--image-mib 300 --delay-ms 10 --mbit 20 --runs 3] [--processor-time]

The board is the sshd of ``benchmarks.fleet`` in a network namespace of its own, behind a link that ``benchmarks.link``
makes: with a delay each way and a rate. The image is an ext4 file system with files of this machine, raw; the board
gets it with the files of a generation, which are the same for both:

first       the board has nothing
1 MiB       of the image was written anew, in one place, another one in each run
256 pages   of 4 KiB were, all over it
again       nothing changed: starting, reading, planning, connecting and looking, a part of the others too

vtool       ``benchmarks/push.py``, as in ``benchmarks.fleet``: load, plan, stage, hold the board, send, check digests,
            lay out, everything on the disk; not starting and proving. The disk is one with ``on_change: reset``
rsync       ``rsync -az --sparse -e ssh``: by what differs (its own algorithm), packed by what both have best (zstd),
            holes for zeros. It does not wait for the disk
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fleet import Fleet, Source, own_folders, run, timed, turns
from benchmarks.link import THERE, link, why_no_link
from tests.integration.machine import why_not

MIB = 1 << 20
PAGE = 4096
BOARD = "b0"
AIMS = {"first": 1.1, "1 MiB": 1.2, "256 pages": 1.2}
"""vtool's time over rsync's, at most."""
_FOLDERS = ("/usr/lib/python3", "/usr/share/perl", "/usr/lib/git-core", "/usr/share/locale", "/usr/bin", "/usr/lib")


class WithDisk(Source):
    """A board's files, and a disk of a guest that begins as an image."""

    def more(self) -> list[str]:
        """Return the lines of the disk."""
        backend = f"frontend: {BOARD}-g0, backend: {BOARD}-dom0, program: blkback, transport: xenbus, data_path: pv"
        disk = "{file: root.img, source: ./root.img, on_change: reset}"
        return ["devices:", f"  disk0: {{type: blk, {backend}, disk: {disk}}}"]

    def make_first(self, mib: int) -> None:
        """Make the image that comes first."""
        first = self.folder / "first.img"
        with tempfile.TemporaryDirectory(dir=self.folder) as text:
            _gather(Path(text), mib * MIB * 3 // 4)
            subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", text, first, f"{mib}M"], check=True)
        self._places = _used(first)

    def make_changed(self, turn: int) -> None:
        """Make the images of which some was written anew, in each turn something else."""
        rng, places = random.Random(turn), self._places  # noqa: S311 - not a secret
        changes = {"1 MiB": [(rng.choice(places) // MIB * MIB, MIB)]}
        changes["256 pages"] = [(place, PAGE) for place in rng.sample(places, 256)]
        for number, (name, written) in enumerate(changes.items(), 2 * turn):
            image = self.folder / f"{name}.img"
            image.unlink(missing_ok=True)  # what was in use has another name
            shutil.copyfile(self.folder / "first.img", image)
            with image.open("r+b") as stream:
                for place, size in written:
                    stream.seek(place)
                    stream.write(rng.randbytes(size))
            # Each has a time of its own: by size and time rsync knows what is to be looked at.
            os.utime(image, (number, number))

    def use(self, name: str) -> None:
        """Let the disk begin as an image, as all tools see it."""
        image = self.folder / "root.img"
        image.unlink(missing_ok=True)
        os.link(self.folder / f"{name}.img", image)
        self.write()
        there = self.files / BOARD / "disks" / "root.img"
        there.parent.mkdir(parents=True, exist_ok=True)
        there.unlink(missing_ok=True)
        os.link(image, there)


def _gather(folder: Path, most: int) -> None:
    """Copy files of this machine, until there are so many bytes."""
    left = most
    for path in (path for top in _FOLDERS for path in sorted(Path(top).rglob("*"))):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > min(left, 16 * MIB):
            continue
        target = folder / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        left -= path.stat().st_size


def _used(image: Path) -> list[int]:
    """Return the pages that are not zeros."""
    with image.open("rb") as stream:
        pages = iter(lambda: stream.read(PAGE), b"")
        return [number * PAGE for number, page in enumerate(pages) if page.strip(b"\0")]


def check(fleet: Fleet, tool: str) -> None:
    """End the program if the board has another image."""
    lib = fleet.machines[BOARD].folder / "lib"
    found = lib / "rsync" / "disks" / "root.img"
    if tool == "vtool":
        way = fleet.arrived(BOARD, "vtool") / "disks" / "root.img"
        found = lib / str(way.readlink()).removeprefix("/var/lib/")
    if not filecmp.cmp(fleet.source.folder / "root.img", found, shallow=False):
        raise SystemExit(f"{tool} did not bring the image as it is")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-mib", type=int, default=300)
    parser.add_argument("--delay-ms", type=float, default=10, help="each way")
    parser.add_argument("--mbit", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--processor-time", action="store_true", help="of all processes, the board's too; not wall time"
    )
    arguments = parser.parse_args()
    if reason := why_not() or why_no_link():
        raise SystemExit(reason)
    with (
        tempfile.TemporaryDirectory(prefix="vtool-disks-", dir="/var/tmp") as text,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(text)
        folder.chmod(0o755)
        source = WithDisk(folder, 1)
        source.make_first(arguments.image_mib)
        source.use("first")
        inside = stack.enter_context(link(arguments.delay_ms / 1000, arguments.mbit * 1e6))
        fleet = Fleet(folder, source, stack, address=THERE, inside=inside)
        ssh = f"ssh -F {folder}/ssh_config"
        ways = {
            "vtool": lambda: run(
                [sys.executable, "-m", "benchmarks.push", folder / "topology.yaml", folder / "vtool.yaml"],
                **own_folders(folder),
            ),
            "rsync": lambda: run(
                ["rsync", "-az", "--sparse", "-e", ssh, f"{source.files / BOARD}/", f"{BOARD}:/var/lib/rsync/"]
            ),
        }
        fleet.clock = fleet.processor_time if arguments.processor_time else fleet.clock
        print(time.strftime("%Y-%m-%d"), " ".join(["python -m benchmarks.disks", *sys.argv[1:]]))
        seconds: dict[tuple[str, str], list[float]] = {}
        for turn, order in enumerate(turns(ways, arguments.runs)):
            source.make_changed(turn)
            for name in order:
                fleet.clear(BOARD, name)
                for situation in ("first", "1 MiB", "256 pages", "again"):
                    if situation != "again":
                        source.use(situation)
                    fleet.warm(name)
                    spent = timed(ways[name], fleet)
                    seconds.setdefault((situation, name), []).append(spent)
                    print(f"  {situation}, {name}: {spent:.2f}", file=sys.stderr, flush=True)
                    check(fleet, name)
                fleet.clear(BOARD, name)
        _show(seconds, aims={} if arguments.processor_time else AIMS)


def _show(seconds: dict[tuple[str, str], list[float]], aims: dict[str, float]) -> None:
    median = {key: statistics.median(values) for key, values in seconds.items()}
    print(f"{'seconds':12}{'vtool':>9}{'rsync':>9}{'ratio':>8}")
    for situation in dict.fromkeys(situation for situation, _ in seconds):
        vtool, rsync = median[situation, "vtool"], median[situation, "rsync"]
        aim = aims.get(situation)
        words = "" if aim is None else f"  aim {aim}: {'met' if vtool / rsync <= aim else 'not met'}"
        print(f"{situation:12}{vtool:9.2f}{rsync:9.2f}{vtool / rsync:8.2f}{words}")


if __name__ == "__main__":
    main()
