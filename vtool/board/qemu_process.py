"""One QEMU process that stands for a board: command line, start, cut, QMP.

Knows QEMU and processes; knows nothing of disks' contents or of ssh keys.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vtool.board.machines import VIRT, Model
from vtool.board.qmp import monitor
from vtool.diagnostics import board_failed, not_installed

QEMU = "qemu-system-aarch64"
_UNIX_PATH_MAX = 107


@dataclass(frozen=True)
class Machine:
    """The emulated hardware: what decides the device tree."""

    cpus: int
    memory_bytes: int
    model: Model = VIRT

    def arguments(self, machine_extra: str = "", *, counts: bool = False) -> list[str]:
        """Return the QEMU arguments of the machine itself.

        ``counts``: its clock advances by a nanosecond for each instruction, and past what it would wait for at once.
        """
        # Counting takes one thread for all processors (QEMU docs/devel/tcg-icount.rst).
        counting = ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off")
        return [
            "-nodefaults",
            "-no-user-config",
            *("-display", "none"),
            *("-machine", f"{self.model.machine}{machine_extra}"),
            *(counting if counts else ("-accel", "tcg,thread=multi")),
            *(word.format(cpus=self.cpus) for word in self.model.processors),
            *("-m", f"{self.memory_bytes >> 20}M"),
        ]


@dataclass(frozen=True)
class QemuFiles:
    """Where a QEMU process keeps what it opens; sockets lie apart because their paths are short."""

    firmware: Path
    disk: Path
    console_log: Path
    pid_file: Path
    console_socket: Path
    qmp_socket: Path


class QemuProcess:
    """A QEMU process identified by its pid file and its disk, so that a reused pid is never mistaken."""

    def __init__(self, name: str, machine: Machine, files: QemuFiles, *, counts: bool = False) -> None:
        self._counts = counts
        self._name = name
        self._machine = machine
        self._files = files

    def pid(self) -> int | None:
        """Return the pid of the running process, or None."""
        try:
            pid = int(self._files.pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if any(os.fsencode(self._files.disk) in word for word in words) else None

    def counts(self) -> bool:
        """Whether the running process counts instructions; what it would do, where none runs."""
        pid = self.pid()
        return self._counts if pid is None else b"-icount" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")

    def start(self, ssh_port: int) -> None:
        """Start QEMU in the background; raises VtoolError VT611 with QEMU's own words."""
        for path in (self._files.console_socket, self._files.qmp_socket):
            if len(os.fsencode(path)) > _UNIX_PATH_MAX:
                raise board_failed(
                    "VT611",
                    f"socket path '{path}' is longer than {_UNIX_PATH_MAX} bytes",
                    hints=("set XDG_RUNTIME_DIR to a shorter folder",),
                )
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [QEMU, *self._machine.arguments(counts=self._counts), *self._device_arguments(ssh_port)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except FileNotFoundError:
            raise not_installed(QEMU) from None
        if done.returncode != 0:
            raise board_failed(
                "VT611",
                f"board '{self._name}' could not be powered on: QEMU ended with {done.returncode}",
                detail=done.stderr.strip().splitlines()[-10:],
            )

    def _device_arguments(self, ssh_port: int) -> list[str]:
        files, model = self._files, self._machine.model
        # While one that counts waits for its disk, minutes pass by its clock; what is flushed is the machine's to keep.
        cache = ",cache=unsafe" if self._counts else ""
        return [
            *("-name", f"vtool-{self._name}"),
            *("-bios", str(files.firmware)),
            *(word.format(image=f"format=raw,file={_escape(files.disk)}{cache}") for word in model.disk),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"),
            *model.network,
            *model.devices,
            "-chardev",
            f"socket,id=console,path={_escape(files.console_socket)},server=on,wait=off,"
            f"logfile={_escape(files.console_log)},logappend=on",
            *("-serial", "chardev:console"),
            *("-qmp", f"unix:{_escape(files.qmp_socket)},server=on,wait=off"),
            *("-pidfile", str(files.pid_file)),
            "-daemonize",
        ]

    def kill(self) -> None:
        """End QEMU as a power cut would end a board; the disk stays as it was at that moment."""
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if not _wait_for_end(pid, 10.0):
                raise board_failed("VT612", f"QEMU process {pid} of board '{self._name}' does not end")
        self._files.pid_file.unlink(missing_ok=True)

    def power_button(self, deadline_s: float) -> bool:
        """Press the power button (QMP system_powerdown); return whether QEMU ended within the deadline."""
        pid = self.pid()
        if pid is None:
            return True
        with contextlib.suppress(OSError), monitor(self._files.qmp_socket) as execute:  # it may be ending already
            execute("system_powerdown")
        return _wait_for_end(pid, deadline_s)


def _wait_for_end(pid: int, deadline_s: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], deadline_s)[0])
    finally:
        os.close(descriptor)


def dump_device_tree(machine: Machine, output: Path) -> bytes:
    """Ask QEMU for the device tree of a machine (VtoolError VT611 when it refuses)."""
    command = [QEMU, *machine.arguments(f",dumpdtb={_escape(output)}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise board_failed("VT611", "QEMU did not write its device tree", detail=done.stderr.strip().splitlines()[-10:])
    return output.read_bytes()


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")
