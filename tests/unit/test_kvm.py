"""What KVM renders and does not deploy; versions and programs; what a kernel must have for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vtool.check import KernelOptions, check
from vtool.check.deployable import not_deployable
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.deploy.proof import proofs
from vtool.diagnostics import Severity
from vtool.model import devices
from vtool.model.combinations import Readiness, Suite, combinations, installed
from vtool.model.devices import Program
from vtool.model.devices.base import DAEMON_FILES, TYPE_FILES, word_of
from vtool.model.validate import load_facts, validate
from vtool.plan.types import BoardPlan
from vtool.reading.source import load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "topology" / "examples" / "kvm-pool.yaml"
DAEMONS = ROOT / "tests" / "topologies" / "kvm-daemons.yaml"


def plan_with(folder: Path, old: str, new: str, source: Path = EXAMPLE) -> BoardPlan:
    text = source.read_text()
    assert old in text
    path = folder / "topology.yaml"
    path.write_text(text.replace(old, new))
    return prepare(path).plan.boards[0]


@pytest.mark.parametrize(
    ("hypervisor", "connects"),
    [
        ("suite: bookworm", ("reconnect", "1")),
        ("suite: trixie", ("reconnect-ms", "500")),
        ("qemu_version: 9.1", ("reconnect", "1")),
        ("qemu_version: 9.2", ("reconnect-ms", "500")),
        ("suite: sid", ("reconnect-ms", "500")),
    ],
)
def test_reconnecting_is_spelt_as_that_qemu_reads_it(
    hypervisor: str, connects: tuple[str, str], tmp_path: Path
) -> None:
    (guest,) = plan_with(tmp_path, "kind: kvm", f"kind: kvm\n      {hypervisor}").kvm_guests
    assert guest.devices[0].options[0].pairs[-1] == connects


def test_daemons_that_number_their_sockets_are_met_there() -> None:
    devices = prepare(DAEMONS).plan.boards[0].kvm_guests[0].devices
    for device in devices:
        assert device.backend is not None
        numbered = device.type in ("gpio", "i2c", "rng")  # of those in this file
        assert device.setting("path") == device.backend.socket
        assert device.backend.socket.endswith("/vhost-user.sock0" if numbered else "/vhost-user.sock")
        words = [word for line in device.backend.arguments if isinstance(line, tuple) for word in line]
        assert f"{device.backend.folder}/vhost-user.sock0" not in words


def test_the_table_says_what_it_takes() -> None:
    rows = combinations()
    assert len(set(rows)) == len(rows)
    for row in rows:
        if row.hypervisor == "kvm":
            # The board's own, or its kernel's.
            found = row.program in (Program.VHOST_USER, Program.VHOST_VSOCK) or installed(row.program) is not None
            assert row.qemu_device and found, row
            assert row.transport is Transport.PCI or not row.qemu_device.endswith("-pci"), row
    daemons = [row for row in rows if row.hypervisor == "kvm" and row.program is not Program.QEMU]
    assert not [row for row in daemons if row.data_path is DataPath.VIOMMU]
    assert not [row for row in daemons if row.data_path is DataPath.POOL and row.transport is Transport.PCI]
    programs = [program for word in Program if (program := installed(word)) is not None]
    assert all(program.executable.startswith("/usr/") for program in programs)
    by_hand = [program for program in programs if not program.packages]
    assert all(program.executable.startswith("/usr/local/") for program in by_hand)
    assert all(Suite.SID in program.packages for program in programs if program not in by_hand)
    daemon = devices.daemon_of(Program.QEMU_STORAGE_DAEMON)
    assert daemon is not None and daemon.readiness is Readiness.FORKS


def test_what_is_only_rendered_is_refused_before_a_board_is_touched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(DAEMONS)]) == 1
    said = capsys.readouterr().err
    lines = DAEMONS.read_text().splitlines()
    assert f"{DAEMONS}:{lines.index('  gpio0:') + 1}:3: error[VT714]: device 'gpio0' (gpio with shared-ram" in said
    assert "device 'disk1'" not in said  # a disk through a pool is deployed


def test_an_example_can_be_deployed_and_libvirt_cannot_yet(tmp_path: Path) -> None:
    document = load(EXAMPLE)
    assert not_deployable(document, validate(document)) == []
    path = tmp_path / "topology.yaml"
    path.write_text(EXAMPLE.read_text().replace("kind: kvm", "kind: kvm\n      vmm: libvirt"))
    document = load(path)
    (found,) = not_deployable(document, validate(document))
    line = path.read_text().splitlines().index("  board0:") + 1
    assert (found.code, found.span and found.span.line) == ("VT714", line)


def test_a_kernel_without_an_option_is_only_warned_of_where_nothing_is_deployed() -> None:
    document = load(DAEMONS)
    kernels = {"vtool:linux": KernelOptions({"KVM": "y"}, "mine")}
    found = check(document, validate(document), {"board0": load_facts("qemu-virt")}, kernels)
    severity = {finding.message.split("CONFIG_")[1].split(",")[0]: finding.severity for finding in found}
    assert severity["GPIO_VIRTIO"] is severity["SND_VIRTIO"] is Severity.WARNING
    # Files, and the disk of the other guest through a pool, are deployed.
    assert severity["VIRTIO_FS"] is severity["DMA_RESTRICTED_POOL"] is Severity.ERROR


def test_a_gicv2_serves_eight_cpus() -> None:
    document = load(EXAMPLE)
    topology = validate(document)
    facts = load_facts("qemu-virt")
    old = facts.facts.model_copy(update={"gic": facts.facts.gic.model_copy(update={"version": 2})})
    for cpus, wanted in ((8, []), (9, ["VT348"])):
        guest = topology.domains["fe0"].model_copy(update={"cpus": cpus})
        changed = topology.model_copy(update={"domains": {**topology.domains, "fe0": guest}})
        found = check(document, changed, {"board0": type(facts)(old, facts.document)}, {})
        assert [d.code for d in found if d.code == "VT348"] == wanted


@pytest.mark.parametrize("name", DAEMON_FILES)
def test_the_file_of_a_daemon_is_named_as_it(name: str) -> None:
    daemon = devices.daemon_in(name)
    assert daemon.program.value.replace("-", "_") == name
    assert devices.daemon_of(daemon.program) is daemon
    assert daemon.kvm or daemon.xen
    assert devices.model_of(word_of(daemon.serves)) is daemon.serves


@pytest.mark.parametrize("name", TYPE_FILES)
def test_the_file_of_a_type_is_named_as_it_and_served_by_what_has_no_file(name: str) -> None:
    found = devices.type_in(name)
    assert word_of(found.model) == name
    assert devices.model_of(name) is found.model
    assert not [program for program in (*found.kvm, *found.xen) if devices.daemon_of(program)]


def test_what_qemu_makes_has_arguments() -> None:
    for row in combinations():
        assert row.service is not None
        assert (row.service.options is not None) == bool(row.qemu_device), row


def test_whose_firmware_started_a_guest_is_on_its_console(tmp_path: Path) -> None:
    plan = prepare(ROOT / "tests" / "topologies" / "kvm-firmware.yaml").plan.boards[0]
    rows = [proof for proof in proofs(plan) if proof.what == "its kernel was started by EDK2"]
    assert [proof.subject for proof in rows] == ["domain fe0", "domain fe1"]
    said = ("Linux version 6.12.1\n", "[0.0] efi: EFI v2.7 by EDK II\n")
    for (proof, text), (proven, noted) in zip(
        [(rows[0], "quiet"), (rows[0], said[0]), (rows[0], "".join(said)), (rows[1], said[0])],
        [(False, True), (False, False), (True, False), (False, False)],
        strict=True,
    ):
        (tmp_path / "console.log").write_text(text)
        command = re.sub(r"/var/log/vtool/fe./console.log", str(tmp_path / "console.log"), proof.steps[0]["command"])
        output = subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout
        missed = {"error": {"message": "x", "detail": []}, "not_looked_at": output} if "not looked" in output else {}
        row = proof.read({proof.steps[0]["id"]: missed or {"code": 0, "output": output}})
        assert (row.proven, row.noted) == (proven, noted), text
