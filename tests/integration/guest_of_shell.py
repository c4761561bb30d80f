"""A guest that is no more than a shell: its console and its QEMU's monitor, at the sockets where a board has them.

``python -m tests.integration.guest_of_shell NAME FOLDER...``, each the folder of a machine (machine.py), in a process
of its own: whoever measures makes copies of itself, which nothing should run beside in.
"""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import sys
import threading
from pathlib import Path


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    machine: Path
    guest: str


class Console(socketserver.BaseRequestHandler):
    """Every connection has a shell, and no line editing: what empties a line on a terminal is left out."""

    def handle(self) -> None:
        line = self.request
        with subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE, stdout=line, stderr=line) as shell:
            assert shell.stdin is not None
            while typed := line.recv(65536):
                shell.stdin.write(typed.replace(b"\x15", b""))
                shell.stdin.flush()
            shell.kill()


class Monitor(socketserver.StreamRequestHandler):
    """What a proof asks of QEMU: its release, and its memory as the guest's unit has it."""

    def handle(self) -> None:
        self._say({"QMP": {}})
        while line := self.rfile.readline():
            asked = json.loads(line)["execute"]
            version = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}
            answers = {"query-version": version, "query-memdev": self._memory()}
            self._say({"return": answers.get(asked, {})})

    def _memory(self) -> list[dict[str, object]]:
        server = self.server
        assert isinstance(server, Server)
        generation = (server.machine / "run" / "vtool-current").readlink().name
        unit = (
            server.machine
            / "lib"
            / "vtool"
            / "generations"
            / generation
            / "units"
            / f"vtool-domain-{server.guest}.service"
        )
        sizes = re.findall(r"memory-backend-ram,id=(\w+),size=(\d+)M", unit.read_text())
        return [{"id": name, "size": int(mib) << 20, "share": False} for name, mib in dict(sizes).items()]

    def _say(self, said: object) -> None:
        self.wfile.write(json.dumps(said).encode() + b"\n")


def main() -> None:
    guest, *machines = sys.argv[1:]
    for machine in map(Path, machines):
        folder = machine / "run" / "vtool" / f"domain-{guest}"
        folder.mkdir(parents=True)
        for name, handler in (("console.sock", Console), ("qmp.sock", Monitor)):
            server = Server(str(folder / name), handler)
            server.machine, server.guest = machine, guest
            threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
