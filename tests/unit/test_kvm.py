"""What KVM renders and does not deploy; versions and programs; what a kernel must have for it."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from vtool.check import KernelOptions, check
from vtool.check.deployable import not_deployable
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Severity
from vtool.model import devices
from vtool.model.combinations import COMBINATIONS, PROGRAMS, Readiness, Suite
from vtool.model.devices import Program, VhostUserDevice
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
    assert len(set(COMBINATIONS)) == len(COMBINATIONS)
    for row in COMBINATIONS:
        if row.hypervisor == "kvm":
            assert row.qemu_device and row.program in PROGRAMS, row
            assert row.transport is Transport.PCI or not row.qemu_device.endswith("-pci"), row
    daemons = [row for row in COMBINATIONS if row.hypervisor == "kvm" and row.program is not Program.QEMU]
    assert not [row for row in daemons if row.data_path is DataPath.VIOMMU]
    assert not [row for row in daemons if row.data_path is DataPath.POOL and row.transport is Transport.PCI]
    assert all(PROGRAMS[row.program].executable.startswith("/usr/") for row in daemons)
    by_hand = [facts for facts in PROGRAMS.values() if not facts.packages]
    assert all(facts.executable.startswith("/usr/local/") for facts in by_hand)
    assert all(Suite.SID in facts.packages for facts in PROGRAMS.values() if facts not in by_hand)
    assert PROGRAMS[Program.QEMU_STORAGE_DAEMON].readiness is Readiness.FORKS


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


@pytest.mark.parametrize("daemon", devices.DAEMONS, ids=lambda daemon: daemon.__name__.rpartition(".")[2])
def test_the_file_of_a_daemon_says_all_of_it(daemon: ModuleType) -> None:
    kinds = [kind for kind in vars(daemon).values() if isinstance(kind, type) and issubclass(kind, VhostUserDevice)]
    (kind,) = (kind for kind in kinds if kind is not VhostUserDevice)
    assert not inspect.isabstract(kind)
    assert daemon.PROGRAM.value.replace("-", "_") == daemon.__name__.rpartition(".")[2]
    assert PROGRAMS[daemon.PROGRAM] is daemon.FACTS
    types = {service.type for service in daemon.UNDER_KVM if service.program is daemon.PROGRAM}
    assert types == {get_args(kind.model_fields["type"].annotation)[0]}
