"""Generations on a real emulated board: the difference shown, a trial that fails taken back, rolled back by hand.

The tests run in order on one board.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = pytest.mark.board


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("topology") / "t.yaml"
    path.write_text((EXAMPLES / "kvm-pool.yaml").read_text())
    return path


def change(topology: Path, written: str, instead: str) -> None:
    text = topology.read_text()
    assert text.count(written) == 1
    topology.write_text(text.replace(written, instead))


def generations(bench: Bench, topology: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the roles of generations that have some, and the history's events."""
    told: Any = json.loads(bench.vtool("generations", topology, "--format", "json").stdout)["board0"]
    roles = {item["generation"]: ",".join(item["roles"] + ["runs"] * item["running"]) for item in told["generations"]}
    return {name: words for name, words in roles.items() if words}, [
        (line["event"], line["generation"]) for line in told["history"]
    ]


@pytest.fixture(scope="module")
def first(bench: Bench, topology: Path) -> str:
    report = bench.deploy(topology)
    assert report["proven"] and report["confirmed"]
    assert generations(bench, topology)[0] == {report["generation"]: "good,runs"}
    return str(report["generation"])


def test_nothing_to_do_is_said_with_zero(bench: Bench, topology: Path, first: str) -> None:
    assert "nothing to do" in bench.vtool("plan", topology, "--against-board").stdout


def test_a_trial_that_fails_is_taken_back(bench: Bench, topology: Path, first: str) -> None:
    # A guest's kernel that gets no root file system, panics and restarts, which ends its QEMU.
    switches_off = "    bootargs: initcall_blacklist=populate_rootfs panic=-1\n"
    change(topology, "  fe0:\n", f"  fe0:\n{switches_off}")
    report = bench.deploy(topology, code=3)
    assert (report["failure"][0]["code"], report["fault"], report["went_back_to"]) == ("VT708", "board", first)
    roles, events = generations(bench, topology)
    assert roles == {first: "good,runs"} and events[-1] == ("taken back", report["generation"])
    change(topology, switches_off, "")
    assert not bench.deploy(topology)["changed"]


def test_a_kernel_that_never_comes_up_is_left_behind(bench: Bench, topology: Path, first: str) -> None:
    """The kernel panics after the board rebooted for it; the board comes back by itself."""
    change(topology, "    role: control\n", "    role: control\n    bootargs: init=/nosuch\n")
    report = bench.deploy(topology, code=3)
    assert (report["fault"], report["went_back_to"]) == ("board", first)
    roles, events = generations(bench, topology)
    assert roles == {first: "good,runs"} and events[-1][0] in ("did not come up", "taken back")
    assert "vtool.generation=" + first in bench.ssh("cat /proc/cmdline")
    change(topology, "    bootargs: init=/nosuch\n", "")


def test_a_saved_plan_is_refused_once_the_board_moved_on(
    bench: Bench, topology: Path, first: str, tmp_path: Path
) -> None:
    change(topology, "    memory: 256MiB\n", "    memory: 192MiB\n")
    line = topology.read_text().splitlines().index("  fe0:") + 1
    shown = bench.vtool("plan", topology, "--against-board", "--save", tmp_path / "saved", code=2).stdout
    assert f"generation/units/vtool-domain-fe0.service  domains.fe0 ({topology}:{line})" in shown
    assert "restarts: vtool-domain-fe0.service" in shown
    assert bench.vtool("deploy", topology, "--dry-run").stdout.splitlines()[1:] == shown.splitlines()[1:]
    assert generations(bench, topology)[0] == {first: "good,runs"}, "looking changes nothing"
    report = bench.deploy(topology, "--plan", str(tmp_path / "saved"))
    assert report["proven"] and report["changed"] and not report["rebooted"]
    assert generations(bench, topology)[0] == {first: "last", report["generation"]: "good,runs"}
    assert "VT718" in bench.vtool("deploy", topology, "--plan", tmp_path / "saved", code=3).stderr


def test_rolled_back_and_forward(bench: Bench, topology: Path, first: str) -> None:
    second = next(name for name, roles in generations(bench, topology)[0].items() if name != first)
    said = bench.vtool("rollback", topology).stdout
    assert f"runs generation {first} of 'kvm-pool' again" in said
    # By then the topology says 192 MiB: what is proven is what that generation was deployed with.
    assert "NOT PROVEN" not in said and "private 256MiB private" in said
    assert any(row["seen"].endswith("private 256MiB private") for row in bench.verify(topology))
    roles, events = generations(bench, topology)
    assert roles == {first: "good,runs", second: "last"} and events[-1] == ("confirmed", first)
    assert "VT717" in bench.vtool("rollback", topology, "--to", "nosuch", code=3).stderr
    bench.play("rollback", topology, "-e", f"vtool_generation={second}")
    assert generations(bench, topology)[0] == {first: "last", second: "good,runs"}


def keep_instead(bench: Bench, generation: str, change: str) -> None:
    """Change a generation on the board as if another vtool had deployed it: ``change`` works on its list of files.

    ``proof`` is the text of its proof.json, which is written back.
    """
    program = f"""
import hashlib, json, pathlib
folder = pathlib.Path("/var/lib/vtool/generations/{generation}")
about = json.loads((folder / "generation.json").read_text())
proof, files = (folder / "proof.json").read_text(), about["files"]
(entry,) = (file for file in files if file["name"] == "proof.json")
{change}
(folder / "proof.json").write_text(proof)
entry["sha256"] = hashlib.sha256(proof.encode()).hexdigest()
(folder / "generation.json").write_text(json.dumps(about, sort_keys=True))
"""
    bench.ssh("python3 -", stdin=program.encode())


def test_what_cannot_be_proven_is_not_gone_back_to(bench: Bench, topology: Path, first: str) -> None:
    keep_instead(bench, first, """proof = proof.replace('"memory-backends"', '"of-tomorrow"')""")
    done = bench.vtool("rollback", topology, code=3)
    assert "cannot be judged by this vtool: it has no judge 'of-tomorrow'" in done.stdout
    assert "NOT PROVEN" in done.stdout and "went back to generation" in done.stderr
    roles, events = generations(bench, topology)
    assert roles[first] == "last" and events[-1] == ("taken back", first)


def test_what_an_older_vtool_deployed_is_gone_back_to_and_not_proven(bench: Bench, topology: Path, first: str) -> None:
    keep_instead(bench, first, "files.remove(entry)")
    done = bench.vtool("rollback", topology, code=3)
    assert f"generation {first}  the proof that it keeps" in done.stdout
    assert f"runs generation {first} of 'kvm-pool' again" in done.stdout
    assert generations(bench, topology)[0][first] == "good,runs"
    noted = [row for row in bench.verify(topology, code=3) if row["noted"]]
    assert [row["what"] for row in noted] == ["the proof that it keeps"]  # and the memory is not what is asked for now


def test_nothing_is_left(bench: Bench, topology: Path, first: str) -> None:
    bench.vtool("down", topology)
    assert bench.ssh("ls /var/lib/vtool /boot/vtool 2>/dev/null; true") == ""
    assert "vtool.boot=factory" in bench.ssh("cat /proc/cmdline")
