"""Boards over ssh, against a real sshd and a real sudo on loopback: keys, root's rights, base tree, power."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from vtool.board.inventory import Inventory
from vtool.board.protocols import Board
from vtool.board.shell import open_shell
from vtool.deploy import board_lock
from vtool.deploy.asking import ON_BOARD
from vtool.deploy.board_check import checked
from vtool.deploy.board_lock import HeldCommands, hold
from vtool.deploy.board_program import board_program
from vtool.deploy.for_installation import look
from vtool.deploy.on_board import delta
from vtool.deploy.tasks import told_by
from vtool.deploy.transfer import bases_of, transfer
from vtool.diagnostics import VtoolError
from vtool.model.board_facts import LIVE_TREE
from vtool.platform.devicetree import read_blob

from .machine import USER, Machine, make_key

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "reach-boards.md"


def documented_sudoers() -> str:
    return next(block for block in HOW_TO.read_text().split("```") if "NOPASSWD" in block).strip() + "\n"


def inventory(machine: Machine, **changes: Any) -> Path:
    entry = {
        "driver": "ssh",
        "facts": "qemu-virt",
        "host": "127.0.0.1",
        "port": machine.port,
        "host_key": machine.host_key,
        "identity_file": str(machine.identity),
    }
    entry |= changes
    path = machine.folder / "inventory.yaml"
    boards = {"rack1": {key: value for key, value in entry.items() if value is not None}}
    path.write_text(json.dumps({"version": 1, "boards": boards}))
    return path


def board(machine: Machine, **changes: Any) -> Board:
    return Inventory(inventory(machine, **changes)).board("rack1")


def observe(reached: Board) -> Any:
    """Hold the board, and look: the board's program is put in place, and observes nothing."""
    with hold(reached) as held:
        return held.run("observe", stdin='{"steps": []}')


def refusal(act: Any, *arguments: Any) -> VtoolError:
    with pytest.raises(VtoolError) as caught:
        act(*arguments)
    return caught.value


def whoami(reached: Board) -> str:
    with open_shell(reached) as shell:
        return shell.run("whoami").stdout.strip()


def vtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vtool.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=os.environ)


@pytest.mark.parametrize("user", ["root", USER])
def test_both_ways_in_prove_both_ends(machine: Machine, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.allow(documented_sudoers())
    machine.on()
    assert whoami(board(machine, user=user)) == user
    assert observe(board(machine, user=user)) == {"results": {}}
    assert (machine.folder / "sbin" / "vtool-board").read_bytes() == board_program()

    other = make_key(machine.folder / "other")
    wrong = board(machine, user=user, host_key=other)
    assert refusal(whoami, wrong).diagnostics[0].code == "VT604"
    assert refusal(observe, wrong).diagnostics[0].code == "VT604"

    known = machine.folder / "known hosts"
    known.write_text(f"[127.0.0.1]:{machine.port} {machine.host_key}\n")
    pinned = board(machine, user=user, host_key=None, known_hosts_file=str(known))
    assert whoami(pinned) == user and observe(pinned) == {"results": {}}
    known.write_text(f"[127.0.0.1]:{machine.port + 1} {machine.host_key}\n")
    assert refusal(whoami, pinned).diagnostics[0].code == "VT618"

    without = board(machine, user=user, identity_file=None)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert refusal(whoami, without).diagnostics[0].code == "VT603"
    said = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    for name, value in re.findall(r"(\w+)=([^;]+);", said):
        monkeypatch.setenv(name, value)
    try:
        subprocess.run(["ssh-add", "-q", str(machine.identity)], check=True, capture_output=True)
        assert whoami(without) == user and observe(without) == {"results": {}}
    finally:
        subprocess.run(["ssh-agent", "-k"], check=True, capture_output=True)


def test_a_board_without_systemd_is_left_as_it_is(machine: Machine) -> None:
    machine._mounts = "rmdir /run/systemd/system /run/systemd"
    machine.on()
    before = sorted(path.relative_to(machine.folder) for path in machine.folder.rglob("*"))
    assert refusal(observe, board(machine)).diagnostics[0].code == "VT456"
    topology = machine.folder / "t.yaml"
    topology.write_text(
        "version: 1\nname: t\nboards: {rack1: {facts: qemu-virt, watchdog: false, hypervisor: {kind: kvm}}}\n"
        "domains: {host: {role: control, kernel: board}}\n"
    )
    done = vtool("deploy", topology, "--inventory", inventory(machine))
    assert done.returncode == 3 and "error[VT456]: the init of board 'rack1' is not systemd" in done.stderr, done.stderr
    (machine.folder / "log").touch()
    ours = {Path("t.yaml"), Path("inventory.yaml"), Path("t.lock.yaml")}
    after = {
        path.relative_to(machine.folder) for path in machine.folder.rglob("*") if "state of vtool" not in str(path)
    }
    assert after - ours <= {*before}, "neither vtool-board nor a lock"


def test_a_minimal_board_has_busyboxs_tools(machine: Machine) -> None:
    tools = machine.folder / "tools"
    tools.mkdir()
    busybox = Path(shutil.which("busybox") or "").resolve()
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in {*applets} - {"sh", "ash"}:
        (tools / name).symlink_to(busybox)
    # Whatever is looked for on the path is found there first; the shell that sshd starts is busybox's, too.
    machine._mounts = f'mount --bind "$1/tools" /usr/local/bin; mount --bind {busybox} /bin/sh'
    machine.on()
    with open_shell(board(machine)) as shell:
        assert "BusyBox" in shell.run("sha256sum --help 2>&1").stdout
    assert observe(board(machine)) == {"results": {}}
    assert (machine.folder / "sbin" / "vtool-board").read_bytes() == board_program()


def test_a_board_without_vtool_is_held_only_to_be_changed(machine: Machine) -> None:
    machine.on()
    reached, installed = board(machine), machine.folder / "sbin" / "vtool-board"
    error = refusal(lambda: hold(reached, if_there=True).__enter__())
    assert error.diagnostics[0].code == "VT703" and not installed.exists()
    with hold(reached):
        pass
    installed.write_text("#!/bin/sh\nexit 1\n")
    with hold(reached, if_there=True) as held:
        assert held.run("state")["deployed"] is None, "what is there is made right"


def test_the_program_is_compiled_once_a_boot(machine: Machine) -> None:
    machine.on()
    with hold(board(machine)) as held:
        assert held.run("state")["deployed"] is None
    (folder,) = (machine.folder / "run").glob("vtool-board-*")
    compiled = {path.name.split(".")[0] for path in folder.glob("on_board/__pycache__/*.pyc")}
    assert {"program", "domains", "generations"} <= compiled
    assert "observe" not in compiled, "a verb's module is read when the verb runs"
    with open_shell(board(machine)) as shell:
        (folder / "on_board" / "program.py").write_text("main = lambda: print('out of the folder')\n")
        assert shell.run(f"{ON_BOARD} state").stdout == "out of the folder\n"
        shutil.rmtree(folder)
        folder.touch()
        assert json.loads(shell.run(f"{ON_BOARD} state").stdout)["deployed"] is None, "it runs without one, too"


@pytest.mark.parametrize("user", ["root", USER])
def test_the_program_is_sent_to_a_board_that_lacks_it_and_takes_its_place_whole(
    machine: Machine, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.allow(documented_sudoers())
    machine.on()
    reached, installed = board(machine, user=user), machine.folder / "sbin" / "vtool-board"
    observe(reached)
    inode = installed.stat().st_ino
    program = board_lock.sent_program()
    lost = dataclasses.replace(program, packed=b"")
    monkeypatch.setattr(board_lock, "sent_program", lambda: lost)
    observe(reached)
    assert installed.stat().st_ino == inode, "it is there, and nothing is sent"

    installed.write_text("#!/bin/sh\nexit 1\n")
    damaged = gzip.compress(gzip.decompress(program.packed)[:-1])
    for wrong in (damaged, program.packed[: len(program.packed) // 2]):
        broken = dataclasses.replace(program, packed=wrong)
        monkeypatch.setattr(board_lock, "sent_program", lambda broken=broken: broken)
        assert refusal(observe, reached).diagnostics[0].code == "VT603"
        assert installed.read_text() == "#!/bin/sh\nexit 1\n"
    monkeypatch.undo()
    monkeypatch.setenv("VTOOL_STATE", str(machine.folder / "state of vtool"))
    assert observe(reached) == {"results": {}}
    assert installed.read_bytes() == board_program() and installed.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("user", ["root", USER])
def test_a_held_board_is_asked_and_given_files_through_one_connection(machine: Machine, user: str) -> None:
    machine.allow(documented_sudoers())
    machine.on()
    reached = board(machine, user=user)
    data = b"an object".ljust(1024)  # blocks of a tar
    name = hashlib.sha256(data).hexdigest()
    (machine.folder / name).write_bytes(data)
    with hold(reached) as held:
        assert held.run("state")["deployed"] is None
        assert refusal(held.run, "confirm", "nosuch").diagnostics[0].code == "VT717"
        broken = refusal(lambda: held.run("compare", stdin="{")).diagnostics[0]
        assert broken.code == "VT704" and "JSONDecodeError" in broken.message
        assert held.run("state")["lock"]["token"] == held.token, "a verb that breaks does not end the hold"
        assert refusal(lambda: hold(reached).__enter__()).diagnostics[0].code == "VT605"
        assert held.run("receive", stdin=transfer({name: machine.folder / name}, {}))["received_bytes"] == len(data)
        assert held.run("state")["lock"]["token"] == held.token, "all that was sent was read"
        for cut in ([], [b"no tar"], [bytes(range(256)) * 4096]):
            assert refusal(lambda pieces=cut: held.run("receive", stdin=pieces)).diagnostics[0].code == "VT707"
        for missing in ({name: machine.folder / "none"}, {"0": machine.folder / name, name: machine.folder / "none"}):
            with pytest.raises(FileNotFoundError):
                held.run("receive", stdin=transfer(missing, {}))
            assert held.run("state")["lock"]["token"] == held.token, "what breaks here does not, either"
        assert (machine.folder / "lib" / "vtool" / "store" / name).read_bytes() == data
        machine.off()
        held.reached.process.kill()  # as when the connection breaks
        gone = [refusal(held.run, "state").diagnostics[0] for _ in range(2)]
    assert all(error.code == "VT603" and "the connection that holds it ended" in error.message for error in gone)


def older_generation(machine: Machine, files: list[dict[str, Any]]) -> None:
    """Make these files the generation that runs on the machine."""
    folder = machine.folder / "lib" / "vtool" / "generations" / "older"
    folder.mkdir(parents=True)
    (folder / "generation.json").write_text(json.dumps(generation("older", files)))
    (machine.folder / "run" / "vtool-current").symlink_to("/var/lib/vtool/generations/older")


def generation(identity: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    boot = {"mount": "/dev/shm", "state_device": "", "state_sector": 0}
    names = {"topology": "t", "generation": identity, "boot_set": f"set-{identity}"}
    return {**names, "boot": boot, "files": files, "units": {}, "disks": []}


def file_of(name: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    place = {"place": "generation", "mode": 0o644, "used_by": []}
    return {**place, "name": name, "sha256": digest, "size_bytes": len(data)}


@pytest.mark.parametrize("user", ["root", USER])
@pytest.mark.parametrize("spoil", ["nothing", "base before", "base after", "stream"])
def test_a_large_object_is_sent_by_what_differs_and_never_arrives_wrong(
    machine: Machine, user: str, spoil: str
) -> None:
    machine.allow(documented_sudoers())
    machine.on()
    old = Random(1).randbytes(64 << 20)
    place, length = 20 * delta.PAGE_BYTES, 1 << 20
    new = old[:place] + Random(2).randbytes(length) + old[place + length :]
    was, wanted = file_of("disk.img", old), file_of("disk.img", new)
    store, objects = machine.folder / "lib" / "vtool" / "store", machine.folder / "objects"
    for folder, file, data in ((store, was, old), (objects, wanted, new)):
        folder.mkdir(parents=True)
        (folder / file["sha256"]).write_bytes(data)
    older_generation(machine, [was, file_of("entry.scr", b"")])
    # The generation's file is another name of the object: it may never be written to.
    linked = machine.folder / "lib" / "vtool" / "generations" / "older" / "disk.img"
    linked.hardlink_to(store / was["sha256"])

    def spoil_base() -> None:
        with (store / was["sha256"]).open("r+b") as stream:
            stream.seek(len(old) // 2)
            stream.write(bytes([old[len(old) // 2] ^ 1]))

    with hold(board(machine, user=user)) as held:

        def stream() -> bytes:
            """Return what is sent."""
            compared = held.run("compare", stdin=json.dumps(generation("newer", [wanted])))
            missing = {digest: objects / digest for digest in compared["missing"]}
            return b"".join(transfer(missing, bases_of(missing, compared["bases"], told_by(held))))

        if spoil == "base before":
            spoil_base()
        first = stream()
        more = 2 if spoil == "base before" else 1  # blocks
        assert length <= len(first) <= length + more * delta.PAGE_BYTES
        if spoil == "base after":
            spoil_base()
        if spoil in ("base after", "stream"):
            sent = [first[: len(first) // 2] if spoil == "stream" else first]
            assert refusal(lambda: held.run("receive", stdin=sent)).diagnostics[0].code == "VT707"
            assert [path.name for path in store.iterdir()] == [was["sha256"]]
            first = stream()
            assert length <= len(first) <= length + 2 * delta.PAGE_BYTES
        held.run("receive", stdin=[first])
    assert (store / wanted["sha256"]).read_bytes() == new
    if spoil in ("nothing", "stream"):
        assert linked.read_bytes() == old
    assert linked.stat().st_nlink == 2


def test_sudo_is_used_for_what_is_documented_and_for_nothing_else(machine: Machine) -> None:
    sudoers = documented_sudoers()
    (machine.folder / "line").write_text(sudoers)
    subprocess.run(["visudo", "-c", "-q", "-f", str(machine.folder / "line")], check=True)
    machine.allow(sudoers)
    (machine.folder / "sbin" / "vtool-board").touch(0o755)
    machine.on()
    reached = board(machine, user=USER)
    allowed = [
        line.split(maxsplit=2)[2] if line.startswith(USER) else line
        for line in re.findall(r"[^,\\\n]+", sudoers.replace(" NOPASSWD:", ""))
    ]
    with open_shell(reached) as shell:
        for line in filter(None, (words.strip().removeprefix("ALL=(root) ") for words in allowed)):
            assert shell.run(f"sudo -n -l {line.removeprefix('/usr/bin/')}").code == 0, line
        for line in ("id", "sh -c id", "systemctl stop ssh", "install -m 0755 /dev/stdin /usr/sbin/x"):
            with pytest.raises(VtoolError, match="VT626"):
                shell.run(f"sudo -n {line}")


@pytest.mark.parametrize("user", ["root", USER])
def test_a_board_is_checked_with_no_more_rights_than_are_documented(machine: Machine, user: str) -> None:
    machine.allow(documented_sudoers())
    source = machine.folder / "board.dts"
    source.write_text(
        '/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; compatible = "maker,board"; '
        'memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0xc0000000>; }; };'
    )
    blob = subprocess.run(["dtc", "-q", "-O", "dtb", str(source)], capture_output=True, check=True).stdout
    (machine.folder / "firmware" / "fdt").write_bytes(blob)
    machine.on()
    reached = board(machine, user=user)
    with open_shell(reached) as shell:
        lines = {line.check: line for line in checked(reached, shell)}
    verdicts = {name: line.verdict.value for name, line in lines.items()}
    assert [verdicts[name] for name in ("systemd", "clock", "device tree", "load addresses")] == ["ok"] * 4
    assert (verdicts["boot state"] == "unknown") is (user == USER)
    with hold(reached) as held:
        found = look(HeldCommands(held))
    assert found.words["user"] == "0" and found.command_line("console") == "ttyS0" and found.root is not None


def test_a_user_without_sudo_is_told(machine: Machine) -> None:
    machine.on()
    reached = board(machine, user=USER)
    for error in (refusal(observe, reached), refusal(reached.base_device_tree)):
        assert error.diagnostics[0].code == "VT626" and error.exit_code.value == 3
        assert any(line.startswith("sudo:") for line in error.diagnostics[0].detail)


def test_the_base_tree_is_the_firmwares(machine: Machine) -> None:
    machine.allow(documented_sudoers())
    machine.on()
    live, cmdline = machine.folder / "firmware" / "fdt", machine.folder / "cmdline"

    def boots(seed: int, more: str = "") -> None:
        chosen = f'chosen {{ kaslr-seed = <0 {seed}>; bootargs = "{seed}"; a = <1>; }};'
        source = f"/dts-v1/; / {{ {chosen} {more} }};"
        done = subprocess.run(["dtc", "-q", "-O", "dtb"], input=source.encode(), capture_output=True, check=True)
        live.write_bytes(done.stdout)

    reached = board(machine, user=USER)
    error = refusal(reached.base_device_tree).diagnostics[0]
    assert error.code == "VT620" and LIVE_TREE in error.message
    cmdline.write_text("vtool.boot=abc\n")
    assert "no tree was read from it before" in refusal(reached.base_device_tree).diagnostics[0].message

    cmdline.write_text("vtool.boot=factory\n")
    boots(1)
    tree = reached.base_device_tree()
    assert set(read_blob(tree).root.children["chosen"].properties) == {"a"}
    boots(2)
    assert reached.base_device_tree() == tree
    cmdline.write_text("vtool.boot=abc\n")
    boots(3, "merged { };")
    assert reached.base_device_tree() == tree
    cmdline.write_text("\n")
    boots(4, 'hypervisor { compatible = "xen,xen"; };')
    assert "hypervisor" in refusal(reached.base_device_tree).diagnostics[0].message

    file = machine.folder / "given.dtb"
    file.write_bytes(b"as it is")
    assert board(machine, device_tree="given.dtb").base_device_tree() == b"as it is"


def test_power_and_console_are_commands(machine: Machine) -> None:
    state, log = machine.folder / "power", machine.folder / "console.log"
    log.write_text("one\nPanic!\n")
    secret = "hunter2"
    power = {
        "on": ["touch", str(state)],
        "off": ["sh", "-c", 'rm "$1"', secret, str(state)],
        "status": ["test", "-e", str(state)],
    }
    console = {"log": "console.log", "join": ["echo", "joined"]}
    path = inventory(machine, power=power, console=console)
    assert vtool("board", "power", "on", "rack1", "--inventory", path).stdout == "board 'rack1' is on\n"
    listed = json.loads(vtool("board", "list", "--inventory", path, "--format", "json").stdout)[-1]
    assert (listed["driver"], listed["power"], listed["ssh"]) == ("ssh", "on", f"127.0.0.1:{machine.port}")
    assert vtool("board", "power", "off", "rack1", "--inventory", path).stdout == "board 'rack1' is off\n"
    failed = vtool("board", "power", "off", "rack1", "--inventory", path)
    assert failed.returncode == 3 and "VT619" in failed.stderr and "No such file" in failed.stderr
    assert secret not in failed.stderr
    assert "joined" in vtool("board", "console", "rack1", "--inventory", path).stdout

    def look() -> None:
        with open_shell(Inventory(path).board("rack1"), deadline_s=10):
            pass

    silent = refusal(look).diagnostics[0]
    assert silent.code == "VT603" and "it is off" in silent.message
    assert silent.detail[-1] == "Panic!" and "vtool board console rack1" in silent.hints[0]


def test_a_board_is_waited_for_as_long_as_its_facts_say(machine: Machine) -> None:
    facts = machine.folder / "slow.yaml"
    text = (ROOT / "topology/boards/qemu-virt.yaml").read_text()
    facts.write_text(text.replace("  root_device:", "  timeout_s: 11\n  root_device:"))
    machine.off()
    failed = vtool("board", "up", "rack1", "--inventory", inventory(machine, facts=str(facts)))
    assert failed.returncode == 3 and "VT603" in failed.stderr and "within 11 s" in failed.stderr


def test_a_connection_that_ends_is_said(machine: Machine) -> None:
    machine.on()
    with open_shell(board(machine)) as shell:
        lost = refusal(shell.run, "kill -9 $PPID").diagnostics[0]
    assert lost.code == "VT603" and "ended while 'kill -9 $PPID' ran" in lost.message


def test_what_a_board_cannot_do_is_said_with_the_place(machine: Machine) -> None:
    machine.on()
    path = inventory(machine)
    for words in (
        ("power", "off", "rack1"),
        ("down", "rack1"),
        ("console", "rack1"),
        ("reserve", "rack1"),
        ("destroy", "rack1"),
        ("write", str(path), "rack1"),
    ):
        done = vtool("board", *words, "--inventory", path)
        assert done.returncode == 1 and f"{path}:1:" in done.stderr and "VT614" in done.stderr, done.stderr
    assert "answers at 127.0.0.1" in vtool("board", "up", "rack1", "--inventory", path).stdout
    listed = json.loads(vtool("board", "list", "--inventory", path, "--format", "json").stdout)[-1]
    assert listed["power"] == "unknown"


def test_a_board_that_cannot_be_asked_does_not_hide_the_others(machine: Machine) -> None:
    known = machine.folder / "hosts"
    known.write_text("")
    path = inventory(machine, host_key=None, known_hosts_file=str(known))
    done = vtool("exec", "--inventory", path, "fe0", "--", "true")
    assert done.returncode == 3 and "VT711" in done.stderr and f"not asked: '{known}' has no key" in done.stderr
    assert "VT618" in vtool("exec", "--inventory", path, "--board", "rack1", "fe0", "--", "true").stderr
