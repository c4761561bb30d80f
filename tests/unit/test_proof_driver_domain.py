"""Driver domains: what is planned for vtool's own, what is deployed; each bad observation fails a row of its own."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from vtool.base.units import MIB, AddressRange
from vtool.check.deployable import not_deployable
from vtool.cli.common import prepare
from vtool.deploy.proof import Row, proofs, steps_of
from vtool.deploy.proof.saved import from_json, to_json
from vtool.diagnostics import VtoolError
from vtool.images.guest import Archive

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "topology/examples/xen-driver-domain.yaml"
OTHERS = ROOT / "tests/topologies/xen-driver-domains.yaml"
DIGEST, ATTEMPTS = "a" * 64, "ring mapped, console refused (Invalid argument), memory refused (Operation not permitted)"
SAID = {
    "state-fe0-disk0": "'storage', state 4, ring by grant yes",
    "written-sectors-fe0-disk0": "2048",
    "copy-fe0-net0": "'storage', state 4, rx by grant copy 1",
    "pages-storage-fe0": "267",
    "asked-storage": ATTEMPTS,
    "asked-by-dom0-storage": "mapped",
    **dict.fromkeys(("write-fe0-disk0", "written-fe0-disk0", "fill-fe0-disk0", "read-fe0-disk0"), f"{DIGEST}  -"),
    **dict.fromkeys(("serve-fe0-net0", "fetch-fe0-net0", "send-fe0-net0", "received-fe0-net0"), f"{DIGEST}  -"),
    "listen-fe0-net0": "ok",
}


def rows(changes: dict[str, str]) -> list[Row]:
    """Read the rows whose steps are all among the results."""
    results: dict[str, Any] = {step: {"code": 0, "output": said} for step, said in {**SAID, **changes}.items()}
    found = from_json(to_json(proofs(prepare(EXAMPLE).plan.boards[0])))
    return [p.read(results) for p in found if {step["id"] for step in p.steps} <= set(results)]


def test_all_good_is_all_proven() -> None:
    found = rows({})
    assert len(found) == 9 and all(row.proven for row in found)
    assert sum(row.bytes_checked for row in found) == 4 * MIB


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("state-fe0-disk0", "'Domain-0', state 4, ring by grant yes"),
        ("written-sectors-fe0-disk0", "0"),
        ("copy-fe0-net0", "'storage', state 3, rx by grant copy 1"),
        ("pages-storage-fe0", "0"),
        ("asked-storage", "ring mapped, console mapped, memory refused (Operation not permitted)"),
        ("asked-storage", "ring mapped, console refused (Invalid argument), memory mapped"),
        ("asked-storage", ATTEMPTS.replace("ring mapped", "ring refused (Invalid argument)")),
        (
            "asked-storage",
            f"{ATTEMPTS}\n{ATTEMPTS.replace('memory refused (Operation not permitted)', 'memory mapped')}",
        ),
        ("asked-storage", ""),
        ("asked-by-dom0-storage", "Operation not permitted"),
        ("written-fe0-disk0", "b" * 64),
        ("fetch-fe0-net0", ""),
    ],
)
def test_one_bad_observation_fails_one_row(step: str, said: str) -> None:
    assert sum(not row.proven for row in rows({step: said})) == 1


def test_steps_have_names_of_their_own() -> None:
    found = from_json(to_json(proofs(prepare(EXAMPLE).plan.boards[0])))
    every = {step["id"]: step for proof in found for step in proof.steps}
    assert all(every[step["id"]] == step for proof in found for step in proof.steps)
    assert len(steps_of(found)) == len(every)


def test_the_ramdisk_is_told_its_bridge_and_the_disk_keeps_its_scratch_space() -> None:
    storage, fe0 = prepare(EXAMPLE).plan.boards[0].xen_guests
    assert "vtool.bridge=xenbr0:192.0.2.1/24" in storage.bootargs.split()
    assert "vtool.bridge" not in fe0.bootargs
    (served,) = fe0.served_disks
    assert served.scratch == storage.disks[0].scratch == AddressRange(56 * MIB, 64 * MIB) and served.deployed
    others = {guest.name: guest for guest in prepare(OTHERS).plan.boards[0].xen_guests}
    assert "vtool.bridge" not in others["net"].bootargs and not others["fe0"].served_disks[0].deployed


def refused(tmp_path: Path, before: str, after: str) -> list[str]:
    topology = tmp_path / "topology.yaml"
    assert before in EXAMPLE.read_text()
    topology.write_text(EXAMPLE.read_text().replace(before, after))
    prepared = prepare(topology)
    return [finding.message for finding in not_deployable(prepared.document, prepared.topology)]


def test_deployed_is_what_was_proven(tmp_path: Path) -> None:
    assert refused(tmp_path, "", "") == []
    own = refused(tmp_path, "    ramdisk: vtool:driver-domain\n", "")
    assert len(own) == 2 and all("without the ramdisk vtool:driver-domain" in message for message in own)
    (address,) = refused(tmp_path, "      backend_address: 192.0.2.1/24\n", "")
    assert "without a `backend_address`" in address


def test_files_come_out_of_the_archive_with_what_they_link_to(tmp_path: Path) -> None:
    tree, root = tmp_path / "tree", tmp_path / "root"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tool").write_bytes(b"\x7fELF")
    (tree / "usr/bin/tool-read").hardlink_to(tree / "usr/bin/tool")
    (tree / "usr/bin/absolute").symlink_to("/usr/bin/near")
    (tree / "usr/bin/near").symlink_to("tool")
    with tarfile.open(tmp_path / "tree.tar", "w") as tar:
        tar.add(tree, ".")
    with tarfile.open(tmp_path / "tree.tar") as tar:
        archive = Archive(tar, root)
        archive.take_all("usr/bin/absolute")
        archive.take_all("usr/bin/tool-*")
        with pytest.raises(VtoolError, match="'usr/bin/other'"):
            archive.take_all("usr/bin/other")
    assert {path.name for path in (root / "usr/bin").iterdir()} == {"absolute", "near", "tool", "tool-read"}
    assert [path.name for path in archive.programs] == ["tool"]
