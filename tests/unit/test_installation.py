"""What a running board tells of how it is installed, and how a deploy fills facts in with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.installed import UUID, Installed
from vtool.board.installation import Installation, installation
from vtool.cli.common import prepare
from vtool.deploy.for_installation import asks, for_installation, look
from vtool.diagnostics import VtoolError
from vtool.model.validate import load_facts
from vtool.plan.types import BoardPlan
from vtool.render import render

TOPOLOGY = """
version: 1
name: shipped
boards: {board0: {facts: BOARD, hypervisor: {kind: kvm}}}
domains: {host: {role: control, bootargs: mine}}
"""


def plan(folder: Path, facts: str = "rpi4") -> BoardPlan:
    path = folder / "t.yaml"
    path.write_text(TOPOLOGY.replace("BOARD", facts))
    return prepare(path).plan.boards[0]


def found(folder: Path, **files: str | None) -> Installation:
    return look(Installed(folder / "root", **files))


def test_a_board_tells_how_it_is_installed(tmp_path: Path) -> None:
    told = found(tmp_path)
    assert told.root is not None and (told.root.source, told.root_filesystem) == ("/dev/mmcblk0p2", "ext4")
    assert told.root_device == f"PARTUUID={UUID}"
    (mount,) = told.boot_mounts("u-boot")
    assert (mount.target, mount.kind, mount.files) == ("/boot/firmware", "vfat", ("extlinux/extlinux.conf",))
    assert told.u_boot == "2026.07" and told.words["consoles"] == "ttyS1"
    assert told.all("watchdog") == ("watchdog0 15 Broadcom BCM2835 Watchdog timer",)
    assert told.free_sectors("mmcblk0") == 2040 and told.free_sectors("sda") is None
    assert "systemd" in told.words and not told.boot_mounts("systemd-boot")


def test_a_plan_is_filled_in_and_what_facts_say_stands(tmp_path: Path) -> None:
    board = for_installation(plan(tmp_path), found(tmp_path))
    assert board.control.bootargs == (
        f"console=ttyS1,115200n8 root=PARTUUID={UUID} rootfstype=ext4 rw rootwait panic=10 mine"
    )
    boot = board.facts.boot
    assert boot is not None and boot.partition_mount == "/boot/firmware" and not asks(boot)
    script = render(board).get("boot.cmd").content
    assert f"root=PARTUUID={UUID}" in script
    assert "load ${devtype} ${devnum}:${distro_bootpart} 0x2000000 vtool/${vtool_set}/Image" in script
    shipped = plan(tmp_path, "qemu-virt")
    assert not asks(shipped.facts.boot) and for_installation(shipped, found(tmp_path)) == shipped


@pytest.mark.parametrize(
    ("files", "said", "asked"),
    [
        ({"boot/firmware/extlinux/extlinux.conf": None}, "no mounted partition has files for it", "`partition_mount`"),
        ({"boot/boot.scr": "x"}, "several have files for it: / (ext4 on /dev/mmcblk0p2), /boot/firm", "partition_mou"),
        ({"proc/mounts": "none / nfs rw 0 0\n", "proc/cmdline": ""}, "where its root file system is", "`root_device`"),
        (
            {"boot/firmware/extlinux/extlinux.conf": None, "boot/boot.scr": "x"},
            "cannot keep its boot state in a file of /, which is ext4 and not FAT",
            "such as sector 2040 of /dev/mmcblk0",
        ),
        (
            {"proc/cmdline": "root=/dev/x rootflags=subvol=@"},
            "mounts its root with `rootflags=subvol=@`",
            "`bootargs: ",
        ),
    ],
)
def test_what_is_not_clear_is_asked_for_by_name(
    files: dict[str, str | None], said: str, asked: str, tmp_path: Path
) -> None:
    with pytest.raises(VtoolError) as caught:
        for_installation(plan(tmp_path), found(tmp_path, **files))
    findings = [each for each in caught.value.diagnostics if said in each.message]
    assert findings and findings[0].code == "VT722" and asked in findings[0].hints[0]


def test_where_vtool_is_already_is_the_boot_partition(tmp_path: Path) -> None:
    told = found(tmp_path, **{"boot/boot.scr": "x", "boot/firmware/vtool/state.env": ""})
    assert [mount.target for mount in told.boot_mounts("u-boot")] == ["/boot/firmware"]


def test_an_answer_that_was_cut_short_is_none_of_a_board(tmp_path: Path) -> None:
    told = installation("mount /dev/a\nmount a b c\npartuuid\ncmdline")
    assert told.mounts == () and told.root_device == "" and told.partuuids == {}
    with pytest.raises(VtoolError):
        for_installation(plan(tmp_path), told)
    assert load_facts("rb5").facts.boot


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("EFI/systemd/systemd-bootaa64.efi", "EFI/BOOT/BOOTAA64.EFI", "EFI/debian/grubaa64.efi"), None),
        (("EFI/BOOT/BOOTAA64.EFI",), None),
        (("EFI/BOOT/BOOTAA64.EFI", "EFI/debian/grubaa64.efi"), "there is GRUB"),
        ((), "there is no systemd-boot"),
    ],
)
def test_firmware_has_to_come_to_systemd_boot(files: tuple[str, ...], said: str | None, tmp_path: Path) -> None:
    told = found(tmp_path, **{f"boot/firmware/{name}": "x" for name in ("loader/loader.conf", *files)})
    if said is None:
        boot = for_installation(plan(tmp_path, "rb5"), told).facts.boot
        assert boot is not None and boot.partition_mount == "/boot/firmware"
        return
    with pytest.raises(VtoolError, match=said) as caught:
        for_installation(plan(tmp_path, "rb5"), told)
    assert [each.code for each in caught.value.diagnostics] == ["VT725"]
