"""What a backend can reach of a domain: bytes that only the domain knows are looked for in the backend's memory.

The domain makes a seed and, from it, a secret in its RAM and a control that it hands to the device. The seed
crosses the console, the bytes do not: both sides derive them (SHA-256 of "secret SEED" and "control SEED",
repeated). What is searched is what the backend's processes have mapped or could map from what they hold open.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .base import BoardError, run
from .processes import CONTROL_GROUPS
from .typed import Any

FOLDER = "/tmp/.vtool-reach"  # noqa: S108 - in the domain, which has one user
# 1 MiB each; `cat` doubles 32 bytes 15 times. dash's printf knows octal digits alone.
PLANT = rf"""D={FOLDER}; mkdir -p $D
S=$(dd if=/dev/urandom bs=64 count=1 2>/dev/null | sha256sum | cut -c1-32)
for N in secret control; do
    H=$(printf %s "$N $S" | sha256sum | cut -c1-64)
    if [ "$(printf '\x41')" = A ]; then printf "$(printf %s $H | sed 's/../\\x&/g')"
    else for B in $(printf %s $H | sed 's/../0x& /g'); do printf "\\$(printf %03o $B)"; done; fi >$D/$N
    for I in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do cat $D/$N $D/$N >$D/w; mv $D/w $D/$N; done
done
echo $S"""
UPROOT = f"rm -r {FOLDER}"
PAGE_BYTES = 4096  # Xen counts in these
PAGE = f"bs={PAGE_BYTES} count=1 2>/dev/null"
GRANT = re.compile(r"\[0x[0-9a-f]+\]\s+(\d+) 0x[0-9a-f]+ 0x[0-9a-f]+\s+\d+ 0x([0-9a-f]+) 0x")
CHUNK_BYTES = 16 << 20
# What VMMs and daemons share memory by.
MEMORY_OBJECTS = ("/memfd:", "/dev/shm/", "/dev/hugepages/")  # noqa: S108 - names that are compared


def bytes_of(kind: str, seed: str) -> bytes:
    """Return the 256 bytes that are looked for: eight repetitions."""
    return hashlib.sha256(f"{kind} {seed}".encode()).digest() * 8


@contextlib.contextmanager
def planted(step: dict[str, Any], shell: Callable[[str, float], dict[str, Any]]) -> Iterator[str]:
    """Have the domain make both and hand the control to its device; yield the seed; take them away again."""
    made = shell(PLANT, 60)
    seed = made["output"].strip()
    if made["code"] != 0 or not re.fullmatch("[0-9a-f]{32}", seed):
        raise BoardError("VT704", f"no secret could be made in domain '{step['domain']}'", detail=[seed[-300:]])
    try:
        if step["control"]:
            sent = shell(f"C={FOLDER}/control; {step['control']}", 60)
            if sent["code"] != 0:
                raise BoardError("VT704", "the control did not go through the device", detail=[sent["output"][-300:]])
        yield seed
    finally:
        shell(UPROOT, 20)


def look(step: dict[str, Any], shell: Callable[[str, float], dict[str, Any]]) -> dict[str, Any]:
    """Plant both in the domain, hand the control to its device, and search the memory of a unit's processes.

    ``control`` is a shell line that sends the file $C through the device; it may be empty. Returns bytes of both
    that were found, in memory shared with the VMM and elsewhere; ``objects``: identity and size of the memory that
    the unit shares with the VMM; ``searched_bytes``; ``unread``: names of shared memory that could not be read.
    """
    with planted(step, shell) as seed:
        return search(processes(step["unit"]), processes(step["vmm"]), seed)


def search(backend: list[int], vmm: list[int], seed: str) -> dict[str, Any]:
    """Search all that the backend's processes can reach; see ``look``."""
    needles = {kind: bytes_of(kind, seed) for kind in ("secret", "control")}
    found = {f"{kind}_{where}": 0 for kind in needles for where in ("shared", "own")}
    of_vmm = {identity for pid in vmm for identity, _ in objects_of(pid)} if set(backend) != set(vmm) else set()
    objects: dict[tuple[int, int], int] = {}
    searched, unread, seen = 0, [], set()
    for pid in backend:
        for identity, size_bytes in objects_of(pid):
            if identity in of_vmm:
                objects[identity] = max(objects.get(identity, 0), size_bytes)
        for piece in pieces(pid):
            # What several mappings or processes share is searched once.
            if piece.identity in seen:
                continue
            seen |= {piece.identity} if piece.whole else set()
            where = "shared" if piece.identity in of_vmm else "own"
            try:
                for data in piece.read():
                    searched += len(data)
                    for kind, needle in needles.items():
                        found[f"{kind}_{where}"] += data.count(needle) * len(needle)
            except OSError:
                if where == "shared":
                    unread.append(piece.name)
    return {
        **found,
        "searched_bytes": searched,
        "objects": [{"identity": f"{a:x}:{b}", "size_bytes": size} for (a, b), size in sorted(objects.items())],
        "unread": unread,
        "processes": len(backend),
    }


def processes(unit: str) -> list[int]:
    """Return the processes of a unit, children in groups of their own as well; BoardError VT710 when it has none."""
    folder = CONTROL_GROUPS / "system.slice" / unit
    if not folder.is_dir():  # it is elsewhere; asking takes a fifth of a second on an emulated board
        group = run("systemctl", "show", "-p", "ControlGroup", "--value", unit).stdout.strip()
        folder = CONTROL_GROUPS / group[1:] if group else folder
    found = {int(pid) for path in folder.glob("**/cgroup.procs") for pid in path.read_text().split()}
    if not found:
        raise BoardError("VT710", f"unit {unit} has no process")
    return sorted(found)


class Mapping:
    """A readable mapping of a process: [base, end) in its address space."""

    def __init__(self, pid: int, line: str) -> None:
        fields = line.split(None, 5)
        self.pid, self.whole = pid, False
        self.base, self.end = (int(number, 16) for number in fields[0].split("-"))
        major, minor = (int(number, 16) for number in fields[3].split(":"))
        inode = int(fields[4])
        self.private = inode == 0
        # Private memory is nobody else's: each process's own.
        self.identity: Any = (os.makedev(major, minor), inode) if inode else (pid, self.base, self.end)
        self.name = fields[5].strip() if len(fields) > 5 else ""
        self.readable, self.shared = fields[1][0] == "r", fields[1][3] == "s"

    def read(self) -> Iterator[bytes]:
        """Yield its content in pieces. OSError: (the rest of) it cannot be read."""
        with Path(f"/proc/{self.pid}/mem").open("rb", 0) as memory:
            base = self.base
            while base < self.end:
                data = os.pread(memory.fileno(), min(CHUNK_BYTES, self.end - base), base)
                yield data
                base += len(data)


class HeldOpen:
    """A memory object (memfd, tmpfs or deleted file) that a process holds open: it can map all of it."""

    def __init__(self, path: Path, name: str, status: os.stat_result) -> None:
        self.path, self.name, self.whole = path, name, True
        self.identity: Any = (status.st_dev, status.st_ino)
        self.size_bytes = status.st_size

    def read(self) -> Iterator[bytes]:
        """Yield its content in pieces, without its holes."""
        with self.path.open("rb", 0) as stream:
            offset = 0
            while offset < self.size_bytes:
                try:
                    offset = os.lseek(stream.fileno(), offset, os.SEEK_DATA)
                except OSError:  # nothing but a hole is left
                    return
                data = os.pread(stream.fileno(), CHUNK_BYTES, offset)
                if not data:
                    return
                yield data
                offset += len(data)


def mappings(pid: int) -> Iterator[Mapping]:
    """Yield what a process has mapped and may read."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        mapping = Mapping(pid, line)
        if mapping.readable and not mapping.name.startswith("[v"):  # vvar, vdso, vsyscall: the kernel's
            yield mapping


def held_open(pid: int) -> Iterator[HeldOpen]:
    """Yield the memory objects behind a process's open files."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            name = os.readlink(path)
            if name.startswith(MEMORY_OBJECTS):
                yield HeldOpen(path, name, path.stat())


def pieces(pid: int) -> Iterator[Mapping | HeldOpen]:
    """Yield all that a process can reach; what it could map as a whole comes first."""
    yield from held_open(pid)
    yield from mappings(pid)


def objects_of(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield identity and reachable bytes of the memory that a process may share with others."""
    sizes: dict[tuple[int, int], int] = {}
    for mapping in mappings(pid):
        if mapping.shared and not mapping.private and mapping.name.startswith(MEMORY_OBJECTS):
            sizes[mapping.identity] = sizes.get(mapping.identity, 0) + mapping.end - mapping.base
    for held in held_open(pid):
        sizes[held.identity] = held.size_bytes
    yield from sizes.items()


# ---------------------------------------------------------------- Xen


def beside(step: dict[str, Any], shell: Callable[[str, float], dict[str, Any]]) -> dict[str, Any]:
    """Run a shell line on the board while a domain has both; $SEED in it is theirs. ``control`` as in ``look``."""
    with planted(step, shell) as seed:
        return {"output": run("/bin/sh", "-c", f"SEED={seed}; {step['command']}").stdout}


def granted(step: dict[str, Any], shell: Callable[[str, float], dict[str, Any]]) -> dict[str, Any]:
    """Say what is in the pages of a domain that its backends have mapped: which, by Xen's grant tables; what, by it.

    ``control`` as in ``look``. Returns ``granted`` and ``pages`` (granted and in use; all there are), ``secret`` and
    ``control`` (how many of the granted ones hold a page of it), ``complete`` (false: Xen's log lost some).
    """
    domain_id = int(run("xl", "domid", step["domain"], timeout=20).stdout)
    with planted(step, shell) as seed:
        frames, complete = grant_table(domain_id)
        each = "; ".join(f"{name}=$(dd if={FOLDER}/{name} {PAGE} | sha256sum)" for name in ("secret", "control"))
        read = shell(
            f"{each}; S=0; C=0; N=0; for F in {' '.join(map(str, sorted(frames)))}; do "
            f"H=$(dd if=/dev/mem skip=$F {PAGE} | sha256sum); N=$((N+1)); "
            'case $H in "$secret") S=$((S+1));; "$control") C=$((C+1));; esac; done; echo $N $S $C',
            120,
        )
    said = read["output"].split()
    if len(said) != 3 or int(said[0]) != len(frames):
        raise BoardError("VT704", f"domain '{step['domain']}' cannot read its pages", detail=[read["output"][-300:]])
    memory_mib = int(run("xl", "list", step["domain"], timeout=20).stdout.splitlines()[1].split()[2])
    return {
        "granted": len(frames),
        "secret": int(said[1]),
        "control": int(said[2]),
        "pages": memory_mib * 256,
        "complete": complete,
        "seed": seed,
    }


def grant_table(domain_id: int) -> tuple[set[int], bool]:
    """Return the guest frames that a domain granted and somebody uses, and whether Xen's log has all of them."""
    run("xl", "debug-keys", "g", timeout=20)
    deadline = time.monotonic() + 20
    while True:
        log = run("xl", "dmesg", timeout=20).stdout
        dumped = log.rpartition("gnttab_usage_print_all [")[2] if "gnttab_usage_print_all [" in log else log
        if "gnttab_usage_print_all ]" in dumped:
            break
        if time.monotonic() > deadline:
            raise BoardError("VT704", "Xen did not print its grant tables", detail=log.splitlines()[-5:])
        time.sleep(0.2)  # polling Xen's log; the loop has the deadline
    frames: set[int] = set()
    current = None
    for line in dumped.splitlines():
        table = re.search(r"grant-table for remote d(\d+)", line)
        current = int(table[1]) if table else current
        entry = GRANT.search(line)
        if entry and current == domain_id:
            frames.add(int(entry[2], 16))
    return frames, "gnttab_usage_print_all [" in log
