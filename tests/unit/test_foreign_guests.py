"""Guests that are not vtool's: what is shown of them from outside, what is not looked at, and what must be shown."""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.deploy import tasks
from vtool.deploy.job import Job, Report
from vtool.deploy.on_board import domains, inside, observe
from vtool.deploy.proof import Proof, Row, proofs, saved, steps_of
from vtool.deploy.secrets import secrets_of
from vtool.diagnostics import VtoolError
from vtool.model.access import Way
from vtool.plan.types import BoardPlan
from vtool.render import render

SECRET = "hunter2-of-the-guest"
BOARDS = {
    "kvm": "facts: qemu-virt, hypervisor: {kind: kvm}",
    "xen": "facts: qemu-virt, hypervisor: {kind: xen}",
}
DEVICES = {
    "kvm": """\
  disk0:
    type: blk
    frontend: fe0
    backend: host
    program: qemu
    transport: mmio
    data_path: shared-ram
    disk: {file: fe0.img, size: 64MiB}
  net0:
    type: net
    frontend: fe0
    backend: host
    program: qemu
    transport: mmio
    data_path: shared-ram
    network: {bridge: kvmbr0, frontend_address: 192.168.7.2/24, backend_address: 192.168.7.1/24}
""",
    "xen": """\
  disk0:
    type: blk
    frontend: fe0
    backend: host
    program: blkback
    transport: xenbus
    data_path: pv
    disk: {file: fe0.img, size: 64MiB}
  net0:
    type: net
    frontend: fe0
    backend: host
    program: netback
    transport: xenbus
    data_path: pv
    network: {bridge: xenbr0, frontend_address: 192.168.8.2/24, backend_address: 192.168.8.1/24}
""",
}


def topology(folder: Path, guest: str, hypervisor: str = "kvm") -> Path:
    path = folder / "t.yaml"
    memory = "" if hypervisor == "kvm" else ", memory: 1GiB"
    path.write_text(
        f"version: 1\nname: foreign\nboards:\n  board0: {{{BOARDS[hypervisor]}}}\ndomains:\n"
        f"  host: {{role: control{memory}}}\n  fe0:\n    memory: 256MiB\n    bootargs: root=/dev/vda\n{guest}"
        f"devices:\n{DEVICES[hypervisor]}"
    )
    (folder / "pw.txt").write_text(f"{SECRET}\nthe second line\n")
    (folder / "id_ed25519").write_text(f"-----BEGIN {SECRET}-----\n")
    return path


def board_of(folder: Path, guest: str, hypervisor: str = "kvm") -> BoardPlan:
    return prepare(topology(folder, guest, hypervisor)).plan.boards[0]


def manifest_of(board: BoardPlan) -> dict[str, Any]:
    text = next(artifact.content for artifact in render(board).artifacts if artifact.name == "manifest.json")
    domain: dict[str, Any] = json.loads(text)["domains"]["fe0"]
    return domain


@pytest.mark.parametrize(
    ("guest", "access", "ready"),
    [
        ("    ramdisk: vtool:guest-initramfs\n", None, "vtool: domain ready"),
        ("", {"by": "prompt"}, "vtool: domain ready"),
        ("    access: shell\n", None, "vtool: domain ready"),
        ("    access: none\n", {"by": "none"}, ""),
        ("    access: none\n    ready: up\n", {"by": "none"}, "up"),
        (
            "    access: login\n",
            {"by": "login", "user": "root", "password": False, "prompt": "login: ", "password_prompt": "Password: "},
            "login:",
        ),
        (
            "    access: {login: {user: me, password_file: pw.txt, prompt: 'name? ', password_prompt: 'word? '}}\n",
            {"by": "login", "user": "me", "password": True, "prompt": "name? ", "password_prompt": "word? "},
            "name?",
        ),
        (
            "    access: {ssh: {key_file: id_ed25519}}\n",
            {"by": "ssh", "user": "root", "address": "192.168.7.2", "port": 22, "host_key": None},
            "",
        ),
    ],
)
def test_what_a_board_is_told_of_a_guest(guest: str, access: dict[str, Any] | None, ready: str, tmp_path: Path) -> None:
    told = manifest_of(board_of(tmp_path, guest))
    assert told.get("access") == access and told["ready"] == ready


@pytest.mark.parametrize("hypervisor", BOARDS)
@pytest.mark.parametrize(
    "guest", ["    access: {login: {password_file: pw.txt}}\n", "    access: {ssh: {key_file: id_ed25519}}\n"]
)
def test_secrets_are_in_nothing_that_is_written(
    guest: str, hypervisor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = topology(tmp_path, guest, hypervisor)
    board = prepare(path).plan.boards[0]
    assert SECRET in secrets_of(board.guests)["fe0"] and "second line" not in secrets_of(board.guests)["fe0"]
    written = [artifact.content for artifact in render(board).artifacts]
    written.append(saved.to_json(proofs(board)))
    for words in (["plan"], ["plan", "--format", "json"], ["validate", "--format", "json"], ["map"], ["graph"]):
        main([words[0], str(path), *words[1:]])
    main(["render", str(path), "-o", str(tmp_path / "out")])
    main(["bundle", str(path), "-o", str(tmp_path / "lab.vtool"), "--without-boards"])
    written += [file.read_bytes().decode(errors="replace") for file in tmp_path.rglob("*") if file.is_file()
                and file.name not in ("pw.txt", "id_ed25519")]  # fmt: skip
    written += capsys.readouterr()
    assert not [text[:200] for text in written if SECRET in text]


def test_a_password_in_a_topology_is_refused_and_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, value in enumerate((SECRET, "31337", "[31337]")):
        path = topology(tmp_path, f"    access: {{login: {{user: root, password: {value}}}}}\n")
        assert main(["validate", str(path)]) == 1
        assert main(["validate", str(path), "--format", "json"]) == 1
        out, err = capsys.readouterr()
        assert value.strip("[]") not in out + err and (number == 2 or "VT481" in err)


def test_the_environment_may_have_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = board_of(tmp_path, "    access: {login: {password_env: GUEST_PW}}\n")
    with pytest.raises(VtoolError, match=r"VT487: what gets into 'fe0': the variable 'GUEST_PW' is not set"):
        secrets_of(board.guests)
    monkeypatch.setenv("GUEST_PW", SECRET)
    assert secrets_of(board.guests) == {"fe0": SECRET}


def test_a_file_that_is_not_there_is_said_where_it_is_named(tmp_path: Path) -> None:
    board = board_of(tmp_path, "    access: {login: {password_file: other.txt}}\n")
    with pytest.raises(VtoolError, match="VT487") as caught:
        secrets_of(board.guests)
    (found,) = caught.value.diagnostics
    assert found.span is not None and found.span.line == 10 and "other.txt" in found.message


def test_what_a_guest_of_xens_says_on_its_uart_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """xenconsoled has a log for each; neither has what the last run said."""
    board = board_of(tmp_path, "    access: none\n    ready: up\n    xen: {uart: true}\n", "xen")
    told = manifest_of(board)
    assert told["uart_log"] == "/var/log/xen/console/guest-fe0-vuart0.log"
    units = [a.content for a in render(board).artifacts if a.name == "units/vtool-domain-fe0.service"]
    assert all(f"mv -f {told[key]} {told[key]}.old" in units[0] for key in ("console_log", "uart_log"))
    (said,) = (step["command"] for step in steps_of(proofs(board)) if step["id"] == "said-fe0")
    assert told["console_log"] in said and told["uart_log"] in said
    (tmp_path / "uart").write_text("up\n")
    monkeypatch.setattr(domains, "run", lambda *_, **__: pytest.fail("no log of Xen's is asked for"))
    logs = {"console_log": str(tmp_path / "none"), "uart_log": str(tmp_path / "uart")}
    assert b"up" in domains.console_text({"kind": "xen", **logs})
    plain = manifest_of(board_of(tmp_path, "    ramdisk: vtool:guest-initramfs\n    xen: {uart: true}\n", "xen"))
    assert "uart_log" not in plain


# -- rows


def read(found: list[Proof], changes: dict[str, Any], missed: str = "") -> dict[str, Row]:
    """Judge what a board said: that of all steps in the guest nothing was looked at, if ``missed`` says why."""
    results: dict[str, Any] = {}
    for step in steps_of(found):
        in_guest = step["op"] in observe.SHELL_OPERATIONS
        results[step["id"]] = {"code": 0, "output": "", "answers": [{}], "value": "y", "shared": []}
        if in_guest and missed:
            results[step["id"]] = {"error": {"message": missed, "detail": []}, "not_looked_at": missed}
    results |= changes
    rows = [proof.read(results) for proof in found]
    return {f"{row.subject}: {row.what}": row for row in rows}


OUTSIDE: dict[str, Any] = {
    "unit-fe0": {"code": 0, "output": "active\n"},
    "said-fe0": {"code": 0, "output": "1\n"},
    "counted-fe0-net0": {"code": 0, "output": "read 2048 written 1024\n"},
    "offers-disk0": {"VIRTIO_F_VERSION_1": True, "VIRTIO_F_IOMMU_PLATFORM": False},
    "offers-net0": {"VIRTIO_F_VERSION_1": True, "VIRTIO_F_IOMMU_PLATFORM": False},
    "memdev-fe0": {"answers": [[{"id": "private", "size": 256 << 20, "share": False}]]},
    "release-linux": {"code": 0, "output": "6.12.1\n"},
    "qemu-fe0": {"answers": [{"qemu": {"major": 10, "minor": 0, "micro": 13}}]},
}


def counted(read_bytes: int) -> dict[str, Any]:
    disks = {"/machine/peripheral/device-disk0/virtio-backend": read_bytes, "device-disk1": 7, "device-disk00": 5}
    stats = [{"qdev": name, "stats": {"rd_bytes": size, "wr_bytes": 0}} for name, size in disks.items()]
    return {"counted-fe0-disk0": {"answers": [stats]}}


def test_what_nobody_gets_into_is_shown_from_outside(tmp_path: Path) -> None:
    found = proofs(board_of(tmp_path, "    access: none\n    ready: up\n"))
    rows = read(found, {**OUTSIDE, **counted(1 << 20)}, missed="nobody gets in")
    proven = {name for name, row in rows.items() if row.proven}
    assert {
        "domain fe0: its unit is active",
        "domain fe0: its console said",
        "device disk0: features that it was offered, and works with",
        "device disk0: bytes that its backend counted",
        "device net0: bytes that its backend counted",
    } <= proven
    assert rows["device disk0: bytes that its backend counted"].seen == "1MiB read, none written"
    noted = [row for row in rows.values() if row.noted]
    assert noted and all(row.seen == "not looked at: nobody gets in" for row in noted)
    assert not [row for row in rows.values() if row.failed]
    quiet = read(found, {**OUTSIDE, **counted(0)}, missed="nobody gets in")
    assert quiet["device disk0: bytes that its backend counted"].noted
    assert quiet["device disk0: features that it was offered, and works with"].noted
    assert not [row for row in quiet.values() if row.failed]
    never = read(found, {**OUTSIDE, **counted(0), "said-fe0": {"code": 0, "output": "0\n"}}, missed="x")
    assert [name for name, row in never.items() if row.failed] == ["domain fe0: its console said"]


def test_what_is_required_and_was_not_looked_at_fails(tmp_path: Path) -> None:
    found = proofs(board_of(tmp_path, "    ready: up\n    proof: {require: [data, unit]}\n"))
    again = saved.from_json(saved.to_json(found))
    for each in (found, again):
        rows = read(each, {**OUTSIDE, **counted(1 << 20)}, missed="no prompt")
        failed = [row for row in rows.values() if row.failed]
        assert len(failed) == 3 and all("1MiB" in row.what for row in failed), "of disk and network"
        assert {row.seen for row in failed} == {"not looked at: no prompt"}


def test_existing_proofs_say_nothing_new(tmp_path: Path) -> None:
    text = saved.to_json(proofs(board_of(tmp_path, "    ramdisk: vtool:guest-initramfs\n")))
    assert "required" not in text and "counted-" not in text and "may_not_say" not in text


def test_xens_devices_are_counted_too(tmp_path: Path) -> None:
    found = proofs(board_of(tmp_path, "    access: none\n", "xen"))
    counters = {step["id"]: step["command"] for step in steps_of(found) if step["id"].startswith("counted")}
    assert "statistics/rd_sect" in counters["counted-fe0-disk0"] and "vif$D.0/" in counters["counted-fe0-net0"]
    told = {
        "unit-fe0": OUTSIDE["unit-fe0"],
        "counted-fe0-disk0": {"code": 0, "output": "read 512 written 0\n"},
        "counted-fe0-net0": {"code": 0, "output": "read  written \n"},
    }
    rows = read(found, told, missed="nobody gets in")
    assert rows["device disk0: bytes that its backend counted"].seen == "512B read, none written"
    assert rows["device net0: bytes that its backend counted"].noted


def test_a_device_that_a_guest_does_not_use_is_noted_and_too_much_reach_is_not(tmp_path: Path) -> None:
    path = topology(tmp_path, "    access: none\n")
    path.write_text(path.read_text().replace("program: qemu\n", "program: qemu-storage-daemon\n", 1))
    found = proofs(prepare(path).plan.boards[0])
    (row,) = (proof for proof in found if proof.subject == "backend of disk0")
    maps = {"name": "/memfd:memory-backend-memfd (deleted)", "identity": "0:1", "size_bytes": 256 << 20}
    vmm = {"maps-vtool-domain-fe0.service": {"shared": [maps]}}
    for mapped, proven, noted in (
        ([maps], True, False),
        ([], False, True),
        ([{**maps, "size_bytes": 1}], False, False),
    ):
        seen = row.read({**vmm, "maps-vtool-backend-disk0.service": {"shared": mapped}})
        assert (seen.proven, seen.noted) == (proven, noted)


@pytest.mark.parametrize(("access", "noted"), [("none", True), ("shell", False)])
def test_a_guest_of_xen_without_pv_drivers_is_noted(access: str, noted: bool, tmp_path: Path) -> None:
    found = proofs(board_of(tmp_path, f"    access: {access}\n", "xen"))
    for each in (found, saved.from_json(saved.to_json(found))):
        (row,) = (proof for proof in each if proof.what == "blkback connected, ring granted")
        read_ = row.read({row.steps[0]["id"]: {"code": 0, "output": "state 2, ring by grant "}})
        assert read_.noted is noted and read_.failed is not noted


# -- on the board


def looked(monkeypatch: pytest.MonkeyPatch, request_: dict[str, Any]) -> dict[str, Any]:
    domains = {"fe0": {"kind": "kvm", "access": {"by": "none"}}}
    monkeypatch.setattr(inside, "deployed_domain", lambda name: domains[name])
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request_)))
    results: dict[str, Any] = observe.verb_observe(argparse.Namespace())["results"]
    return results


def test_what_goes_with_what_was_not_looked_at_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = {"id": "serve", "op": "domain", "domain": "fe0", "command": "nc"}
    fetch = {"id": "fetch", "op": "receive", "address": "192.0.2.1", "port": 7002}
    other = {"id": "other", "op": "run", "command": "echo asked"}
    rows = [["serve", "fetch"], ["serve", "other"], ["other"]]
    said = looked(monkeypatch, {"steps": [serve, fetch, other], "rows": rows})
    assert "nobody gets into domain 'fe0'" in said["serve"]["not_looked_at"] == said["fetch"]["not_looked_at"]
    assert said["other"]["output"] == "asked\n"


def test_a_line_may_say_that_it_did_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"id": "a", "op": "run", "command": "echo 'not looked at: no lines of its kernel'"}
    said = looked(monkeypatch, {"steps": [step]})
    assert said["a"]["not_looked_at"] == "no lines of its kernel"


class Held:
    """A board that takes note of what it is asked, and has looked at nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], str]] = []

    def run(self, *words: str, stdin: str = "", timeout_s: float = 0.0) -> dict[str, Any]:
        self.asked.append((words, stdin))
        assert timeout_s
        missed = {"error": {"message": "not looked at", "detail": []}, "not_looked_at": "x"}
        return {"results": {step["id"]: missed for step in json.loads(stdin)["steps"]}}


def test_a_board_gets_secrets_with_what_it_is_asked_and_nobody_else(tmp_path: Path) -> None:
    plan = board_of(tmp_path, "    access: {login: {password_file: pw.txt}}\n")
    board: Any = SimpleNamespace(name="board0", patience=2.5)
    none: Any = None
    job, held = Job(board, Report(plan)), Held()
    job._held, job.proofs = held, proofs(plan)  # type: ignore[assignment]
    said = tasks.observe(job, tasks.Work("foreign", none, tmp_path, none))
    (((verb, *words), stdin),) = held.asked
    request = json.loads(stdin)
    assert (verb, words) == ("observe", []) and request["secrets"] == {"fe0": SECRET} and request["patience"] == 2.5
    assert {identity for row in request["rows"] for identity in row} == {step["id"] for step in request["steps"]}
    assert SECRET not in str(said) + str(job.report)


def test_the_ways_are_those_of_the_language() -> None:
    assert {way.value for way in Way} == {"shell", "login", "ssh", "none", "prompt"}


def test_no_secret_of_a_topology_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A password or a private key where none may stand, under whatever key, is refused and not quoted."""
    ways = (
        "{login: {password: hunter1}}",
        "{login: {passwd: hunter2}}",
        "{login: {password: [a, hunter3]}}",
        "{ssh: {address: 192.0.2.2, key_file: k, password: hunter4}}",
        "{ssh: {address: 192.0.2.2, key_file: k, key: hunter5}}",
        '{ssh: {address: 192.0.2.2, key: "-----BEGIN OPENSSH PRIVATE KEY----- hunter6"}}',
        "{user: root, mine: hunter7}",
    )
    guests = "".join(
        f"  fe{n}: {{memory: 64MiB, ramdisk: vtool:guest-initramfs, access: {way}}}\n" for n, way in enumerate(ways)
    )
    path = tmp_path / "topology.yaml"
    path.write_text(
        f"version: 1\nname: case\nboards: {{b0: {{facts: qemu-virt, hypervisor: {{kind: kvm}}}}}}\n"
        f"domains:\n  host: {{role: control}}\n{guests}"
    )
    assert main(["validate", str(path)]) == 1
    said = capsys.readouterr().err
    refused = {int(line) - 6 for line in re.findall(r":(\d+):\d+: error", said)}
    assert refused == set(range(len(ways))) and "hunter" not in said, said
