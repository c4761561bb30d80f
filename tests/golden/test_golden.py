"""Every example renders to the bytes checked in. VTOOL_GOLDEN=write rewrites them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.render import render
from vtool.render.artifacts import Kind

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = sorted((ROOT / "topology" / "examples").glob("*.yaml"))
# What is rendered and cannot be deployed yet.
RENDERED = sorted((ROOT / "tests" / "topologies").glob("*.yaml"))


def rendered(example: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    for board in prepare(example).plan.boards:
        for artifact in render(board).artifacts:
            name = f"{board.name}/{artifact.place.value}/{artifact.name}"
            files[name] = artifact.content if artifact.kind is not Kind.IMAGE else f"{artifact.content}\n"
    return files


@pytest.mark.parametrize("example", [*EXAMPLES, *RENDERED], ids=lambda path: path.stem)
def test_rendered_as_checked_in(example: Path) -> None:
    folder = HERE / example.stem
    files = rendered(example)
    if os.environ.get("VTOOL_GOLDEN") == "write":
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
    expected = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert files == expected


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_units_pass_systemds_own_parser(example: Path, tmp_path: Path) -> None:
    # Programs of the board are not here: stubs stand for them, so that only the unit's text is judged.
    units = {n: c for n, c in rendered(example).items() if "/units/" in n}
    assert units
    for name, content in units.items():
        for program in ("/usr/bin/qemu-system-aarch64", "/usr/bin/qemu-storage-daemon", "/usr/sbin/xl",
                        "/usr/bin/fdtoverlay", "/usr/bin/mv", "/var/lib/vtool/current/vtool-board",
                        "/usr/sbin/ip"):  # fmt: skip
            content = content.replace(program, "/bin/true")
        (tmp_path / Path(name).name).write_text(content)
    (tmp_path / "xen.service").write_text("[Service]\nExecStart=/bin/true\n")
    paths = sorted(str(path) for path in tmp_path.glob("vtool*"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "vtool" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_same_topology_same_bytes() -> None:
    assert rendered(EXAMPLES[0]) == rendered(EXAMPLES[0])
