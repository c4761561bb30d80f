"""A board's tree over ssh: OpenSSH's own client against real servers on loopback.

``sshd`` is Debian's, where it is installed; the other is paramiko's, which is there with vtool. Both
have a host key of their own, let one key in, and answer only the one command that vtool may run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from vtool.base.units import AddressRange
from vtool.board.dts import read_tree
from vtool.board.over_ssh import observed, read_over_ssh
from vtool.cli.main import main
from vtool.diagnostics import ExitCode, VtoolError
from vtool.model.board_facts import UBoot
from vtool.model.facts_import import Observed
from vtool.model.load_windows import load_windows
from vtool.model.validate import read_facts

COMMAND = "cat /sys/firmware/fdt"
IOMEM, ACPI = "cat /proc/iomem", "test -d /sys/firmware/acpi/tables"
PROGRAM = f"""
case "$SSH_ORIGINAL_COMMAND" in
"{COMMAND}") test ! -e TREE || exec cat TREE; echo cat: /sys/firmware/fdt: Permission denied >&2; exit 1;;
"{IOMEM}") exec cat TREE.iomem;;
"{ACPI}") exec test -e TREE.acpi;;
"/bin/sh -c "*) exec cat TREE.installed;;
*) exit 9;;
esac
"""


@dataclass
class Served:
    """What a server gives away: the file is there, or reading it is not permitted."""

    config: Path
    tree: Path


def _key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


_AS_NOBODY_ELSE = """
mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/shadow" /etc/shadow && shift &&
exec unshare --user --map-user=1000 --map-group=1000 -- "$@"
"""


def _sshd_account(folder: Path) -> tuple[str, list[str]]:
    """Return who may log in, and what to start sshd with.

    sshd as root wants a system user of its own; root therefore becomes user 1000 in a namespace where
    the only user is ``board``. Nobody else's /etc changes.
    """
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name, []
    (folder / "passwd").write_text(f"board:x:1000:1000::{folder}:/bin/sh\n")
    (folder / "shadow").write_text("")
    wrapper = ["unshare", "--mount", "--", "sh", "-c", _AS_NOBODY_ELSE, "sh", str(folder)]
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
        pytest.skip("root cannot make namespaces here")
    return "board", wrapper


@contextlib.contextmanager
def _sshd(folder: Path, tree: Path) -> Iterator[tuple[int, str]]:
    program = os.environ.get("VTOOL_TEST_SSHD") or shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("sshd is not installed (openssh-server)")
    user, wrapper = _sshd_account(folder)
    port, script = _free_port(), folder / "command.sh"
    script.write_text(PROGRAM.replace("TREE", str(tree)))
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nPasswordAuthentication no\nForceCommand /bin/sh {script}\n"
    )
    command = [*wrapper, str(program), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            _wait_for(port, lambda: process.poll() is None, folder / "log")
            yield port, user
        finally:
            process.terminate()


def _wait_for(port: int, runs: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and runs():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail(f"the server does not listen: {log.read_text()}")


class _Server(paramiko.ServerInterface):
    def __init__(self, user: paramiko.PKey, tree: Path) -> None:
        self._user, self._tree = user, tree

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if key == self._user else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._answer, args=(channel, command.decode())).start()
        return True

    def _answer(self, channel: paramiko.Channel, command: str) -> None:
        try:
            there = {COMMAND: self._tree, IOMEM: Path(f"{self._tree}.iomem"), ACPI: Path(f"{self._tree}.acpi")}
            if command.startswith("/bin/sh -c "):
                channel.sendall(Path(f"{self._tree}.installed").read_bytes())
                channel.send_exit_status(0)
            elif command not in there:
                channel.send_exit_status(9)
            elif there[command].exists():
                channel.sendall(b"" if command == ACPI else there[command].read_bytes())
                channel.send_exit_status(0)
            else:
                channel.sendall_stderr(b"cat: /sys/firmware/fdt: Permission denied\n")
                channel.send_exit_status(1)
        finally:
            channel.close()


@contextlib.contextmanager
def _paramiko(folder: Path, tree: Path) -> Iterator[tuple[int, str]]:
    host = paramiko.Ed25519Key(filename=str(folder / "host"))
    user = paramiko.Ed25519Key(filename=str(folder / "user"))
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    transport = paramiko.Transport(listener.accept()[0])
                    transports.append(transport)
                    transport.add_server_key(host)
                    with contextlib.suppress(paramiko.SSHException, EOFError):
                        transport.start_server(server=_Server(user, tree))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1]), "root"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for transport in transports:
        transport.close()


@pytest.fixture(params=[_sshd, _paramiko], ids=["sshd", "paramiko"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    host, user = _key(tmp_path / "host"), _key(tmp_path / "user")
    tree, config = tmp_path / "tree", tmp_path / "ssh_config"
    with request.param(tmp_path, tree) as (port, name):
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {host.with_suffix('.pub').read_text()}")
        config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {name}\n  IdentityFile {user}\n"
            f"  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n  UserKnownHostsFile {known}\n"
        )
        yield Served(config, tree)


def _refusal(served: Served) -> VtoolError:
    with pytest.raises(VtoolError) as caught:
        read_over_ssh("board", served.config)
    return caught.value


def test_the_tree_of_a_running_board(served: Served, tmp_path: Path) -> None:
    error = _refusal(served)
    assert (error.diagnostics[0].code, error.exit_code) == ("VT816", ExitCode.BOARD_FAILED)
    assert error.diagnostics[0].detail == ("cat: /sys/firmware/fdt: Permission denied",)
    assert error.diagnostics[0].hints == ("only root may read /sys/firmware/fdt",)

    served.tree.write_bytes(b"not a tree")
    assert _refusal(served).diagnostics[0].code == "VT801"

    source = tmp_path / "board.dts"
    source.write_text('/dts-v1/; / { model = "over ssh"; a { b = <1>; }; };')
    blob = subprocess.run(["dtc", "-q", "-O", "dtb", str(source)], capture_output=True, check=True).stdout
    served.tree.write_bytes(blob)
    got, memory = read_over_ssh("board", served.config)
    assert memory is None
    assert [node.path for node in got.root.walk()] == [node.path for node in read_tree(source).root.walk()]
    assert got.root.string("model") == "over ssh"

    known = served.config.with_name("known_hosts")
    known.write_text(known.read_text().split()[0] + " " + served.config.with_name("user.pub").read_text())
    error = _refusal(served)
    assert error.diagnostics[0].code == "VT816" and any(
        "verification failed" in line for line in error.diagnostics[0].detail
    )


def _blob(folder: Path, chosen: str, more: str = "") -> bytes:
    source = folder / "uefi.dts"
    source.write_text(f"/dts-v1/; / {{ #address-cells = <2>; #size-cells = <2>; chosen {{ {chosen} }}; {more} }};")
    return subprocess.run(["dtc", "-q", "-O", "dtb", str(source)], capture_output=True, check=True).stdout


IOMEM_TEXT = """\
09000000-09000fff : 9000000.pl011 pl011@9000000
  09000000-09000fff : 9000000.pl011 pl011@9000000
40000000-7fffffff : System RAM
  40210000-41bcffff : Kernel code
  42c50000-42ffffff : Kernel data
  48000000-480effff : reserved
80000000-8000ffff : reserved
80010000-bfffffff : System RAM
  bf000000-bfffffff : reserved
4010000000-401fffffff : PCI ECAM
"""


def test_memory_that_uefi_alone_knows_is_the_running_kernels(served: Served, tmp_path: Path) -> None:
    served.tree.write_bytes(_blob(tmp_path, "linux,uefi-mmap-start = <0 1>;"))
    assert read_over_ssh("board", served.config)[1] is None  # it cannot be read
    Path(f"{served.tree}.iomem").write_text(IOMEM_TEXT)
    memory = read_over_ssh("board", served.config)[1]
    assert memory == Observed(
        ram=(AddressRange(0x4000_0000, 0xC000_0000),),
        reserved=(AddressRange(0x4800_0000, 0x480F_0000), AddressRange(0xBF00_0000, 0xC000_0000)),
        unmapped=(AddressRange(0x8000_0000, 0x8001_0000),),
    )
    assert observed(re.sub(r"[0-9a-f]{8,}", "00000000", IOMEM_TEXT)) is None  # as another user than root sees it


def test_a_board_without_a_tree_that_has_acpi(served: Served) -> None:
    Path(f"{served.tree}.acpi").touch()
    error = _refusal(served)
    assert (error.diagnostics[0].code, error.exit_code) == ("VT803", ExitCode.BOARD_FAILED)
    assert "ACPI" in error.diagnostics[0].message and not any("root" in hint for hint in error.diagnostics[0].hints)


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch x", "-V"])
def test_an_option_is_not_a_host(host: str) -> None:
    with pytest.raises(VtoolError) as caught:
        read_over_ssh(host)
    assert (caught.value.diagnostics[0].code, caught.value.exit_code) == ("VT816", ExitCode.USAGE)


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host board\n  HostName 127.0.0.1\n  Port {_free_port()}\n")
    with pytest.raises(VtoolError) as caught:
        read_over_ssh("board", config)
    assert caught.value.diagnostics[0].code == "VT816" and "refused" in caught.value.diagnostics[0].detail[-1]


INSTALLED = """\
cmdline console=ttyAMA0,115200 root=/dev/mmcblk0p2
mount /dev/mmcblk0p2 / ext4 rw 9000
mount /dev/mmcblk0p1 /boot vfat rw 90000
has /boot extlinux/extlinux.conf
partuuid /dev/mmcblk0p2 c0ffee-02
u-boot U-Boot 2026.07
environment kernel_addr_r 50000000
environment fdt_addr_r 48000000
environment ramdisk_addr_r 54000000
environment loadaddr 47000000
watchdog watchdog0 60 a dog
"""
BOARD = """ }; / {
    compatible = "maker,board"; chosen { stdout-path = "/serial@9000:115200n8"; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { device_type = "cpu"; compatible = "c"; reg = <0>; }; };
    gic@1000 { compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>; interrupts = <1 9 4>;
        reg = <0 0x1000 0 0x1000  0 0x2000 0 0x2000  0 0x4000 0 0x2000  0 0x6000 0 0x2000>; };
    serial@9000 { compatible = "arm,pl011"; reg = <0 0x9000 0 0x1000>; };
"""


def test_an_import_from_the_running_board_says_how_it_boots(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.tree.write_bytes(_blob(tmp_path, 'u-boot,version = "2026.07";', BOARD))
    Path(f"{served.tree}.installed").write_text(INSTALLED)
    facts = tmp_path / "b.yaml"
    words = ["board", "import", "--ssh", "board", "--ssh-config", str(served.config), "-o", str(facts)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "watchdog0 60 a dog" in said and "say by hand" not in said
    boot = read_facts(facts).facts.boot
    assert isinstance(boot, UBoot) and boot.state == "file" and boot.console == "ttyAMA0,115200"
    assert (boot.partition_mount, boot.root_device, boot.root_filesystem) == ("/boot", "PARTUUID=c0ffee-02", "ext4")
    assert boot.load.model_dump() == {
        "hypervisor": 0x4700_0000,
        "kernel": 0x5000_0000,
        "device_tree": 0x4800_0000,
        "ramdisk": 0x5400_0000,
    }
    assert {*load_windows(read_facts(facts).facts)} == {"hypervisor", "kernel", "device_tree", "ramdisk"}

    Path(f"{served.tree}.installed").write_text("cmdline quiet\n")
    assert main([*words, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)["say"]
    assert [line.split(" ")[0] for line in told] == [
        *("boot.partition_mount", "boot.root_device", "boot.root_filesystem", "boot.console", "boot.load"),
    ]
    assert read_facts(facts).facts.boot is None
