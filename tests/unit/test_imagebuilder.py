"""The ImageBuilder configuration, read back by the shell that sources it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from vtool.cli.common import prepare
from vtool.render import render

TOPOLOGY = Path(__file__).resolve().parents[1] / "topologies" / "dom0less-shared.yaml"
SETTINGS = TOPOLOGY.with_name("dom0less-settings.yaml")


def test_the_shell_reads_what_was_planned(tmp_path: Path) -> None:
    board = prepare(TOPOLOGY).plan.boards[0]
    (tmp_path / "config").write_text(render(board).get("imagebuilder.config").content)
    values = '"${DOMU_KERNEL[i]}" "${DOMU_CMD[i]}" "${DOMU_STATIC_MEM[i]}"'
    shown = f'source ./config; for i in 0 1; do printf "%s\\0" {values}; done'
    done = subprocess.run(["bash", "-euc", shown], cwd=tmp_path, capture_output=True, text=True, check=True)
    read = done.stdout.split("\0")[:-1]
    planned = []
    for guest in board.xen_boot.guests:
        assert guest.static_memory is not None
        static = guest.static_memory[0].range
        planned += [guest.kernel.file, guest.bootargs, f"{static.base:#x} {static.size_bytes:#x}"]
    assert read == planned


def test_settings_have_the_keys_of_imagebuilder(tmp_path: Path) -> None:
    board = prepare(SETTINGS).plan.boards[0]
    (tmp_path / "config").write_text(render(board).get("imagebuilder.config").content)
    arrays = "CAPS NR_SPIS P2M_MEM_MB TRAP_UNMAP GRANT_VER GRANT_FRAMES MAPTRACK_FRAMES VPL011 ENHANCED STATIC_EVTCHNS"
    shown = "declare -A DOMU_VCPU_HARD_AFFINITY; source ./config; for i in 0 1 2; do "
    shown += "".join(f'printf "%s\\0" "${{DOMU_{name}[i]-}}"; ' for name in arrays.split())
    shown += 'printf "%s\\0" "${DOMU_VCPU_HARD_AFFINITY[$i,0]-} ${DOMU_VCPU_HARD_AFFINITY[$i,1]-}"; done'
    done = subprocess.run(["bash", "-euc", shown], cwd=tmp_path, capture_output=True, text=True, check=True)
    read, width = done.stdout.split("\0")[:-1], len(arrays.split()) + 1
    assert [read[at : at + width] for at in range(0, len(read), width)] == [
        ["1", "64", "3", "", "", "", "", "1", "0", "", "0-1 0-1"],
        ["", "", "", "0", "", "", "", "1", "1", "1 2 1", "1 "],
        ["", "", "", "", "1", "32", "0", "0", "2", "1 1 1", " "],
    ]


def test_nodes_are_given_to_guests_by_their_paths(tmp_path: Path) -> None:
    board = prepare(SETTINGS).plan.boards[0]
    (node,) = board.passthrough
    nodes = tuple(replace(node, path=path) for path in ("/a@1", "/b@2"))
    guests = [replace(guest, passthrough=nodes) for guest in board.xen_boot.guests]
    board = replace(board, xen_boot=replace(board.xen_boot, guests=tuple(guests)))
    (tmp_path / "config").write_text(render(board).get("imagebuilder.config").content)
    shown = "declare -A DOMU_VCPU_HARD_AFFINITY; source ./config; printf '%s\n' \"${DOMU_PASSTHROUGH_PATHS[@]}\""
    done = subprocess.run(["bash", "-euc", shown], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["/a@1 /b@2"] * len(guests)


def test_nobody_is_told_to_define_guests_twice() -> None:
    text = render(prepare(SETTINGS).plan.boards[0]).get("imagebuilder.config").content
    assert "merge board.dtbo into the tree instead" not in text and "Do not merge board.dtbo" in text


def test_what_it_cannot_say_is_named() -> None:
    text = render(prepare(TOPOLOGY).plan.boards[0]).get("imagebuilder.config").content
    assert "no key for static event channels of dom0" in text and "a command line with quotes or '$' ('be0')" in text
