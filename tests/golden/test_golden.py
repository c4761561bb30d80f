"""Every example, and every topology of tests/topologies, renders to the bytes checked in.

VTOOL_GOLDEN=write rewrites them all; checked_in.py says how they lie. Other readers are in test_qemu_reads_it.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.golden import checked_in
from vtool.cli.common import prepare
from vtool.render import render
from vtool.render.artifacts import Kind

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = sorted((ROOT / "topology" / "examples").glob("*.yaml"))
# What is rendered and cannot be deployed yet.
RENDERED = sorted((ROOT / "tests" / "topologies").glob("*.yaml"))
CASES = {path.stem: path for path in (*EXAMPLES, *RENDERED)}
LIBVIRT_SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")


def rendered(example: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    for board in prepare(example).plan.boards:
        for artifact in render(board).artifacts:
            name = f"{board.name}/{artifact.place.value}/{artifact.name}"
            files[name] = artifact.content if artifact.kind not in (Kind.IMAGE, Kind.DISK) else f"{artifact.content}\n"
    return files


@pytest.fixture(scope="module", autouse=True)
def rewritten() -> None:
    if os.environ.get("VTOOL_GOLDEN") == "write":
        checked_in.write({case: rendered(path) for case, path in CASES.items()})


@pytest.mark.parametrize("case", CASES)
def test_rendered_as_checked_in(case: str) -> None:
    assert rendered(CASES[case]) == checked_in.read(case)


def test_what_is_shared_stands_once_and_nothing_else_stands_there() -> None:
    assert checked_in.stored() == checked_in.laid_out({case: rendered(path) for case, path in CASES.items()})


def units_of(case: str, folder: Path) -> list[Path]:
    """Write a case's units, with stubs for the board's programs, so that only the units' text is judged."""
    written = []
    for name, content in rendered(CASES[case]).items():
        if "/units/" in name:
            path = folder / Path(name).name
            path.write_text(re.sub(r"(?m)^(Exec\w+=[+-]?)/\S+", r"\1/bin/true", content))
            written.append(path)
    for other in ("xen", "libvirtd"):
        (folder / f"{other}.service").write_text("[Service]\nExecStart=/bin/true\n")
    return sorted(written)


def systemd_analyze(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"}
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("case", CASES)
def test_units_pass_systemds_own_parser(case: str, tmp_path: Path) -> None:
    units = units_of(case, tmp_path)
    assert units
    done = systemd_analyze(tmp_path, "verify", "--man=no", "--recursive-errors=no", *units)
    said = [line for line in done.stderr.splitlines() if "vtool" in line]
    assert (done.returncode, said) == (0, []), done.stderr


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("kvm")])
def test_backends_are_shut_in(case: str, tmp_path: Path) -> None:
    # Exposure as systemd counts it, times ten; one that makes namespaces itself cannot be shut in as far.
    for unit in units_of(case, tmp_path):
        if not re.match(r"vtool-backend-.*\.service", unit.name):
            continue
        most = 45 if "AF_NETLINK" in unit.read_text() else 20
        done = systemd_analyze(tmp_path, "security", "--offline=yes", f"--threshold={most}", "--no-pager", unit)
        assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("xen-virtio")])
def test_backends_of_xen_guests_are_shut_in(case: str, tmp_path: Path) -> None:
    # Xen's device nodes are root's, which alone counts for half of it.
    for unit in units_of(case, tmp_path):
        if unit.name.startswith(("vtool-qemu-", "vtool-virtio-disk-", "vtool-vhost-frontend-")):
            done = systemd_analyze(tmp_path, "security", "--offline=yes", "--threshold=25", "--no-pager", unit)
            assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("listening", [True, False])
def test_a_daemon_is_ready_when_its_socket_accepts(listening: bool, tmp_path: Path) -> None:
    # What waits is taken from a unit as it is rendered; only the path and the deadline are this test's.
    unit = rendered(CASES["kvm-daemons"])["board0/generation/units/vtool-backend-gpio0.service"]
    (line,) = re.findall(r"ExecStartPost=(/usr/bin/timeout .*)", unit)
    path = tmp_path / "socket"
    command = line.replace("$$", "$").replace("/run/vtool/backend-gpio0/vhost-user.sock0", str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))  # the file is there, and connecting to it still fails
        if listening:
            server.listen()
        words = shlex.split(command.replace("timeout 10", "timeout 10" if listening else "timeout 0.5"))
        assert subprocess.run(words).returncode == (0 if listening else 124)


def xml_of(case: str) -> dict[str, str]:
    return {name: content for name, content in rendered(CASES[case]).items() if name.endswith(".xml")}


@pytest.mark.skipif(
    not LIBVIRT_SCHEMA.exists() or not shutil.which("xmllint"), reason="make setup installs libvirt's schema"
)
@pytest.mark.parametrize("case", ["kvm-libvirt", "kvm-queues", "kvm-extra", "kvm-firmware", "kvm-kept", "kvm-sockets"])
def test_libvirts_own_schema_accepts_its_domains(case: str, tmp_path: Path) -> None:
    for name, content in xml_of(case).items():
        path = tmp_path / Path(name).name
        path.write_text(content)
        done = subprocess.run(["xmllint", "--noout", "--relaxng", LIBVIRT_SCHEMA, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_xml_reads_back_as_what_was_planned() -> None:
    guests = prepare(CASES["kvm-libvirt"]).plan.boards[0].kvm_guests
    files = list(xml_of("kvm-libvirt").values())
    for guest, text in zip(guests, files, strict=True):
        domain = ET.fromstring(text)
        assert domain.findtext("name") == guest.name
        assert domain.findtext("os/cmdline") == guest.bootargs
        assert int(domain.findtext("memory") or 0) << 10 == guest.memory_bytes
        given = [slot.get("slot") for slot in domain.iterfind("devices//address[@type='pci']")]
        passed = [arg.get("value", "") for arg in domain.iterfind("{*}commandline/{*}arg")]
        given += [match[1] for word in passed if (match := re.search(r"addr=(0x[0-9a-f]+)", word))]
        # The SMMU is the machine's, not a PCI device.
        wanted = [device.place.slot for device in guest.devices if device.type != "iommu"]
        assert sorted(int(slot or "", 16) for slot in given) == wanted


RENDER_ALL = """
import json, sys
from tests.golden.test_golden import CASES, rendered
json.dump({case: list(rendered(path).items()) for case, path in CASES.items()}, sys.stdout)
"""


def test_same_topology_same_bytes() -> None:
    # Python orders a set of strings by its hash seed: one process alone would not see that it reached an artifact.
    # Two words have the same order under half of all seeds.
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RENDER_ALL],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )
        for seed in range(1, 6)
    ]
    first, *others = (run.communicate()[0] for run in runs)
    assert all(run.returncode == 0 for run in runs)
    for other in others:
        assert json.loads(other) == json.loads(first)
