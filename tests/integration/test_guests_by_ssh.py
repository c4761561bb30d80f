"""Ways into guests of KVM on an emulated board: by ssh, by a login; proofs, `vtool exec`, `vtool console`."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from vtool.base.progress import Silent
from vtool.images import recipe_text
from vtool.images.build import ensure

from .conftest import Bench
from .foreign import PASSWORD, with_login, with_sshd
from .machine import make_key

pytestmark = [pytest.mark.board, pytest.mark.long]

TOPOLOGY = """\
version: 1
name: by-ssh
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm}}
domains:
  host: {role: control}
  debian:
    memory: 256MiB
    ramdisk: ssh.cpio.gz
    ready: "Server listening on"
    access: {ssh: {key_file: id_ed25519}}
    proof: {require: [unit, console, features, reach, data]}
  yocto:
    memory: 128MiB
    ramdisk: login.cpio.gz
    access: {login: {password_file: pw.txt, prompt: "guest login: "}}
    proof: {require: [unit, console]}
regions:
  pool0: {size: 16MiB, owner: debian, borrowers: [host], use: restricted-dma-pool}
devices:
  disk0:
    type: blk
    frontend: debian
    backend: host
    program: qemu
    transport: pci
    data_path: pool-in-ram
    region: pool0
    disk: {file: by-ssh.img, size: 64MiB, verify: write}
  net0:
    type: net
    frontend: debian
    backend: host
    program: qemu
    transport: pci
    data_path: pool-in-ram
    region: pool0
    network: {bridge: kvmbr0, frontend_address: 192.0.2.2/24, backend_address: 192.0.2.1/24}
"""
KEPT = (
    "grep -r -l -F {} /var/lib/vtool /var/log /run /etc /tmp /root 2>/dev/null; "
    "ls -d /run/vtool-ssh-* 2>/dev/null; true"
)
COUNTED = "bytes that its backend counted"


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    built = ensure(["guest-initramfs", "rootfs"], Silent())
    ramdisk, init = built["guest-initramfs"].path, recipe_text("guest/init")
    (tmp_path / "ssh.cpio.gz").write_bytes(with_sshd(ramdisk, init, built["rootfs"].path, tmp_path))
    (tmp_path / "login.cpio.gz").write_bytes(with_login(ramdisk, init))
    (tmp_path / "pw.txt").write_text(f"{PASSWORD}\n")
    path = tmp_path / "by-ssh.yaml"
    path.write_text(TOPOLOGY)
    return path


def test_a_guest_is_proven_from_the_inside_by_ssh(bench: Bench, topology: Path) -> None:
    report = bench.deploy(topology)
    show(report["rows"])
    assert report["confirmed"] and not [row for row in report["rows"] if not (row["proven"] or row["noted"])]
    rows = {(row["subject"], row["what"]): row for row in report["rows"]}
    assert rows["domain debian", "its shell answers"]["seen"] == "alive"
    devices = ("device disk0", "device net0")
    inside = [row for (subject, what), row in rows.items() if subject in devices and what != COUNTED]
    assert len(inside) >= 8 and all(row["proven"] for row in inside), "features, data, reach"
    assert [row["what"] for row in bench.verify(topology)] == [row["what"] for row in report["rows"]]
    key = (topology.parent / "id_ed25519").read_text().splitlines()[2]
    assert bench.ssh(KEPT.format(key)) == "", "the board keeps no key"

    # A person gets in as the proof does, and by the console as anybody.
    given = ("exec", "--timeout", "120", "--topology", topology)
    assert bench.vtool(*given, "debian", "--", "echo $((6 * 7)); cat /etc/ssh/sshd_config | head -n 1").stdout == (
        "42\nHostKey /etc/ssh/host\n"
    )
    assert bench.vtool(*given, "yocto", "--", "echo /tmp/x; exit 5", code=5).stdout == "/tmp/x\n"
    for guest, what in (("debian", "key"), ("yocto", "password")):
        said = bench.vtool("exec", guest, "--", "true", code=3).stderr
        assert f"error[VT485]: nobody gave the {what} of 'root' of domain '{guest}'" in said and "--topology" in said
    assert bench.ssh(KEPT.format(shlex.quote(PASSWORD))) == "", "nor a password"
    assert b"guest login:" in console(bench, "yocto", b"\n", b"guest login:")


@pytest.mark.parametrize("host_key", ["", "written"])
def test_another_key_takes_the_deploy_back(host_key: str, bench: Bench, topology: Path) -> None:
    if host_key:
        ours = f'key_file: id_ed25519, host_key: "{(topology.parent / "id_ed25519.pub").read_text().strip()}"'
        topology.write_text(topology.read_text().replace("key_file: id_ed25519", ours))
    else:
        for name in ("id_ed25519", "id_ed25519.pub"):
            (topology.parent / name).unlink()
        make_key(topology.parent / "id_ed25519")
    topology.write_text(topology.read_text().replace("256MiB", "264MiB", 1))
    report = bench.deploy(topology, code=3)
    failed = [row for row in report["rows"] if not (row["proven"] or row["noted"])]
    show(failed)
    assert failed and not report["confirmed"]
    assert any("lets user 'root' in by no key" in " ".join(row["detail"]) for row in failed)
    key = (topology.parent / "id_ed25519").read_text().splitlines()[2]
    assert key not in str(report) and bench.ssh(KEPT.format(key)) == ""


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        state = "proven" if row["proven"] else "noted" if row["noted"] else "FAILED"
        print(state, row["subject"], row["what"], row["seen"], row["detail"])


def console(bench: Bench, guest: str, keys: bytes, wanted: bytes) -> bytes:
    """Type into a guest's console as a person does; return what it said until it said something."""
    words = bench.command("console", guest)
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=bench.environment, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        assert running.stdin is not None and running.stdout is not None
        said, deadline = b"", time.monotonic() + 300
        running.stdin.write(keys)
        running.stdin.flush()
        while wanted not in said and time.monotonic() < deadline and (data := os.read(running.stdout.fileno(), 65536)):
            said += data
        running.stdin.write(b"\x1d")
        running.stdin.close()
        running.wait(120)
        return said
