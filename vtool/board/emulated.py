"""An emulated board: QEMU, software emulation, behind the same protocols as hardware.

Owns a folder per board: disk, keys, console log, pid. The disk is made once from images and then
belongs to the board; a power cut leaves it as it was.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vtool.base.runtime import runtime_folder, working_folder
from vtool.board.console_log import tail_of
from vtool.board.disk import RootFile, make_disk, write_root_files
from vtool.board.machines import model_of
from vtool.board.patience import load_of_machine, patience
from vtool.board.protocols import ROOT, BoardClock, Commands, SshTarget, Standing
from vtool.board.qemu_process import Machine, QemuFiles, QemuProcess, dump_device_tree, free_port
from vtool.diagnostics import board_failed, not_installed
from vtool.files.own_folders import state_folder
from vtool.model.board_facts import BoardFacts, Boot

_LOOPBACK = "127.0.0.1"
_SSHD_CONFIG = b"LoginGraceTime 0\n"
"""A clock that counts instructions runs ahead while the board is idle: its two minutes for a login pass in no time."""
_SYSTEMD_CONFIG = b"[Manager]\nDefaultDeviceTimeoutSec=30min\nDefaultTimeoutStartSec=10min\n"
"""On a busy machine the boot partition may take longer than systemd's 90 s, after which there is an emergency shell."""
_FIRST_USER = 1000
"""The number of the first user of a Debian system, and of that one's group."""
PREFIX, FOREIGN_DISK = "vtool:", "vtool:foreign-disk"
"""What an image of vtool's begins with, and the one that is a whole disk; ``vtool.images`` builds them."""
_BOOT_S = "boot_s"
"""The file that says how many seconds the board's last start from power took."""


@dataclass(frozen=True)
class EmulatedImages:
    """What a new emulated board is made of: a system of vtool's, or a whole disk that boots by itself."""

    firmware: Path
    kernel: Path | None = None
    root_disk: Path | None = None
    loader: Path | None = None
    """Where the firmware is not the boot loader itself."""
    disk: Path | None = None


@dataclass(frozen=True)
class OwnDisk:
    """A disk that an emulated board boots instead of vtool's: an image of vtool's or a file, and who may log in."""

    image: str
    user: str


class EmulatedBoard:
    """A board made of one QEMU process. Power, console and ssh are this object itself."""

    driver = "emulated"
    can_switch = True
    can_join = True
    can_write = True

    def __init__(
        self, name: str, facts: BoardFacts, clock: BoardClock = BoardClock.EMULATED, disk: OwnDisk | None = None
    ) -> None:
        self.clock = clock
        self.disk = disk
        self.name = self.words = name
        self.facts = facts
        self.folder = state_folder() / "boards" / name
        sockets = runtime_folder() / f"{name}-{zlib.crc32(str(self.folder).encode()):08x}"
        self._files = QemuFiles(
            firmware=self.folder / _FIRMWARE[facts.boot.loader if facts.boot else "u-boot"],
            disk=self.folder / "disk.img",
            console_log=self.folder / "console.log",
            pid_file=self.folder / "qemu.pid",
            console_socket=sockets / "console.sock",
            qmp_socket=sockets / "qmp.sock",
        )

    @cached_property
    def machine(self) -> Machine:
        """The hardware; VtoolError VT631 where vtool emulates none like it."""
        return Machine(self.facts.cpus, sum(bank.size for bank in self.facts.ram), model_of(self.facts))

    @cached_property
    def _qemu(self) -> QemuProcess:
        return QemuProcess(self.name, self.machine, self._files, counts=self.clock is BoardClock.INSTRUCTIONS)

    # -- making and removing

    @property
    def identity(self) -> str:
        """The folder that it is kept in."""
        return str(self.folder)

    def exists(self) -> bool:
        """Whether the board has been made."""
        return (self.folder / "board.json").is_file()

    def made_suite(self) -> str | None:
        """Return the Debian that the board was made with, None when it was not made."""
        return _made(self.name, "suite", "trixie")

    def create(self, images: EmulatedImages, suite: str) -> None:
        """Make the board: keys, device tree, disk with a factory system of a suite. VtoolError VT613 on failure."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(self.folder.parent, f".new-{self.name}-") as temporary:
            new = temporary / "board"
            new.mkdir(mode=0o700)
            work = temporary / "work"
            work.mkdir()
            shutil.copyfile(images.firmware, new / self._files.firmware.name)
            for key in ("id_ed25519", "host_ed25519"):
                _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(new / key)])
            dump_device_tree(self.machine, new / "base.dtb")
            if images.disk is not None:
                _run(["cp", "--sparse=always", "--", str(images.disk), str(new / "disk.img")])
                write_root_files(new / "disk.img", self._keys(new), work)
            else:
                self._make_disk(new, images, work)
            (new / "board.json").write_text(json.dumps({"format": 1, "facts": self.facts.name, "suite": suite}) + "\n")
            new.rename(self.folder)

    def _make_disk(self, new: Path, images: EmulatedImages, work: Path) -> None:
        boot = self.facts.boot
        assert boot is not None, "deploy refuses what cannot boot (VT409)"
        assert images.kernel is not None and images.root_disk is not None, "a board without a disk of its own has both"
        boot_files = _BOOT_FILES[boot.loader](boot, images, work)
        make_disk(
            new / "disk.img",
            images.root_disk,
            {**boot_files, "factory/Image": images.kernel, "factory/board.dtb": new / "base.dtb"},
            [
                *self._keys(new),
                RootFile("/etc/ssh/sshd_config.d/clock.conf", _SSHD_CONFIG, 0o644),
                RootFile("/etc/systemd/system.conf.d/devices.conf", _SYSTEMD_CONFIG, 0o644),
                RootFile("/etc/hostname", f"{self.name}\n".encode(), 0o644),
            ],
            work,
        )

    def _keys(self, folder: Path) -> list[RootFile]:
        """Return the keys of a new board, by which it and who logs in know each other."""
        home, owner = (f"/home/{self._user}", _FIRST_USER) if self.disk and self._user != ROOT else ("/root", 0)
        return [
            RootFile(f"{home}/.ssh/authorized_keys", (folder / "id_ed25519.pub").read_bytes(), 0o600, owner),
            RootFile("/etc/ssh/ssh_host_ed25519_key", (folder / "host_ed25519").read_bytes(), 0o600),
            RootFile("/etc/ssh/ssh_host_ed25519_key.pub", (folder / "host_ed25519.pub").read_bytes(), 0o644),
        ]

    @property
    def _user(self) -> str:
        return self.disk.user if self.disk else ROOT

    def destroy(self) -> None:
        """Cut the power and remove the board with its disk and keys."""
        self._qemu.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- protocols

    @property
    def patience(self) -> float:
        """Follow what its last start took, and what this machine has to do now."""
        try:
            boot_s = float((self.folder / _BOOT_S).read_text())
        except (OSError, ValueError):
            boot_s = None
        return patience(boot_s, load_of_machine())

    def booted_in(self, seconds: float) -> None:
        """Keep it with the board."""
        (self.folder / _BOOT_S).write_text(f"{seconds:.1f}\n")

    @property
    def power(self) -> EmulatedBoard:
        """The supply."""
        return self

    @property
    def console(self) -> EmulatedBoard:
        """The serial console."""
        return self

    @property
    def media(self) -> EmulatedBoard:
        """Its disk."""
        return self

    def write(self, image: Path) -> None:
        """Replace the disk by a copy of an image. VtoolError VT613."""
        new = self._files.disk.with_name("disk.img.new")
        _run(["cp", "--sparse=always", "--", str(image), str(new)])
        new.rename(self._files.disk)

    def standing(self) -> Standing:
        """Return whether it was made and runs, and its port."""
        if not self.exists():
            return Standing("not made")
        if not self.is_on():
            return Standing("off")
        return Standing("on", f"{_LOOPBACK}:{self._ssh_port()}")

    def hold(self) -> AbstractContextManager[None]:
        """Do nothing: it is this user's own."""
        return contextlib.nullcontext()

    def reserve(self) -> None:
        """Do nothing: it is shared with nobody."""

    def release(self) -> tuple[str, ...]:
        """Do nothing."""
        return ()

    def on(self) -> None:
        """Start QEMU unless it runs; the ssh port is chosen now and the host key pinned to it."""
        if self.is_on():
            return
        port = free_port()
        host_key = (self.folder / "host_ed25519.pub").read_text().split()
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
        (self.folder / "ssh_port").write_text(f"{port}\n")
        self._qemu.start(port)

    def off(self) -> None:
        """Kill QEMU: a power cut."""
        self._qemu.kill()

    def is_on(self) -> bool:
        """Whether QEMU runs."""
        return self._qemu.pid() is not None

    def shut_down(self, deadline_s: float) -> bool:
        """Press the power button and wait; return whether the board went off by itself."""
        return self._qemu.power_button(deadline_s)

    def ssh(self) -> SshTarget:
        """Return how to reach sshd; VtoolError VT602 when the board has no power, VT630 when it has another clock."""
        if not self.is_on():
            raise board_failed(
                "VT602", f"board '{self.name}' is off", hints=(f"switch it on: vtool board up {self.words}",)
            )
        if self._qemu.counts() is not (self.clock is BoardClock.INSTRUCTIONS):
            runs = "counts instructions" if self._qemu.counts() else "has the machine's clock"
            message = f"board '{self.name}' {runs}, its inventory says otherwise"
            raise board_failed("VT630", message, hints=(f"vtool board power cycle {self.words}",))
        files = (self.folder / "id_ed25519", self.folder / "known_hosts")
        return SshTarget(_LOOPBACK, self._ssh_port(), self._user, *files)

    def _ssh_port(self) -> int:
        return int((self.folder / "ssh_port").read_text())

    def base_device_tree(self, commands: Commands | None = None) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the tree QEMU makes for this machine: as dumped when the board was made, now if it is not."""
        if self.exists():
            return (self.folder / "base.dtb").read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            dump_device_tree(self.machine, Path(folder) / "base.dtb")
            return (Path(folder) / "base.dtb").read_bytes()

    def log_path(self) -> Path:
        """Return the console's log."""
        return self._files.console_log

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the last lines of the console, control characters removed."""
        return tail_of(self._files.console_log, lines)

    def interact(self) -> int:
        """Join terminal and console until Ctrl-] is typed."""
        from vtool.board.terminal import join_terminal  # noqa: PLC0415 - only `vtool board console` needs it

        with socket.socket(socket.AF_UNIX) as console:
            try:
                console.connect(str(self._files.console_socket))
            except OSError as error:
                raise board_failed("VT602", f"console of board '{self.name}' is not there: {error}") from None
            print(f"console of '{self.name}'; leave with Ctrl-]", file=sys.stderr)  # noqa: T201
            return join_terminal(console)


def made_of(name: str) -> str | None:
    """Return the facts that a board was made by, None when it was not made."""
    return _made(name, "facts", None)


def _made(name: str, key: str, before: str | None) -> str | None:
    """Return what the board's own file says; ``before`` is for files of before they said it."""
    try:
        said = json.loads((state_folder() / "boards" / name / "board.json").read_text()).get(key, before)
    except (OSError, ValueError, AttributeError):
        return None
    return None if said is None else str(said)


def _for_u_boot(boot: Boot, _: EmulatedImages, work: Path) -> dict[str, Path]:
    from vtool.render.templating import fill  # noqa: PLC0415 - once in a board's life

    source, script = work / "factory.cmd", work / "boot.scr"
    source.write_text(fill("uboot/factory.cmd.j2", boot=boot))
    _run(["mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-d", str(source), str(script)])
    return {"boot.scr": script}


def _for_systemd_boot(boot: Boot, images: EmulatedImages, work: Path) -> dict[str, Path]:
    assert images.loader is not None
    from vtool.render.templating import fill  # noqa: PLC0415 - once in a board's life

    entry = work / "factory.conf"
    entry.write_text(fill("systemd-boot/factory.conf.j2", boot=boot))
    return {"EFI/BOOT/BOOTAA64.EFI": images.loader, "loader/entries/factory.conf": entry}


_FIRMWARE = {"u-boot": "u-boot.bin", "systemd-boot": "uefi.fd"}
_BOOT_FILES: Mapping[str, Callable[[Boot, EmulatedImages, Path], dict[str, Path]]] = {
    "u-boot": _for_u_boot,
    "systemd-boot": _for_systemd_boot,
}


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise not_installed(command[0]) from None
    if done.returncode != 0:
        raise board_failed("VT613", f"'{command[0]}' failed", detail=done.stderr.strip().splitlines()[-10:])
