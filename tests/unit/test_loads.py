"""Files against the windows that they are loaded into: large ones, which no folder of cases holds."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest

from vtool.base.units import MIB, AddressRange
from vtool.cli.common import prepare
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.files.boot_files import look_at
from vtool.model.load_windows import load_windows
from vtool.model.validate import load_facts, read_facts

FACTS = (Path(__file__).resolve().parents[1] / "errors" / "facts" / "loads.yaml").read_text()
BANNER = b"Linux version 6.12"
TOPOLOGY = """\
version: 1
name: t
boards:
  b:
    facts: ./facts.yaml
    hypervisor: {kind: %s}
domains:
  dom0:
    role: control
    kernel: control%s
  fe0:
    memory: 256MiB
    ramdisk: ramdisk%s
"""


def image(path: Path, size_bytes: int, image_size: int = 0, banner: bytes = BANNER, text_offset: int = 0) -> None:
    head = b"MZ" + bytes(6) + struct.pack("<QQ", text_offset, image_size) + bytes(32) + b"ARM\x64" + bytes(4)
    with path.open("wb") as stream:
        stream.write(head + banner)
        stream.truncate(size_bytes)


def found(folder: Path, kind: str, more: str = "", start: str = "") -> list[Diagnostic]:
    (folder / "facts.yaml").write_text(FACTS)
    if not (folder / "ramdisk").exists():
        (folder / "ramdisk").write_bytes(b"070701")
    (folder / "t.yaml").write_text(TOPOLOGY % (kind, more, start))
    try:
        return list(prepare(folder / "t.yaml").warnings)
    except VtoolError as error:
        return list(error.diagnostics)


def errors(folder: Path, kind: str, more: str = "", start: str = "") -> list[str]:
    return [d.message for d in found(folder, kind, more, start) if d.code == "VT713"]


def test_the_windows_of_a_board_end_where_the_next_begins_or_what_is_kept(tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text(FACTS)
    assert load_windows(read_facts(tmp_path / "facts.yaml").facts) == {
        "device_tree": AddressRange(0x9000_0000, 0x9020_0000),
        "kernel": AddressRange(0x9400_0000, 0x9600_0000),
        "ramdisk": AddressRange(0x9600_0000, 0x9E00_0000),
        "hypervisor": AddressRange(0x9E00_0000, 0x9E80_0000),
    }
    assert all(load_windows(load_facts("qemu-virt").facts))


def test_a_kernel_under_kvm_takes_what_its_header_says(tmp_path: Path) -> None:
    image(tmp_path / "control", 1 * MIB, 32 * MIB)
    assert errors(tmp_path, "kvm") == []
    image(tmp_path / "control", 1 * MIB, 33 * MIB)
    assert errors(tmp_path, "kvm") == [
        "the kernel of 'dom0' would end at 0x96100000, 1MiB beyond the 32MiB [0x94000000, 0x96000000) that it is "
        "loaded into"
    ]


def test_booti_moves_a_kernel_to_its_offset(tmp_path: Path) -> None:
    image(tmp_path / "control", 1 * MIB, 32 * MIB, text_offset=0x8_0000)
    assert errors(tmp_path, "kvm") == [
        "the kernel of 'dom0' would end at 0x96080000, 512KiB beyond the 32MiB [0x94000000, 0x96000000) that it is "
        "loaded into"
    ]


def test_a_kernel_under_xen_is_a_module_of_its_files_size(tmp_path: Path) -> None:
    image(tmp_path / "control", 40 * MIB, 48 * MIB)
    assert errors(tmp_path, "xen", "\n    memory: 256MiB") == [
        "the kernel of 'dom0' ends at 0x96800000, 8MiB beyond the 32MiB [0x94000000, 0x96000000) that it is loaded into"
    ]
    image(tmp_path / "control", 1 * MIB, 48 * MIB)
    assert errors(tmp_path, "xen", "\n    memory: 256MiB") == []


def test_a_hypervisor_has_eight_mib(tmp_path: Path) -> None:
    image(tmp_path / "control", 1 * MIB)
    image(tmp_path / "xen", 1 * MIB, 9 * MIB, b"Xen version %d.%d%s")
    (message,) = errors(tmp_path, "xen, version: 4.20, image: xen", "\n    memory: 256MiB")
    assert message.startswith("the Xen of 'b' would end at 0x9e900000, 1MiB beyond the 8MiB")


@pytest.mark.parametrize("key", ["kernel", "ramdisk"])
def test_a_module_of_a_guest_that_xen_starts(key: str, tmp_path: Path) -> None:
    image(tmp_path / "control", 1 * MIB)
    image(tmp_path / "large", 33 * MIB, 33 * MIB)
    (tmp_path / "ramdisk").write_bytes(b"070701" + bytes(33 * MIB if key == "ramdisk" else 1))
    more = "\n    start: dom0less" + ("\n    kernel: large" if key == "kernel" else "")
    (message,) = errors(tmp_path, "xen", "\n    memory: 256MiB", more)
    assert message.startswith(f"the {key} of 'fe0' has 34603") and "more than the 32MiB" in message


def test_what_is_packed_is_judged_where_it_is_unpacked(tmp_path: Path) -> None:
    image(tmp_path / "raw", 40 * MIB, 40 * MIB)
    (tmp_path / "control").write_bytes(gzip.compress((tmp_path / "raw").read_bytes(), 1))
    assert len(errors(tmp_path, "kvm")) == 1
    assert errors(tmp_path, "xen", "\n    memory: 256MiB") == []
    assert look_at(tmp_path / "control").image_size == 40 * MIB


def test_the_hint_says_how_far_its_room_has_to_reach(tmp_path: Path) -> None:
    image(tmp_path / "control", 1 * MIB, 33 * MIB)
    (one,) = (d for d in found(tmp_path, "kvm") if d.code == "VT713")
    assert "RAM up to 0x96200000 free" in one.hints[0]  # 33 MiB from 0x9400_0000, whole units of 2 MiB
