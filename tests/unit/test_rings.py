"""Rings: what both ends are told, and what their rows take for proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.deploy.proof import Row, proofs
from vtool.deploy.proof.saved import from_json, to_json
from vtool.deploy.proof.steps import REACH
from vtool.render import render

EXAMPLES = Path(__file__).resolve().parents[2] / "topology/examples"
KVM, XEN, BAR = (EXAMPLES / f"{name}.yaml" for name in ("kvm-ring", "xen-ring", "kvm-bar"))
MIB = 1 << 20


def words(bootargs: str) -> list[str]:
    return [word.removeprefix("vtool.ring=") for word in bootargs.split() if word.startswith("vtool.ring=")]


def row(example: Path, subject: str, what: str, result: dict[str, object]) -> Row:
    """Read a row whose steps all came to the same."""
    found = from_json(to_json(proofs(prepare(example).plan.boards[0])))
    (proof,) = (p for p in found if (unseen := p.read({})).subject == subject and unseen.what == what)
    return proof.read({step["id"]: result for step in proof.steps})


def test_two_guests_are_told_the_two_ends_of_each_ring() -> None:
    guests = {guest.name: guest for guest in prepare(KVM).plan.boards[0].kvm_guests}
    bar = "/sys/bus/pci/devices/0000:00:0{}.0/resource2"
    disk, link = words(guests["fe0"].bootargs)
    assert disk == f"attach,b,{bar.format(2)},/dev/nbd0"
    assert link.startswith(f"net,b,{bar.format(3)},ring0,192.0.2.2/24,02:54:00:")
    other_disk, other_link = words(guests["be0"].bootargs)
    assert other_disk == f"export,a,{bar.format(2)},/dev/vda"
    assert other_link.startswith(f"net,a,{bar.format(3)},ring0,192.0.2.1/24,02:54:00:")
    assert link[-17:] != other_link[-17:], "two ends of a link have two MACs"
    assert "vtool.ip=" not in guests["fe0"].bootargs, "the address is the ring's, not that of eth0"


def test_a_guest_of_xen_is_told_its_end_and_dom0_has_a_unit() -> None:
    board = prepare(XEN).plan.boards[0]
    (guest,) = board.xen_boot.guests
    disk, link = words(guest.bootargs)
    assert disk == "attach,b,/dev/mem:0x48000000+0x200000,/dev/nbd0,echo,56,57"
    assert link.startswith("net,b,/dev/mem:0x48200000+0x200000,ring0,192.0.2.2/24,02:54:00:")
    assert link.endswith(",echo")
    assert "vtool.share=" not in guest.bootargs, "what tests a region would write over the ring's header"
    files = {artifact.name: artifact.content for artifact in render(board).artifacts}
    assert files["domains/fe0/vtool-ring"] == "vtool:ring"
    unit = files["units/vtool-backend-disk0.service"]
    assert "vtool-ring export --region /dev/mem:0x60000000+0x200000 --side a --file " in unit
    assert "DeviceAllow=/dev/mem rw" in unit and "/dev/xen" not in unit


def test_the_plan_says_what_another_ramdisk_has_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vtool.cli.main import main

    text = KVM.read_text().replace("vtool:guest-initramfs", str(tmp_path / "other.gz"), 1)
    (tmp_path / "other.gz").write_bytes(b"070701")
    (tmp_path / "kvm-ring.yaml").write_text(text)
    assert main(["plan", str(tmp_path / "kvm-ring.yaml")]) == 0
    said = capsys.readouterr().out
    assert "'fe0' has to run: vtool-ring attach --region /sys/bus/pci/devices/0000:00:02.0/resource2 --side b" in said
    assert "'be0' runs: vtool-ring export" in said


@pytest.mark.parametrize(
    ("output", "proven"),
    [
        ("0x31474E4952545600\n0x00000001\n", True),
        ("0x31474E4952545600\n0x00000002\n", False),
        ("0x0000000000000000\n0x00000000\n", False),
        ("devmem: mmap: Operation not permitted\n", False),
        ("", False),
    ],
)
def test_a_header_is_magic_and_version(output: str, proven: bool) -> None:
    what = "header of the ring, in the frontend's BAR"
    assert row(KVM, "device net0", what, {"code": 0, "output": output}).proven is proven


@pytest.mark.parametrize(
    ("example", "device", "what", "regions"),
    [
        (KVM, "disk0", REACH, ("ring0", "ring1")),
        (KVM, "net0", REACH, ("ring0", "ring1")),
        (BAR, "window0", "what 'be0' can reach of 'fe0'", ("window0",)),
        (BAR, "window0", "what 'fe0' can reach of 'be0'", ("window0",)),
    ],
)
def test_another_virtual_machine_reaches_the_regions_and_nothing_more(
    example: Path, device: str, what: str, regions: tuple[str, ...]
) -> None:
    sizes = [{"identity": f"1:{number}", "size_bytes": 2 * MIB} for number, _ in enumerate(regions)]
    good = {"secret_shared": 0, "secret_own": 0, "control_shared": 256, "control_own": 512, "searched_bytes": 64 * MIB}
    good |= {"objects": sizes, "unread": []}
    cases = [
        ({}, True),
        ({"secret_own": 256}, False),
        ({"secret_shared": 256}, False),
        ({"control_shared": 0}, False),
        ({"objects": sizes[1:]}, False),
        ({"objects": [*sizes, {"identity": "1:3", "size_bytes": 128 * MIB}]}, False),
        ({"unread": [f"/dev/shm/vtool-{regions[0]}"]}, False),
    ]
    for changes, proven in cases:
        seen = row(example, f"device {device}", what, {**good, **changes})
        assert seen.expected == ", ".join(f"region {region} (2MiB)" for region in regions)
        assert seen.proven is proven, changes


@pytest.mark.parametrize(
    ("output", "proven"),
    [
        ("7f0000000000-7f0000200000 60000000 /dev/mem\n", True),
        ("7f0000000000-7f0000200000 00000000 /dev/mem\n", False),
        ("7f0000000000-7f0000400000 60000000 /dev/mem\n", False),
        ("7f0000000000-7f0000200000 60000000 /dev/mem\n7f0000200000-7f0000400000 40000000 /dev/mem\n", False),
        ("", False),
        ("awk: cannot open /proc/0/maps\n", False),
    ],
)
def test_dom0s_end_maps_its_region_alone(output: str, proven: bool) -> None:
    what = "memory shared with others that it maps"
    assert row(XEN, "backend of disk0", what, {"code": 0, "output": output}).proven is proven
