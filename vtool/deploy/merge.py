"""Device-tree fragments into base trees, by dtc and fdtoverlay; what comes out is compared with both and the plan."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vtool.deploy.base_tree import changes
from vtool.deploy.merged_tree import complete, differences, guest_differences
from vtool.diagnostics import board_failed, not_installed, tool_failed
from vtool.plan.types import BoardPlan, KvmGuest
from vtool.platform.devicetree import read_blob

_HOST_HINT = "the facts file may not describe the board's base tree"
_GUEST_HINT = "the base tree must be of the guest's own machine: QEMU's dumpdtb with the guest's options"


def merge_host(base: Path, source: Path, board: BoardPlan) -> bytes:
    """Merge a board's fragment into its base tree and complete it. VtoolError VT701, VT702."""
    merged = _merge(base, source)
    try:
        before = read_blob(base.read_bytes())
        merged = complete(merged, board, before)
        after = read_blob(merged)
        wrong = [*differences(after, board), *changes(before, after)]
    except (ValueError, KeyError) as error:
        wrong = [str(error)]
    _refuse(wrong, board.name, _HOST_HINT)
    return merged


def merge_guest(base: Path, source: Path, guest: KvmGuest) -> bytes:
    """Merge a guest's fragment into the tree of its machine. VtoolError VT701, VT702."""
    merged = _merge(base, source)
    try:
        after = read_blob(merged)
        wrong = [*guest_differences(after, guest), *changes(read_blob(base.read_bytes()), after)]
    except (ValueError, KeyError) as error:
        wrong = [str(error)]
    _refuse(wrong, guest.name, _GUEST_HINT)
    return merged


def compile_overlay(source: Path) -> Path:
    """Compile a fragment to the ``.dtbo`` beside it. VtoolError VT701."""
    output = source.with_suffix(".dtbo")
    # Any word of dtc is an error; these checks do not know what the overlay will be merged into.
    quiet = [
        "-Wno-avoid_default_addr_size",
        "-Wno-unit_address_vs_reg",
        "-Wno-reg_format",
        "-Wno-ranges_format",
        "-Wno-chosen_node_is_root",
    ]
    run_tool(["dtc", "-@", "-I", "dts", "-O", "dtb", *quiet, "-o", str(output), str(source)])
    return output


def decompile(blob: Path) -> str:
    """Write a tree as source. VtoolError VT701."""
    return run_tool(["dtc", "-q", "-I", "dtb", "-O", "dts", str(blob)])


def run_tool(command: list[str]) -> str:
    """Run a tool that makes a file and says nothing; return its output. VtoolError VT701, VT501."""
    environment = {"SOURCE_DATE_EPOCH": "0", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    except (FileNotFoundError, PermissionError):
        raise not_installed(command[0]) from None
    with process:
        try:
            output, complaints = process.communicate()
        except BaseException:  # Ctrl-C: its folder is removed next, and it would go on writing there
            process.kill()
            process.wait()
            raise
    if process.returncode != 0 or complaints.strip():
        name = Path(command[-1]).name
        message = tool_failed(command[0], name, process.returncode, silent=not complaints.strip())
        raise board_failed("VT701", message, detail=complaints.splitlines()[-10:])
    return output


def _merge(base: Path, source: Path) -> bytes:
    output = source.with_suffix(".merged")
    run_tool(["fdtoverlay", "-i", str(base), "-o", str(output), str(compile_overlay(source))])
    return output.read_bytes()


def _refuse(wrong: list[str], name: str, hint: str) -> None:
    if wrong:
        message = f"the merged device tree of '{name}' is not what was planned"
        raise board_failed("VT702", message, hints=(hint,), detail=wrong)
