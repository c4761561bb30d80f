"""How many requests of granted disks are outstanding: what bounds them is what grants are counted by."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.cli.common import prepare, prepare_to_deploy
from vtool.diagnostics import VtoolError
from vtool.model.grants import available_grants, grant_frames_for, held_by
from vtool.platform.xen_grants import GRANTED_REQUESTS, OFFERED_ENTRIES, disk_grants, ring_pages

EXAMPLE = Path(__file__).resolve().parents[2] / "topology" / "examples" / "xen-grant.yaml"
WORD = f"virtio_blk.queue_depth={GRANTED_REQUESTS}"
SCSI = """\
version: 1
devices:
  scsi0:
    {type: scsi, frontend: fe0, backend: dom0, program: qemu-xenpvh, transport: mmio, data_path: grant,
     scsi: {disks: [DISKS]}}
"""


def words(*settings: str, example: str = "xen-grant.yaml") -> list[str]:
    """Return the words of the guest's kernel."""
    (board,) = prepare_to_deploy(EXAMPLE.with_name(example), (), settings).plan.boards
    (guest,) = board.guests
    return str(guest.bootargs).split()  # type: ignore[attr-defined]


def test_the_guests_kernel_bounds_what_is_counted() -> None:
    assert words().count(WORD) == 1
    (disk,) = (one for one in prepare_to_deploy(EXAMPLE).topology.devices.values() if one.type == "blk")
    grants = held_by(disk, 1).grants
    assert grants == disk_grants(GRANTED_REQUESTS, OFFERED_ENTRIES) < available_grants(None)
    assert grants - GRANTED_REQUESTS * 325 == ring_pages(1024) == 9, "the ring is QEMU's, whatever the requests"


def test_a_size_that_was_chosen_is_counted_and_nobody_bounds_it() -> None:
    chosen = "devices.disk0.queue_size=1024"
    with pytest.raises(VtoolError, match="VT380") as caught:
        prepare_to_deploy(EXAMPLE, (), [chosen])
    (hint,) = (hint for one in caught.value.diagnostics for hint in one.hints if "max_grant_frames" in hint)
    frames = int(hint.partition("max_grant_frames: ")[2].rstrip("}"))
    assert frames >= grant_frames_for(disk_grants(1024, OFFERED_ENTRIES))
    assert not any("queue_depth" in word for word in words(chosen, f"domains.fe0.xen.max_grant_frames={frames}"))


@pytest.mark.parametrize("example", ["xen-foreign.yaml", "xen-pool.yaml"])
def test_disks_that_grant_nothing_are_not_bounded(example: str) -> None:
    assert not any("queue_depth" in word for word in words(example=example))


def test_what_a_user_says_comes_after() -> None:
    said = words("domains.fe0.bootargs=virtio_blk.queue_depth=16")
    assert said.index(WORD) < said.index("virtio_blk.queue_depth=16"), "Linux takes the last"


@pytest.mark.parametrize(("disks", "each"), [(1, 64), (3, 21), (100, 1)])
def test_the_disks_of_a_scsi_host_share_the_requests(tmp_path: Path, disks: int, each: int) -> None:
    files = ", ".join(f"{{file: s{number}.img, size: 1MiB}}" for number in range(disks))
    (tmp_path / "scsi.yaml").write_text(SCSI.replace("DISKS", files))
    frames = "domains.fe0.xen.max_grant_frames=200"
    prepared = prepare(EXAMPLE, [tmp_path / "scsi.yaml"], [frames], keep=False)
    held = held_by(prepared.topology.devices["scsi0"], 1).grants
    assert disk_grants(disks * each, OFFERED_ENTRIES) <= held < disk_grants(disks * each, OFFERED_ENTRIES) + 300
    (board,) = prepared.plan.boards
    (guest,) = board.guests
    options = [str(pair) for device in guest.devices for option in device.options for pair in option.pairs]  # type: ignore[attr-defined]
    assert str(("cmd_per_lun", str(each))) in options
