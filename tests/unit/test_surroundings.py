"""A system that others made: what it lacks is said before anything changes, and what it has elsewhere is found."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vtool.cli.common import prepare
from vtool.deploy.needs import needs_of
from vtool.deploy.on_board import surroundings
from vtool.deploy.on_board.base import BoardError
from vtool.deploy.stage import StagedFile
from vtool.platform.layouts import AAVMF_CODE, U_BOOT
from vtool.render import render
from vtool.render.artifacts import Place

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"
NEEDS = {
    "programs": {"/usr/sbin/xl": ["vtool-domain-fe0.service"], "/usr/sbin/ip": ["vtool-bridge-br0.service"]},
    "units": {"xen.service": ["vtool-domain-fe0.service"]},
}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a board with xl where Debian has it, ip elsewhere, and Debian's unit of Xen."""
    for folder in ("usr/sbin", "opt/bin", "units"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("usr/sbin/xl", "opt/bin/ip"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "units/xen.service").touch()
    monkeypatch.setattr(surroundings, "UNIT_FOLDERS", (str(tmp_path / "units"),))
    monkeypatch.setattr(surroundings, "FOLDERS", str(tmp_path / "opt/bin"))
    monkeypatch.setattr(surroundings, "PATHS", tmp_path / "paths.sed")
    return tmp_path


def needs(board: Path) -> dict[str, Any]:
    programs = {f"{board}{path}": users for path, users in NEEDS["programs"].items()}
    return {"needs": {**NEEDS, "programs": programs}}


def test_a_board_that_has_all_is_taken_as_it_is(board: Path) -> None:
    surroundings.require(needs(board), boots=True)
    surroundings.require({}, boots=True)  # a generation of an older vtool


def test_all_that_lacks_is_said_at_once(board: Path) -> None:
    for name in ("usr/sbin/xl", "opt/bin/ip", "units/xen.service"):
        (board / name).unlink()
    with pytest.raises(BoardError) as caught:
        surroundings.require(needs(board), boots=True)
    assert caught.value.code == "VT457"
    assert caught.value.detail == [
        f"{board}/usr/sbin/xl, which vtool-domain-fe0.service start",
        f"{board}/usr/sbin/ip, which vtool-bridge-br0.service start",
        "xen.service, which vtool-domain-fe0.service need",
    ]


def test_upstreams_units_stand_for_debians(board: Path) -> None:
    (board / "units/xen.service").unlink()
    for unit in surroundings.STOOD_FOR["xen.service"]:
        with pytest.raises(BoardError):
            surroundings.require(needs(board), boots=True)
        (board / "units" / unit).touch()
    surroundings.require(needs(board), boots=True)


@pytest.mark.parametrize(
    ("words", "fails"),
    [
        ("/usr/sbin/xenconsoled\0-i\0--log=none\0", True),
        ("/usr/lib/xen-4.20/bin/xenconsoled\0--pid-file\0/run/x\0", True),
        ("/usr/sbin/xenconsoled\0-i\0--log=none\0--log=guest\0", False),
        ("/usr/sbin/xenconsoled\0--log=all\0", False),
        ("/usr/bin/other\0--log=none\0", False),
    ],
)
def test_what_guests_say_has_to_be_kept(
    words: str, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "71").mkdir()
    (tmp_path / "71/cmdline").write_text(words)
    monkeypatch.setattr(surroundings, "PROCESSES", tmp_path)
    if not fails:
        surroundings.require_guests_logged()
        return
    with pytest.raises(BoardError) as caught:
        surroundings.require_guests_logged()
    assert caught.value.code == "VT458"


@pytest.mark.parametrize(
    ("defaults", "runs", "boots", "fails"),
    [
        ("", None, True, True),
        (None, None, True, True),
        ('XENCONSOLED_ARGS="--timestamp=none --log=all"\n', None, True, False),
        ('XENCONSOLED_ARGS="--log=hv"\nXENCONSOLED_ARGS="$XENCONSOLED_ARGS --log=guest"\n', None, False, False),
        # What was written since it was started counts from the next boot on.
        ('XENCONSOLED_ARGS="--log=guest"\n', "--log=none", False, True),
        ('XENCONSOLED_ARGS="--log=guest"\n', "--log=none", True, False),
        ("", "--log=guest", False, False),
        ("", "--log=guest", True, True),
    ],
)
def test_what_guests_will_say_is_looked_at_before_anything_changes(
    defaults: str | None, runs: str | None, boots: bool, fails: bool, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board / "71").mkdir()
    (board / "71/cmdline").write_text(f"/usr/sbin/xenconsoled\0{runs}\0" if runs else "")
    monkeypatch.setattr(surroundings, "PROCESSES", board)
    monkeypatch.setattr(surroundings, "DEBIANS_INIT", board / "init.d")
    monkeypatch.setattr(surroundings, "DEBIANS_DEFAULTS", board / "default")
    if defaults is not None:
        (board / "default").write_text(defaults)
    of_xl = {"needs": {"consoles": {"xenconsoled": ["vtool-domain-fe0.service"]}}}
    surroundings.require(of_xl, boots=boots)  # upstream's units are given the word
    (board / "init.d").touch()
    surroundings.require({"needs": {}}, boots=boots)  # no guest of xl's
    if not fails:
        surroundings.require(of_xl, boots=boots)
        return
    with pytest.raises(BoardError) as caught:
        surroundings.require(of_xl, boots=boots)
    assert caught.value.code == "VT458"


def units_of(name: str, folder: Path) -> list[StagedFile]:
    found = []
    for artifact in render(prepare(next(ROOT.glob(f"t*/*/{name}.yaml"))).plan.boards[0]).pushed:
        if artifact.place is Place.GENERATION and artifact.name.startswith("units/"):
            path = folder / artifact.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(artifact.content)
            found.append(StagedFile(artifact.place, artifact.name, 0o644, path, "", 0, ()))
    return found


def test_what_units_start_and_require_is_told(tmp_path: Path) -> None:
    found = needs_of(units_of("xen-pv", tmp_path))
    assert found["units"] == {"xen.service": ["vtool-domain-fe0.service"]}
    assert found["programs"]["/usr/sbin/xl"] == ["vtool-domain-fe0.service"]
    assert found["consoles"] == {"xenconsoled": ["vtool-domain-fe0.service"]}
    # What may fail, and what vtool brings itself, is not asked of the board.
    assert not [path for path in found["programs"] if path == "/usr/bin/mv" or path.startswith("/var/lib/vtool")]


@pytest.mark.parametrize("example", ["kvm-networks", "kvm-direct"])
def test_a_device_of_the_board_is_no_unit_that_somebody_installs(example: str, tmp_path: Path) -> None:
    files = units_of(example, tmp_path)
    assert any("sys-subsystem-net-devices-" in file.content.decode() for file in files)
    assert not [unit for unit in needs_of(files)["units"] if unit.endswith(".device")]


@pytest.mark.parametrize("example", ["kvm-pool", "dom0less"])
def test_only_guests_of_xl_have_their_console_with_xenconsoled(example: str, tmp_path: Path) -> None:
    assert "consoles" not in needs_of(units_of(example, tmp_path))


def test_firmware_that_units_read_is_asked_of_the_board(board: Path, tmp_path: Path) -> None:
    found = needs_of(units_of("kvm-firmware", tmp_path))
    units = [f"vtool-domain-{guest}.service" for guest in ("fe0", "fe1")]
    assert found["files"] == {AAVMF_CODE: units, U_BOOT: ["vtool-domain-fe3.service"]}
    # Devices come with the kernel that is deployed.
    assert "files" not in needs_of(units_of("xen-grant", tmp_path / "other"))
    lacks = {"needs": {"files": {str(board / "AAVMF_CODE.fd"): units}}}
    with pytest.raises(BoardError, match=r"lacks .*AAVMF_CODE.fd, which vtool-domain-fe0.service") as caught:
        surroundings.require(lacks, boots=False)
    assert caught.value.code == "VT457"
    (board / "AAVMF_CODE.fd").touch()
    surroundings.require(lacks, boots=False)


# -- the generator of units


def generated(board: Path, example: str, there: tuple[str, ...], paths: str = "") -> dict[str, str]:
    """Run the generator on a board with these unit files; return what it made, by name."""
    plan = prepare(EXAMPLES / f"{example}.yaml").plan.boards[0]
    generation, out = board / "generation", board / "out"
    units_of(example, generation)
    out.mkdir()
    (board / "run").mkdir(exist_ok=True)
    (board / "run/vtool-current").symlink_to(generation)
    for name in there:
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).touch()
    (board / "paths.sed").write_text(paths)
    script = next(a.content for a in render(plan).artifacts if a.name == "unit-generator")
    script = script.replace("/var/lib/vtool/paths.sed", f"{board}/paths.sed")
    script = re.sub(r'(?<=[ "=])/(etc|usr|lib|run)/', rf"{board}/\1/", script)
    subprocess.run(["/bin/sh", "-eu", "-c", script, "generator", str(out)], check=True)
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


def test_on_debian_units_are_linked_and_nothing_is_added(board: Path) -> None:
    found = generated(board, "xen-pv", ("usr/lib/systemd/system/xen.service",))
    assert (board / "out/vtool-domain-fe0.service").is_symlink()
    assert "xen.service" not in found and "xenconsoled.service.d/vtool.conf" not in found


def test_where_upstreams_units_are_they_are_started_and_keep_what_guests_say(board: Path) -> None:
    folder = "usr/lib/systemd/system"
    there = tuple(f"{folder}/{unit}.service" for unit in ("xenstored", "xenconsoled", "xen-init-dom0"))
    found = generated(board, "xen-pv", there)
    assert "Requires= xenstored.service xenconsoled.service xen-init-dom0.service\n" in found["xen.service"]
    assert "After= xenstored.service xenconsoled.service xen-init-dom0.service\n" in found["xen.service"]
    (line,) = re.findall("EnvironmentFile=(.*)", found["xenconsoled.service.d/vtool.conf"])
    assert "--log=guest" in Path(line).read_text()


def test_under_kvm_nobody_asks_for_xens_units(board: Path) -> None:
    found = generated(board, "kvm-pool", ("usr/lib/systemd/system/xenstored.service",))
    assert "xen.service" not in found


def test_programs_elsewhere_are_started_from_there(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"/usr/sbin/ip": f"{board}/opt/bin/ip", "/usr/sbin/xl": "/usr/sbin/xl"}
    monkeypatch.setattr(surroundings, "_place_of", places.get)
    surroundings.note_places({"needs": {"programs": dict.fromkeys(places, ())}})
    changes = (board / "paths.sed").read_text()
    found = generated(board, "xen-pv", ("usr/lib/systemd/system/xen.service",), changes)
    bridge = found["vtool-bridge-xenbr0.service"]
    assert f"={board}/opt/bin/ip link" in bridge and "=/usr/sbin/ip" not in bridge
    assert "/usr/sbin/xl create" in found["vtool-domain-fe0.service"]


def test_what_was_built_by_hand_is_no_distributions(board: Path) -> None:
    assert surroundings._place_of("/nowhere/ip") == f"{board}/opt/bin/ip"
    assert surroundings._place_of("/usr/local/bin/ip") is None


def test_a_board_that_has_all_in_its_place_gets_no_changes(board: Path) -> None:
    surroundings.note_places({"needs": {"programs": {f"{board}/usr/sbin/xl": []}}})
    assert not (board / "paths.sed").exists()
    (board / "paths.sed").write_text("s/a/b/\n")
    surroundings.note_places({"needs": {}})
    assert (board / "paths.sed").read_text() == ""
