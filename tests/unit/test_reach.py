"""What vtool-board finds in the memory of real processes, and how that is read."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from vtool.deploy.on_board import reach
from vtool.deploy.on_board.base import BoardError
from vtool.deploy.proof import foreign_memory

SEED = "ab" * 16
INIT = Path(__file__).resolve().parents[2] / "vtool/images/recipes/guest/init"
SIZE = 4 << 20
WAITS = "print(flush=True); sys.stdin.read()"
MAPS = f"import mmap, sys; kept = mmap.mmap(int(sys.argv[1]), {SIZE}); " + WAITS
HOLDS_OPEN = "import sys; " + WAITS
HAS = "import hashlib, sys; kept = hashlib.sha256(b'secret ' + sys.argv[2].encode()).digest() * 32768; " + WAITS


@pytest.fixture
def memory() -> Iterator[tuple[int, mmap.mmap]]:
    """Guest memory that this process, the VMM, shares."""
    descriptor = os.memfd_create("memory-backend-memfd")
    os.ftruncate(descriptor, SIZE)
    yield descriptor, mmap.mmap(descriptor, SIZE)
    os.close(descriptor)


@pytest.fixture
def backend(memory: tuple[int, mmap.mmap]) -> Iterator[Callable[[str], int]]:
    """Start a process that is given the memory; return its number."""
    running: list[subprocess.Popen[bytes]] = []

    def start(program: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(memory[0]), SEED],
            pass_fds=[memory[0]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        running.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start
    for process in running:
        process.communicate()


def put(memory: mmap.mmap, kind: str) -> None:
    memory[1 << 20 : 2 << 20] = reach.bytes_of(kind, SEED) * (1 << 12)


@pytest.mark.parametrize("program", [MAPS, HOLDS_OPEN])
@pytest.mark.parametrize("kind", ["secret", "control"])
def test_what_is_shared_is_found(
    memory: tuple[int, mmap.mmap], backend: Callable[[str], int], program: str, kind: str
) -> None:
    put(memory[1], kind)
    seen = reach.search([backend(program)], [os.getpid()], SEED)
    other = {"secret": "control", "control": "secret"}[kind]
    assert (seen[f"{kind}_shared"], seen[f"{other}_shared"]) == (1 << 20, 0)
    assert [item["size_bytes"] for item in seen["objects"]] == [SIZE]


def test_nothing_is_found_where_nothing_is(memory: tuple[int, mmap.mmap], backend: Callable[[str], int]) -> None:
    seen = reach.search([backend(MAPS)], [os.getpid()], SEED)
    assert sum(seen[f"{kind}_{where}"] for kind in ("secret", "control") for where in ("shared", "own")) == 0
    assert seen["searched_bytes"] > SIZE and not seen["unread"]


def test_a_copy_that_the_backend_made_is_found(backend: Callable[[str], int]) -> None:
    seen = reach.search([backend(HAS)], [os.getpid()], SEED)
    # What copied it may have left a bit more: vector registers that the dynamic linker saved on the stack.
    assert 1 << 20 <= seen["secret_own"] < (1 << 20) + 4096 and seen["secret_shared"] == 0


def test_the_domain_makes_the_bytes_that_are_looked_for() -> None:
    made = reach.PLANT.replace(reach.FOLDER, "$VTOOL_FOLDER")
    assert made.count("$VTOOL_FOLDER") == 1
    said = subprocess.run(
        ["bash", "-c", f"VTOOL_FOLDER=$(mktemp -d); {made}\ncat $D/secret $D/control; rm -r $D"],
        capture_output=True,
        check=True,
    ).stdout
    seed, _, data = said.partition(b"\n")
    assert data == b"".join(reach.bytes_of(kind, seed.decode()) * (1 << 12) for kind in ("secret", "control"))


def test_xens_grant_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    log = """(XEN) gnttab_usage_print_all [ key 'g' pressed
(XEN) grant-table for remote d0 (v1)
(XEN)   1 frames (64 max), 0 maptrack frames (1024 max)
(XEN) no active grant table entries
(XEN)       -------- active --------       -------- shared --------
(XEN) [ref] localdom mfn      pin          localdom gmfn     flags
(XEN) grant-table for remote d1 (v1)
(XEN) [0x001]      0 0x0bfffe 0x00000002          0 0x039000 0x19
(XEN) [0x008]      0 0x0a5f8c 0x00000001          0 0x04578c 0x19
(XEN) gnttab_usage_print_all ] done
"""

    def run(*argv: str, **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0, log if "dmesg" in argv else "", "")

    monkeypatch.setattr(reach, "run", run)
    assert reach.grant_table(1) == ({0x39000, 0x4578C}, True)
    assert reach.grant_table(0) == (set(), True)
    log = log.split("\n", 1)[1]
    assert reach.grant_table(1) == ({0x39000, 0x4578C}, False)


def test_a_guest_whose_shell_nobody_reaches_keeps_a_page_of_the_secret(tmp_path: Path) -> None:
    _, _, rest = INIT.read_text().partition("keep_secret() {")
    function = "keep_secret() {" + rest.partition("\n}\n")[0] + "\n}"
    for path, instead in (("/tmp/secret", "secret"), ("/dev/console", "console")):
        assert function.count(path) == 1
        function = function.replace(path, instead)
    subprocess.run(["bash", "-c", f"{function}\nkeep_secret"], cwd=tmp_path, check=True)
    said = (tmp_path / "console").read_text().split()
    assert said[:2] == ["vtool:", "secret"]
    assert (tmp_path / "secret").read_bytes() == reach.bytes_of("secret", said[2]) * 16


def test_what_is_mapped_by_ones_own_hand_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    secret, control = (reach.bytes_of(kind, SEED) * 16 for kind in ("secret", "control"))
    found = [(0x40000, bytes(4096)), (0x40001, None), (0x40002, control), (0x40003, secret), (0x40004, secret)]
    monkeypatch.setattr(foreign_memory, "frames_of", lambda domain, where: iter(found))
    assert foreign_memory.own(SEED, "1", "40000000:5000") == {"mapped": 3, "refused": 1, "frame": "0x40003"}
    assert foreign_memory.own("cd" * 16, "1", "40000000:5000") == {"mapped": 4, "refused": 1, "frame": ""}
    whole = {"mapped": 4, "refused": 1, "secret": 2, "control": 1}
    assert foreign_memory.region(SEED, "1", "40000000:5000") == whole


def test_a_process_without_xens_devices_has_mapped_nothing_of_a_guest() -> None:
    assert set(foreign_memory.mapped(SEED, str(os.getpid())).values()) == {0}


@pytest.mark.parametrize("slice_name", ["system.slice", "machine.slice"])
def test_the_processes_of_a_unit_are_those_of_its_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_name: str
) -> None:
    """systemd is asked only where a unit is not in the usual place."""
    unit, asked = "vtool-domain-fe0.service", list[tuple[str, ...]]()

    def run(*words: str, **_: object) -> SimpleNamespace:
        asked.append(words)
        return SimpleNamespace(stdout=f"/{slice_name}/{unit}\n" if started else "\n")

    monkeypatch.setattr(reach, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(reach, "run", run)
    started = False
    with pytest.raises(BoardError) as caught:
        reach.processes(unit)
    assert caught.value.code == "VT710"
    started = True
    below = tmp_path / slice_name / unit / "worker"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text("12\n")
    (below.parent / "cgroup.procs").write_text("7\n9\n")
    asked.clear()
    assert reach.processes(unit) == [7, 9, 12]
    assert len(asked) == (slice_name != "system.slice")
