"""No input file makes a verb wait: pipes and devices are refused as what they are, by every verb that reads one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtool.cli.main import main
from vtool.diagnostics import VtoolError
from vtool.files.regular import fault_of, read_regular

TOPOLOGY = """\
version: 1
name: t
boards: {b: {facts: %s, hypervisor: {kind: %s}}}
domains: {dom0: {role: control%s}, fe0: {memory: 256MiB, ramdisk: %s}}
"""
INVENTORY = """\
version: 1
boards: {b: {driver: ssh, facts: qemu-virt, host: localhost, known_hosts_file: hosts, %s: odd}}
"""
PIPE = "it is a named pipe (FIFO), not a file"


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    """End a test that waits by the signal's default action: loudly."""
    signal.alarm(30)
    yield
    signal.alarm(0)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd"
    os.mkfifo(path)
    return path


def topology(folder: Path, facts: str = "qemu-virt", kind: str = "kvm", ramdisk: str = "vtool:guest-initramfs") -> Path:
    path = folder / "t.yaml"
    path.write_text(TOPOLOGY % (facts, kind, ", memory: 1GiB" if kind.startswith("xen") else "", ramdisk))
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert code in (1, 2, 3), captured
    return captured.err


def test_what_is_no_file_says_what_it_is(odd: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert fault_of(tmp_path / "socket") == "it is a socket, not a file"
    assert fault_of(odd) == PIPE
    assert fault_of(Path("/dev/zero")) == "it is a character device, not a file"
    assert fault_of(tmp_path) == "it is a directory, not a file"
    assert fault_of(tmp_path / "gone") == "no such file or directory"
    (tmp_path / "file").write_bytes(b"12345")
    assert fault_of(tmp_path / "file") is None and read_regular(tmp_path / "file") == b"12345"
    with pytest.raises(OSError, match="larger than 0 MiB"):
        read_regular(tmp_path / "file", 4)


@pytest.mark.parametrize(
    ("verb", "code"),
    [
        (["validate", "odd"], "VT100"),
        (["validate", "t.yaml", "--overlay", "odd"], "VT100"),
        (["lint", "odd"], "VT100"),
        (["dt", "t.yaml", "--base", "odd"], "VT100"),
        (["render", "t.yaml", "-o", "out", "--base-tree", "odd"], "VT100"),
        (["board", "import", "odd", "-o", "facts.yaml"], "VT100"),
        (["board", "import", "--ssh", "host", "--ssh-config", "odd", "-o", "facts.yaml"], "VT100"),
        (["board", "list", "--inventory", "odd"], "VT100"),
        (["board", "write", "odd", "b"], "VT627"),
    ],
)
def test_a_pipe_on_the_command_line(
    verb: list[str], code: str, odd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    topology(odd.parent)
    monkeypatch.chdir(odd.parent)
    words = said(capsys, *verb)
    assert f"error[{code}]" in words and PIPE in words


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"facts": "./odd"}, "VT301"),
        ({"kind": "xen, image: odd"}, "VT505"),
        ({"kind": "xen, config: odd"}, "VT505"),
        ({"ramdisk": "odd"}, "VT505"),
        ({"ramdisk": "vtool:guest-initramfs, kernel: odd"}, "VT505"),
        ({"kind": "xen, qemu_image: odd, qemu_version: 10.0"}, "VT505"),
    ],
)
def test_a_pipe_in_a_topology(
    changed: dict[str, str], code: str, odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = said(capsys, "validate", topology(odd.parent, **changed))
    assert f"error[{code}]" in words and PIPE in words


def test_a_device_as_facts_is_no_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = said(capsys, "validate", topology(tmp_path, facts="/dev/zero"))
    assert "facts file '/dev/zero' cannot be used: it is a character device, not a file" in words


@pytest.mark.parametrize("key", ["identity_file", "known_hosts_file", "device_tree"])
def test_a_pipe_in_an_inventory(key: str, odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (odd.parent / "hosts").write_text("")
    text = INVENTORY % key if key != "known_hosts_file" else (INVENTORY % "device_tree").replace(": hosts", ": odd")
    (odd.parent / "i.yaml").write_text(text)
    words = said(capsys, "board", "list", "--inventory", odd.parent / "i.yaml")
    assert "error[VT617]" in words and PIPE in words


def test_a_pipe_for_a_lock_file(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(odd.parent / "t.yaml.lock")
    assert "error[VT412]" in said(capsys, "plan", topology(odd.parent))


@pytest.mark.parametrize("line", ['/include/ "odd"', '#include "odd"', "#include <odd>", 'x { a = /incbin/("odd"); };'])
def test_source_that_includes_a_pipe(line: str, odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (odd.parent / "t.dts").write_text(f"/dts-v1/;\n/ {{\n{line}\n}};\n")
    words = said(capsys, "lint", odd.parent / "t.dts")
    assert "error[VT801]" in words and f"'odd', which it includes: {PIPE}" in words


def test_a_saved_plan_that_is_a_pipe(odd: Path) -> None:
    from vtool.deploy.difference import saved_plan

    with pytest.raises(VtoolError, match=r"VT100.*named pipe"):
        saved_plan(odd)
