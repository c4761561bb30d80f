"""Boards of the world: trees compiled from the kernel's own source, imported, planned on, merged and compared.

A sample; `python -m tests.survey FOLDER` does the same with every tree below a folder.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.survey.trees import results_of

SOURCE = "linux-source-6.12"
EVERY = 40


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("trees")
    parts = (
        "arch/arm64/boot/dts",
        "arch/arm/boot/dts",
        "include/dt-bindings",
        "include/uapi/linux/input-event-codes.h",
    )
    unpack = ["tar", "xf", f"/usr/src/{SOURCE}.tar.xz", "-C", folder, "--strip-components=1"]
    subprocess.run([*unpack, *(f"{SOURCE}/{part}" for part in parts)], check=True)
    sources, prefixes = folder / "arch/arm64/boot/dts", folder / "prefixes"
    prefixes.mkdir()
    for name in ("arm", "arm64"):  # as scripts/dtc/include-prefixes
        (prefixes / name).symlink_to(folder / "arch" / name / "boot/dts")
    compiled = []
    for source in sorted(sources.rglob("*.dts"))[::EVERY]:
        blob = folder / f"{source.stem}.dtb"
        words = [
            "-nostdinc",
            "-undef",
            "-D__DTS__",
            "-x",
            "assembler-with-cpp",
            "-I",
            folder / "include",
            "-I",
            prefixes,
        ]
        text = subprocess.run(["cpp", *words, "-I", sources, source], capture_output=True, check=True).stdout
        subprocess.run(["dtc", "-q", "-i", source.parent, "-O", "dtb", "-o", blob], input=text, check=True)
        compiled.append(blob)
    return compiled


def test_a_topology_is_merged_into_every_board_as_planned_or_refused(trees: list[Path], tmp_path: Path) -> None:
    results = {path.stem: results_of(path, tmp_path) for path in trees}
    assert {name: found for name, found in results.items() if any("WRONG" in word for word in found)} == {}
    # A tenth of the boards have a GIC that no hypervisor can use; some reserve what stops this Xen, or much of the GiB
    # made up for them.
    outcomes = {"merged as planned", *(f"not planned: {code}" for code in ("VT804", "VT453", "VT422"))}
    judged = [found for found in results.values() if outcomes & set(found)]
    assert len(judged) > len(results) * 0.9, results
    assert sum("merged as planned" in found for found in judged) > len(results) * 0.75, results
