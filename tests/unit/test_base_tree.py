"""``--base-tree``: nodes to be passed through are looked for where the user gives the board's own tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.cli.main import main

TOPOLOGY = str(Path(__file__).resolve().parents[1] / "topologies" / "xen-pinned.yaml")
TREE = """/dts-v1/; / {
    #address-cells = <1>; #size-cells = <1>;
    smmu: smmuv3@9050000 { #iommu-cells = <1>; };
    pl061@NUMBER { reg = <0xNUMBER 0x1000>; iommus = <&smmu 1>; };
};"""


@pytest.mark.parametrize("prefix", ["", "board0="])
@pytest.mark.parametrize("verb", ["render", "dt"])
@pytest.mark.parametrize(("number", "code"), [("9030000", 0), ("9040000", 1)])
def test_a_tree_has_the_node_or_not(
    number: str, code: int, verb: str, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "board.dts"
    tree.write_text(TREE.replace("NUMBER", number))
    assert main([verb, TOPOLOGY, "-o", str(tmp_path / "out"), "--base-tree", f"{prefix}{tree}"]) == code
    said = capsys.readouterr().err
    assert ("error[VT417]: the device tree of board 'board0' has no node '/pl061@9030000'" in said) == bool(code)
    assert (f"{TOPOLOGY}:14:19" in said) == bool(code) and (tmp_path / "out").exists() != bool(code)


def test_a_tree_of_no_board_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dt", TOPOLOGY, "--base-tree", "other=tree.dtb"]) == 2
    assert "error[VT441]: 'xen-pinned' has no board 'other'" in capsys.readouterr().err
