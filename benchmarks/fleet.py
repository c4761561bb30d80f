"""How long a push to a fleet takes, against tar, rsync, plain Ansible and pyinfra over the same ssh, in one run.

    make bench            (or: python -m benchmarks.fleet [--boards 50 --image-mib 30])

Each board is an sshd of its own on loopback, in a mount namespace with its own /var/lib, /run and /boot
(``tests/integration/machine.py``; needs root). All of them share this machine's processors and disk, so only the
ratios mean something. The set is what vtool stages for a Xen board with seven guests: about 35 small files, kernels
and hypervisor among them, and a kernel of 10 MiB; in the last situation an image too. Every tool is a whole process,
from its command line to its end:

vtool     load, plan, render, stage, hold the boards, and the tasks of ``playbooks/deploy.yml`` that compare, send and
          apply, run by Ansible (``benchmarks/push.py``), all of it on the disk at the end, which no other tool waits
          for. Not measured: starting and proving, which the others do not do.
tar       all files in one tar per board through one ssh, boards side by side: the floor
rsync     rsync -a per board, boards side by side
older     the same by an older checkout (``--against``), with the same Python and libraries
ansible   one copy task a file, one template for a guest's configuration; forks = boards, pipelining, no facts
pyinfra   one files.put a file

What the machines have no systemd for are stand-ins: ``systemctl`` says that everything is active, ``systemd-sysusers``
does nothing, the boot partition is a tmpfs, the sector with the boot state a file, and the kernel's command line says
that the boot set runs already, so that no reboot is wanted. vtool-board itself is the real one.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import io
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.older import Older, quietly, write_facts
from benchmarks.peers import peer
from tests.integration.machine import Machine, why_not
from vtool.base.rooms import room
from vtool.board.qemu_process import Machine as EmulatedMachine
from vtool.board.qemu_process import dump_device_tree
from vtool.cli.common import prepare
from vtool.deploy.stage import Staged, stage
from vtool.render import render

MIB = 1 << 20
GUESTS = 7
MEMORY_MIB = 64
MOUNTS = (
    'mount -t tmpfs tmpfs /boot; mkdir -p "$1/systemd"; '
    'touch /run/systemd/system/xen.service; mount --bind "$1/systemd" /etc/systemd'
)
STAND_INS = {
    "systemctl": 'test "$1" = is-active && echo active\nexit 0\n',
    "systemd-sysusers": "exit 0\n",
    "xl": "exit 0\n",
}
TOOLS = ("vtool", "older", "tar", "rsync", "ansible", "pyinfra")
_LAST_S = 0.3
"""What is left on a machine of a connection that ended has ended, too, after that."""
Tool = Callable[[], None]
Seconds = dict[tuple[str, str], list[float]]
"""Seconds of each run by situation and tool, by the fleet's clock."""


# ---------------------------------------------------------------- what is pushed


class Source:
    """The set of files as every tool wants it: a topology for vtool, a folder a board for the others."""

    def __init__(self, folder: Path, boards: int) -> None:
        self.folder = folder
        self.names = [f"b{number}" for number in range(boards)]
        self.files = folder / "files"
        self.templates = folder / "templates"
        self.memory_mib = MEMORY_MIB
        self.staged: dict[str, Staged] = {}
        self._image = False
        write_facts(room("topology"), folder / "facts.yaml")
        magic = b"\0" * 56 + b"ARM\x64"  # Linux Documentation/arch/arm64/booting.rst
        for name, size in (("kernel", 10 * MIB), ("guest-kernel", 20_000), ("xen", 20_000)):
            (folder / name).write_bytes(magic + random.Random(name).randbytes(size))  # noqa: S311 - not a secret
        with (folder / "kernel").open("ab") as stream:  # what runs on these machines
            stream.write(Path("/proc/version").read_bytes() + b"\0")
        dump_device_tree(EmulatedMachine(2, 3 << 30), folder / "base.dtb")

    def write(self, *, memory_mib: int = MEMORY_MIB) -> None:
        """Write the topology and the boards' folders; what does not change keeps its file and time."""
        self.memory_mib = memory_mib
        (self.folder / "topology.yaml").write_text(self._topology())
        with contextlib.redirect_stderr(io.StringIO()):  # that its kernels do not say how they were built
            plan = prepare(self.folder / "topology.yaml", keep=False).plan
        for board in plan.boards:
            with tempfile.TemporaryDirectory() as work:
                tree = (self.folder / "base.dtb").read_bytes()
                self.staged[board.name] = stage(
                    "fleet", board, render(board), tree, lambda name: self.folder / name, Path(work)
                )
                for file in self.staged[board.name].files:
                    self._put(file.path, self.files / board.name / file.place.value / file.name)
            config = self.files / board.name / self.config(board.name)
            template = self.templates / board.name
            template.parent.mkdir(exist_ok=True)
            template.write_text(config.read_text().replace(f"memory = {memory_mib}", "memory = {{ memory }}"))

    def config(self, board: str) -> str:
        """Return the name of the file that changes."""
        return f"generation/domains/{board}-g0/{board}-g0.cfg"

    def make_image(self, mib: int) -> None:
        """Give every board's first guest an image of random bytes; ``write`` comes next."""
        with (self.folder / "image").open("wb") as stream:
            for _ in range(mib):
                stream.write(os.urandom(MIB))
        self._image = True

    def change_image(self) -> None:
        """Write one MiB of the image anew, in place."""
        path = self.folder / "image"
        with path.open("r+b") as stream:
            stream.seek(random.randrange(path.stat().st_size // MIB) * MIB)  # noqa: S311
            stream.write(os.urandom(MIB))

    def _topology(self) -> str:
        lines = ["version: 1", "name: fleet", "boards:"]
        lines += [f"  {b}: {{facts: ./facts.yaml, hypervisor: {{kind: xen, image: ./xen}}}}" for b in self.names]
        lines += ["domains:"]
        for b in self.names:
            lines += [f"  {b}-dom0: {{board: {b}, role: control, memory: 512MiB, kernel: ./kernel}}"]
            for g in range(GUESTS):
                memory = self.memory_mib if g == 0 else MEMORY_MIB
                ramdisk = ", ramdisk: ./image" if g == 0 and self._image else ""
                lines += [f"  {b}-g{g}: {{board: {b}, memory: {memory}MiB, kernel: ./guest-kernel{ramdisk}}}"]
        return "\n".join([*lines, *self.more()]) + "\n"

    def more(self) -> list[str]:
        """Return more lines of the topology."""
        return []

    def _put(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source == self.folder / "image":
            if not target.exists():
                os.link(source, target)
        elif not target.exists() or not filecmp.cmp(source, target, shallow=False):
            shutil.copyfile(source, target)


# ---------------------------------------------------------------- the boards


class Fleet:
    """The machines, and the ways to them: an inventory for each tool."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        stack: contextlib.ExitStack,
        mounts: str = MOUNTS,
        address: str = "127.0.0.1",
        inside: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.older: Older | None = None
        self.clock: Callable[[], float] = time.monotonic
        self.machines: dict[str, Machine] = {}
        for name in source.names:
            (folder / name).mkdir()
            machine = self.machines[name] = Machine(folder / name, mounts, address, inside)
            for kind in ("passwd", "group"):
                with (machine.folder / "etc" / kind).open("a") as users:
                    users.write(
                        "vtool-backend:x:61235:61236::/:/bin/false\n" if kind == "passwd" else "vtool:x:61236:\n"
                    )
            stack.callback(machine.off)
            self.clear(name, "vtool")
        self._write_inventories(folder)

    def clear(self, name: str, tool: str) -> None:
        """Take away what a tool put on a machine; for vtool the machine starts anew with an empty boot partition.

        It is removed at the end of all: ext4 searches long for an inode among those that were deleted lately, and that
        would be measured.
        """
        machine = self.machines[name]
        gone = Path(tempfile.mkdtemp(dir=machine.folder, prefix="gone-"))

        def take_away(path: Path) -> None:
            if path.exists():
                path.rename(gone / path.name)

        if tool not in ("vtool", "older"):
            take_away(machine.folder / "lib" / tool)
            return
        machine.off()
        boot_set = self.source.staged[name].generation["boot_set"]
        if self.older and tool == "older":
            boot_set = self.older.boot_sets[name]
        (machine.folder / "cmdline").write_text(f"vtool.boot={boot_set}\n")
        take_away(machine.folder / "lib" / "vtool")
        for folder in ("run", "sbin", "systemd"):
            take_away(machine.folder / folder)
            (machine.folder / folder).mkdir()
        (machine.folder / "run" / "boot-state").write_bytes(bytes(2 * MIB))
        for program, text in STAND_INS.items():
            (machine.folder / "sbin" / program).write_text(f"#!/bin/sh\n{text}")
            (machine.folder / "sbin" / program).chmod(0o755)
        machine.on()

    def processor_time(self) -> float:
        """Return the processor seconds of all programs that this one ran to their end, and of the machines."""
        time.sleep(_LAST_S)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime + sum(machine.processor_s() for machine in self.machines.values())

    def arrived(self, name: str, tool: str) -> Path:
        """Return the folder on a machine that has a tool's files of place ``generation``."""
        lib = self.machines[name].folder / "lib"
        if tool != "vtool":
            return lib / tool / "generation"
        return lib / "vtool" / "generations" / str(self.source.staged[name].generation["generation"])

    def check(self, tool: str) -> None:
        """End the program if a board has other files than the source."""
        for name in self.machines:
            wanted, found = self.source.files / name / "generation", self.arrived(name, tool)
            for path in (path.relative_to(wanted) for path in wanted.rglob("*") if path.is_file()):
                there = found / path
                if not there.is_file() or not filecmp.cmp(wanted / path, there, shallow=False):
                    raise SystemExit(f"{tool} did not bring {path} to {name} as it is")

    def warm(self, tool: str) -> None:
        """Read what a tool brought before, so that no tool meets colder pages than the next."""
        for machine in self.machines.values():
            for path in (machine.folder / "lib" / tool).rglob("*"):
                if path.is_file() and not path.is_symlink():
                    with path.open("rb", buffering=0) as stream:
                        while stream.read(MIB):
                            pass

    def _write_inventories(self, folder: Path) -> None:
        vtool, ansible, ssh, pyinfra = {}, {}, "", []
        for name, machine in self.machines.items():
            known, identity, port = folder / name / "known_hosts", str(machine.identity), machine.port
            known.write_text(f"[{machine.address}]:{port} {machine.host_key}\n")
            ssh += (
                f"Host {name}\n HostName {machine.address}\n Port {port}\n User root\n IdentityFile {identity}\n"
                f" UserKnownHostsFile {known}\n BatchMode yes\n StrictHostKeyChecking yes\n"
            )
            vtool[name] = {
                "driver": "ssh",
                "facts": str(self.source.folder / "facts.yaml"),
                "host": machine.address,
                "port": port,
                "host_key": machine.host_key,
                "identity_file": identity,
                "device_tree": str(self.source.folder / "base.dtb"),
            }
            ansible[name] = {"ansible_python_interpreter": "/usr/bin/python3"}
            of_pyinfra = {"ssh_hostname": machine.address, "ssh_port": port, "ssh_user": "root", "ssh_key": identity}
            pyinfra.append((name, {**of_pyinfra, "ssh_known_hosts_file": str(known)}))
        (folder / "ssh_config").write_text(ssh)
        (folder / "vtool.yaml").write_text(json.dumps({"version": 1, "boards": vtool}))
        (folder / "ansible.yaml").write_text(json.dumps({"all": {"hosts": ansible}}))
        (folder / "pyinfra_boards.py").write_text(f"boards = {pyinfra!r}\n")


# ---------------------------------------------------------------- the tools


def run(command: Sequence[str | Path], **environment: str) -> None:
    """Run a command to its end; ends the program with its words when it fails."""
    # Python may keep what it compiled, as it does where tools are installed.
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=inherited | environment)
    if done.returncode != 0:
        words = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise SystemExit(f"{words}\n{Path(command[0]).name} failed with {done.returncode}")


def own_folders(folder: Path) -> dict[str, str]:
    """Return the environment of a vtool whose boards are its own, whatever theirs are called elsewhere."""
    return {"VTOOL_STATE": str(folder / "state"), "XDG_RUNTIME_DIR": str(folder)}


def tools(folder: Path, source: Source, older: Older | None) -> dict[str, Tool]:
    """Return how each tool pushes the source to the whole fleet."""
    ssh = ["ssh", "-F", str(folder / "ssh_config")]

    def side_by_side(command_for: Callable[[str], str]) -> None:
        with ThreadPoolExecutor(len(source.names)) as pool:
            list(pool.map(lambda name: run(["bash", "-o", "pipefail", "-c", command_for(name)]), source.names))

    def vtool() -> None:
        words = [source.folder / "topology.yaml", folder / "vtool.yaml"]
        run([sys.executable, "-m", "benchmarks.push", *words], **own_folders(folder))

    def tar() -> None:
        unpack = "mkdir -p /var/lib/tar && tar -x -C /var/lib/tar"
        side_by_side(lambda name: f"tar -c -C {source.files / name} . | {' '.join(ssh)} {name} '{unpack}'")

    def rsync() -> None:
        side_by_side(lambda name: f"rsync -a -e '{' '.join(ssh)}' {source.files / name}/ {name}:/var/lib/rsync/")

    def ansible() -> None:
        run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", folder / "ansible.yaml", folder / "plain.yaml"],
            ANSIBLE_FORKS=str(len(source.names)),
            ANSIBLE_PIPELINING="True",
            ANSIBLE_SSH_ARGS=f"-F {folder}/ssh_config -o ControlMaster=auto -o ControlPersist=60s",
            ANSIBLE_SSH_CONTROL_PATH_DIR=tempfile.mkdtemp(dir=folder, prefix="cp"),
        )

    def pyinfra() -> None:
        run([peer("pyinfra"), "-y", folder / "pyinfra_boards.py", folder / "pyinfra_push.py"])

    def push_older() -> None:
        assert older is not None
        run(older.command(), **own_folders(folder))

    return {"vtool": vtool, "older": push_older, "tar": tar, "rsync": rsync, "ansible": ansible, "pyinfra": pyinfra}


def write_scripts(folder: Path, source: Source) -> None:
    """Write the playbook and pyinfra's script for the set of files as it is now; boards differ in names only."""
    first = source.names[0]
    files = sorted(str(p.relative_to(source.files / first)) for p in (source.files / first).rglob("*") if p.is_file())
    names = [name.replace(first, "BOARD") for name in files]
    folders = sorted({str(Path(name).parent) for name in names})

    def templated(name: str) -> str:
        return name.replace("BOARD", "{{ inventory_hostname }}")

    tasks: list[dict[str, object]] = [
        {"file": {"path": f"/var/lib/ansible/{templated(name)}", "state": "directory"}} for name in folders
    ]
    for name in names:
        target = f"/var/lib/ansible/{templated(name)}"
        if name.endswith("g0.cfg"):
            tasks.append({"template": {"src": f"{source.templates}/{templated('BOARD')}", "dest": target}})
        else:
            tasks.append({"copy": {"src": f"{source.files}/{templated('BOARD/' + name)}", "dest": target}})
    play = {"hosts": "all", "gather_facts": False, "vars": {"memory": source.memory_mib}, "tasks": tasks}
    (folder / "plain.yaml").write_text(json.dumps([play]))
    (folder / "pyinfra_push.py").write_text(
        "from pyinfra import host\nfrom pyinfra.operations import files\n\n"
        f"for name in {names!r}:\n"
        '    name = name.replace("BOARD", host.name)\n'
        f'    files.put(src=f"{source.files}/{{host.name}}/{{name}}", dest=f"/var/lib/pyinfra/{{name}}")\n'
    )


# ---------------------------------------------------------------- measuring


def timed(tool: Tool, fleet: Fleet) -> float:
    """Return the seconds of one push; what others left to be written is written before."""
    os.sync()
    begin = fleet.clock()
    tool()
    return fleet.clock() - begin


def small_files(fleet: Fleet, folder: Path, chosen: dict[str, Tool], runs: int) -> Iterator[tuple[str, str, float]]:
    """Yield situation, tool and seconds: fresh, nothing changed, one configuration file changed."""
    for order in turns(chosen, runs):
        for name in order:
            for board in fleet.source.names:
                fleet.clear(board, name)
            for situation, memory in (("fresh", 0), ("nothing changed", 0), ("one file changed", 32)):
                fleet.source.write(memory_mib=MEMORY_MIB + memory)
                write_scripts(folder, fleet.source)
                if fleet.older:
                    fleet.older.write()
                yield situation, name, timed(chosen[name], fleet)
                if name != "older":  # it has files of its own
                    fleet.check(name)
            for board in fleet.source.names:
                fleet.clear(board, name)


def large_image(
    fleet: Fleet, folder: Path, chosen: dict[str, Tool], runs: int, mib: int
) -> Iterator[tuple[str, str, float]]:
    """Yield situation, tool and seconds: an image of which one MiB changed; it was there before."""
    source = fleet.source
    source.make_image(mib)
    source.write()
    write_scripts(folder, source)
    chosen = {name: tool for name, tool in chosen.items() if name != "older"}
    for name, tool in chosen.items():
        if name == "vtool":
            for board in source.names:
                fleet.clear(board, "vtool")
            tool()
            continue
        for board in source.names:
            shutil.copytree(source.files / board, fleet.machines[board].folder / "lib" / name)
    for order in turns(chosen, runs):
        source.change_image()
        source.write()
        for name in order:
            fleet.warm(name)
            yield "image changed", name, timed(chosen[name], fleet)
            fleet.check(name)


def turns(chosen: dict[str, Tool], runs: int) -> Iterator[list[str]]:
    """Yield an order of the tools for each run, each beginning with another one."""
    names = list(chosen)
    for turn in range(runs):
        yield names[turn % len(names) :] + names[: turn % len(names)]


@dataclass(frozen=True)
class Aim:
    """What is aimed at: vtool's time over a peer's, at most."""

    situation: str
    tool: str
    most: float


AIMS = (
    Aim("fresh", "tar", 1.3),
    Aim("nothing changed", "tar", 1.0),
    Aim("nothing changed", "pyinfra", 0.5),
    Aim("image changed", "rsync", 1.2),
)


def show(seconds: Seconds, chosen: Sequence[str]) -> None:
    """Print medians, ratios and what became of the aims."""
    median = {key: statistics.median(values) for key, values in seconds.items()}
    situations = list(dict.fromkeys(situation for situation, _ in seconds))
    print(f"\n{'seconds':18}" + "".join(f"{name:>10}" for name in chosen))
    for situation in situations:
        print(f"{situation:18}" + "".join(f"{median.get((situation, name), math.nan):>10.2f}" for name in chosen))
    peers = [name for name in chosen if name != "vtool"]
    if "vtool" not in chosen or not peers:
        return
    if "older" in peers and "tar" in peers:
        print("\nolder / tar")
        for situation in situations:
            print(f"{situation:18}{median.get((situation, 'older'), math.nan) / median[situation, 'tar']:>10.2f}")
    print(f"\n{'vtool / peer':18}{'':10}" + "".join(f"{name:>10}" for name in peers))
    for situation in situations:
        ratios = [median[situation, "vtool"] / median.get((situation, name), math.nan) for name in peers]
        print(f"{situation:18}{'':10}" + "".join(f"{ratio:>10.2f}" for ratio in ratios))
    print()
    for aim in AIMS:
        if (aim.situation, aim.tool) in median:
            ratio = median[aim.situation, "vtool"] / median[aim.situation, aim.tool]
            word = "met" if ratio <= aim.most else "not met"
            print(f"aim: {aim.situation}, at most {aim.most} x {aim.tool}: {ratio:.2f}, {word}")


def versions() -> str:
    """Return the versions of all that is measured."""

    def said(*command: str | Path) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return (done.stdout + done.stderr).splitlines()[0].split(",")[0]

    found = [f"vtool {version('vtool')}", f"ansible-core {version('ansible-core')}"]
    found += [said(peer("pyinfra"), "--version"), " ".join(said("rsync", "--version").split()[:3])]
    return ", ".join([*found, said("tar", "--version"), said("ssh", "-V"), f"Python {sys.version.split()[0]}"])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--image-mib", type=int, default=300, help="0 leaves that situation out")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="an older checkout: one more tool")
    parser.add_argument("--processor-time", action="store_true", help="of all processes, boards' too; not wall time")
    parser.add_argument("--tool", choices=TOOLS, action="append", help="only this one (repeatable)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("/var/tmp"),  # noqa: S108
        help="on the root file system, as vtool wants",
    )
    arguments = parser.parse_args()
    if reason := why_not():
        raise SystemExit(reason)
    chosen = [name for name in arguments.tool or TOOLS if name != "older" or arguments.against]
    with (
        tempfile.TemporaryDirectory(prefix="vtool-fleet-", dir=arguments.folder) as text,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(text)
        folder.chmod(0o755)
        source = Source(folder, arguments.boards)
        source.write()
        fleet = Fleet(folder, source, stack)
        fleet.clock = fleet.processor_time if arguments.processor_time else fleet.clock
        files = source.staged["b0"].files
        print(time.strftime("%Y-%m-%d"), " ".join(["python -m benchmarks.fleet", *sys.argv[1:]]))
        print(versions())
        print(
            f"{arguments.boards} boards of {len(files)} files and {sum(f.size_bytes for f in files) / MIB:.1f} MiB, "
            f"{os.cpu_count()} processors; image of {arguments.image_mib} MiB; median of {arguments.runs}"
        )
        if arguments.against:
            fleet.older = Older(folder, arguments.against)
            fleet.older.learn_boot_sets(fleet.machines, quietly(os.environ | own_folders(folder)))
        ways = {name: way for name, way in tools(folder, source, fleet.older).items() if name in chosen}
        seconds: Seconds = {}
        measured = [small_files(fleet, folder, ways, arguments.runs)]
        if arguments.image_mib:
            measured.append(large_image(fleet, folder, ways, arguments.runs, arguments.image_mib))
        for situation, name, spent in (found for part in measured for found in part):
            seconds.setdefault((situation, name), []).append(spent)
            print(f"  {situation}, {name}: {spent:.2f}", file=sys.stderr, flush=True)
        show(seconds, [name for name in TOOLS if name in ways])


if __name__ == "__main__":
    main()
