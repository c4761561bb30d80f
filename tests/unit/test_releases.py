"""Newer releases beside the usual ones: which images there are of them, and what of vtool goes by a release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.paths import __main__ as paths
from vtool.board.emulated import EmulatedBoard
from vtool.board.machines import VIRT
from vtool.cli import images_verb
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.deploy.booting import require_suite
from vtool.diagnostics import VtoolError
from vtool.files.kernel_image import options_in
from vtool.images import (
    KERNEL_RELEASES,
    NAMES,
    ON_DEMAND,
    ROOT_DISKS,
    board_images,
    debian,
    kernel_fragment,
    recipe_lines,
    recipe_text,
)
from vtool.images.catalogue import CATALOGUE
from vtool.images.store import Image
from vtool.model.combinations import QEMU_OF_SUITE, Suite, combinations
from vtool.model.validate import load_facts
from vtool.report.paths import ALSO, choices_of, paths_lines

EXAMPLES = Path(__file__).resolve().parents[2] / "topology" / "examples"


def test_a_kernel_of_7_3_is_asked_for_what_7_3_has() -> None:
    old, new = (set(options_in(kernel_fragment(image))) for image in ("linux", "linux-7.3"))
    assert old - new == {"PROC_SYSCTL", "PREEMPT_VOLUNTARY", "PROC_PID_CPUSET"}
    assert new - old == {"SYSCTL", "PREEMPT_LAZY"}
    assert kernel_fragment() == recipe_text("kernel.config")


def test_every_renamed_option_is_one_that_is_asked_for() -> None:
    asked = options_in(kernel_fragment())
    assert all(line.split()[1] in asked for line in recipe_lines(recipe_text("kernel-renamed.txt")))


def test_an_emulated_board_has_the_disk_of_its_debian() -> None:
    assert board_images(VIRT, "u-boot", Suite.TRIXIE) == ("linux", "root-disk", "firmware")
    newer = ("linux", "root-disk-backports", "firmware-uefi", "systemd-boot")
    assert board_images(VIRT, "systemd-boot", Suite.TRIXIE_BACKPORTS) == newer
    assert {*KERNEL_RELEASES, *ROOT_DISKS.values()} <= set(NAMES) and set(NAMES) > ON_DEMAND


def test_newer_releases_are_built_for_who_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[list[str]] = []
    monkeypatch.setattr(images_verb, "ensure", lambda names, _: built.append(list(names)))
    assert main(["images", "build"]) == main(["images", "build", "linux-7.3"]) == 0
    assert built == [[name for name in CATALOGUE if name not in ON_DEMAND], ["linux-7.3"]]
    assert not any(need in ON_DEMAND for name in built[0] for need in CATALOGUE[name].needs), "nothing usual needs them"


def test_a_newer_root_file_system_is_named_by_all_the_archives_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VTOOL_CACHE", str(tmp_path))
    monkeypatch.setattr(debian, "_apt_helper", lambda words, suite: Path(words[2]).write_text(suite))
    inputs = CATALOGUE["rootfs-backports"].inputs({})
    assert set(inputs["others"]) == {"trixie-backports", "forky"} and len({*inputs["others"].values()}) == 2
    pins = json.loads((tmp_path / debian.RELEASE_LOCK).read_text())
    assert set(pins) == {"trixie", "trixie-backports", "forky"}
    assert {line.split("n=")[1] for line in inputs["newer"].splitlines() if "n=" in line} == set(inputs["others"])
    monkeypatch.setattr(debian, "_apt_helper", lambda *_: pytest.fail("what is pinned is not asked for again"))
    assert CATALOGUE["rootfs-backports"].inputs({}) == inputs


def test_a_fetched_kernel_source_counts_by_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "package_versions", lambda *names: dict.fromkeys(names, "1"))
    recipe = CATALOGUE["linux-7.3"]
    assert recipe.needs == ("linux-7.3-source",)
    one, other = (
        recipe.inputs({"linux-7.3-source": Image(Path(), {"sha256": digest})}) for digest in ("one", "another")
    )
    assert one != other and "linux-source-6.12" not in one["packages"]


# -- in a topology


def test_a_topology_names_a_kernel_and_a_suite() -> None:
    settings = ["domains.host.kernel=vtool:linux-7.3", "boards.board0.hypervisor.suite=trixie-backports"]
    (board,) = prepare(EXAMPLES / "kvm-pool.yaml", settings=settings, keep=False).plan.boards
    assert board.control.kernel_image == "vtool:linux-7.3"
    assert (board.suite, board.qemu) == (Suite.TRIXIE_BACKPORTS, QEMU_OF_SUITE[Suite.TRIXIE_BACKPORTS])
    assert board.qemu == (11, 1)


@pytest.mark.parametrize(
    ("key", "image", "hint"),
    [
        ("kernel", "vtool:rootfs", "there are: vtool:linux, vtool:linux-7.3"),
        ("kernel", "vtool:linux-7.4", "there are: vtool:linux, vtool:linux-7.3"),
        ("ramdisk", "vtool:linux", "there are: vtool:guest-initramfs, vtool:driver-domain, vtool:bench-initramfs"),
    ],
)
def test_an_image_that_is_something_else_is_refused(key: str, image: str, hint: str) -> None:
    with pytest.raises(VtoolError) as raised:
        prepare(EXAMPLES / "kvm-pool.yaml", settings=[f"domains.fe0.{key}={image}"], keep=False)
    (found,) = raised.value.diagnostics
    assert (found.code, found.message, found.hints) == (
        "VT505",
        f"'{image}' is not a {key} that vtool builds",
        (hint,),
    )


# -- the Debian of an emulated board


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulatedBoard:
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    board = EmulatedBoard("board0", load_facts("qemu-virt").facts)
    board.folder.mkdir(parents=True)
    return board


def refused(board: EmulatedBoard, suite: Suite | None) -> str:
    try:
        require_suite(board, suite)
    except VtoolError as error:
        (found,) = error.diagnostics
        return f"{found.code}: {found.message}"
    return ""


def test_a_board_that_was_made_with_another_debian_is_not_deployed_to(board: EmulatedBoard) -> None:
    assert refused(board, Suite.TRIXIE_BACKPORTS) == "", "it is made with that"
    made = board.folder / "board.json"
    for said in ({}, {"suite": "trixie"}):
        made.write_text(json.dumps({"format": 1, "facts": "qemu-virt", **said}))
        assert refused(board, Suite.TRIXIE) == refused(board, None) == ""
        assert refused(board, Suite.TRIXIE_BACKPORTS) == (
            "VT720: board 'board0' was made with Debian trixie, the topology says trixie-backports"
        )
    made.write_text(json.dumps({"format": 1, "facts": "qemu-virt", "suite": "trixie-backports"}))
    assert refused(board, Suite.TRIXIE).startswith("VT720: board 'board0' was made with Debian trixie-backports")


@pytest.mark.parametrize("suite", [Suite.BOOKWORM, Suite.SID])
def test_no_board_is_made_with_a_debian_that_there_is_no_disk_of(board: EmulatedBoard, suite: Suite) -> None:
    assert refused(board, suite) == (
        f"VT721: board 'board0' is emulated, and vtool has no root disk of Debian {suite.value} for it"
    )


# -- in the record


def test_what_was_proven_with_other_releases_is_told_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    choices = choices_of(next(c for c in combinations() if c.deployed and c.hypervisor == "kvm"))
    usual = {"date": "2026-11-28", "versions": {"Linux": "6.12.117"}, "reach": "", "bytes_checked": 1}
    record = tmp_path / "proven.json"
    record.write_text(json.dumps([{**choices, **usual}]))
    monkeypatch.setattr(paths, "PROVEN", record)
    newer = {**choices, **usual, "date": "2026-11-30", "versions": {"Linux": "7.3.4", "QEMU": "11.1.3"}}
    for date in ("2026-11-29", "2026-11-30"):
        paths.record_also([{**newer, "date": date}])
    paths.record([{**choices, **usual, "date": "2026-12-01"}])
    (entry,) = json.loads(record.read_text())
    assert (entry["date"], entry["versions"]) == ("2026-12-01", usual["versions"])
    assert entry[ALSO] == [{"date": "2026-11-30", "versions": newer["versions"]}], "once a release, and it stays"
    monkeypatch.setattr("vtool.report.paths._record", lambda: [entry])
    assert "        proven 2026-11-30 with Linux 7.3.4, QEMU 11.1.3" in list(paths_lines(["kvm"]))
