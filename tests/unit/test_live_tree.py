"""A running board's tree without what its boot loader wrote for one boot."""

from __future__ import annotations

import subprocess

from vtool.base.units import AddressRange
from vtool.board.live_tree import without_traces_of_a_boot
from vtool.platform.devicetree import read_blob

TREE = """/dts-v1/;
/memreserve/ 0x40000000 0x1000;
/memreserve/ 0x50000000 0x800000;
/memreserve/ 0x60000000 0x1000;
/ { #address-cells = <2>; #size-cells = <2>;
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    chosen { stdout-path = "serial0"; bootargs = "quiet"; linux,initrd-start = <0x50000000>;
             linux,initrd-end = <0x507ff000>; }; };
"""


def test_the_ramdisk_is_gone_with_its_reservation() -> None:
    blob = subprocess.run(["dtc", "-q", "-O", "dtb"], input=TREE.encode(), capture_output=True, check=True).stdout
    tree = read_blob(without_traces_of_a_boot(blob))
    assert tree.memory_reservations == (
        AddressRange.of_size(0x4000_0000, 0x1000),
        AddressRange.of_size(0x6000_0000, 0x1000),
    )
    assert set(tree.root.children["chosen"].values) == {"stdout-path"}
