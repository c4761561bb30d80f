"""What the machine that vtool runs on may lack is named, all of it at once, before anything begins."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from vtool.base.runtime import own_runtime_folder, runtime_folder
from vtool.cli import main as edge
from vtool.deploy import this_machine
from vtool.deploy.this_machine import require_this_machine
from vtool.diagnostics import VtoolError, refusal_of
from vtool.files.own_folders import own_folder

ROOT = Path(__file__).resolve().parents[2]


def codes() -> list[str]:
    try:
        require_this_machine()
    except VtoolError as error:
        assert error.exit_code.value == 3 and all(found.hints for found in error.diagnostics)
        return [found.code for found in error.diagnostics]
    return []


def test_a_machine_that_has_all_is_let_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))
    assert codes() == []
    assert list((tmp_path / "state").iterdir()) == []


def test_all_that_is_missing_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "file" / "state"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(this_machine, "_SHARED_MEMORY", tmp_path / "shm")
    with pytest.raises(VtoolError) as raised:
        require_this_machine()
    found = {diagnostic.message: diagnostic.hints[0] for diagnostic in raised.value.diagnostics}
    assert [diagnostic.code for diagnostic in raised.value.diagnostics] == ["VT151", "VT152", "VT501", "VT501"]
    assert f"'{tmp_path}/file/state': Not a directory" in next(iter(found)) and "VTOOL_STATE" in next(
        iter(found.values())
    )
    assert "openssh-client" in found["'ssh' is not installed"]
    assert "device-tree-compiler" in found["'dtc' is not installed"]


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VTOOL_STATE", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", str)  # what it does where /etc/passwd does not know the user
    with pytest.raises(VtoolError, match=r"VT150: user .* has no home"):
        own_folder("VTOOL_STATE", platformdirs.user_state_dir)
    assert codes() == ["VT150"]


def test_a_user_whom_nobody_knows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert codes() == ["VT153"]


def test_a_session_that_is_over_leaves_its_folder_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert runtime_folder().name == f"vtool-{os.getuid()}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert own_runtime_folder() == tmp_path / "vtool"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE])
def test_what_the_machine_refuses_is_no_bug(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: list[str]) -> int:
        raise OSError(number, os.strerror(number), "/var/cache/x")

    monkeypatch.setattr(edge, "_run", refuse)
    assert edge.main(["validate"]) == 3
    said = capsys.readouterr().err
    assert said == f"error[VT151]: this machine does not let vtool have '/var/cache/x': {os.strerror(number)}\n"


def test_what_may_be_a_bug_is_reported_as_one_even_without_a_place_for_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "x")

    assert refusal_of(ValueError()) is None
    monkeypatch.setattr(edge, "_run", fail)
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    assert edge.main(["validate"]) == 70
    assert "a bug in vtool" in (said := capsys.readouterr().err) and "could not be written" in said


def vtool(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vtool.cli.main", *words]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True)


def test_nothing_begins_without_the_tools(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = vtool("deploy", "topology/examples/kvm-pool.yaml", PATH=str(tmp_path), VTOOL_STATE=str(state))
    said = done.stderr.decode()
    assert done.returncode == 3 and said.count("error[VT501]") == said.count("error") == 2, said
    assert list(state.iterdir()) == []


def test_mkimage_is_asked_for_where_u_boot_reads_what_it_makes(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ssh", "dtc", "fdtoverlay"):
        (programs / name).symlink_to("/bin/true")
    words = ("deploy", "topology/examples/kvm-pool.yaml", "--set")
    folders = {"PATH": str(programs), "VTOOL_STATE": str(tmp_path / "s"), "VTOOL_CACHE": str(tmp_path / "c")}
    done = vtool(*words, "boards.board0.facts=qemu-virt", **folders)
    said = done.stderr.decode()
    assert done.returncode == 3 and "error[VT501]: 'mkimage' is not installed" in said and "u-boot-tools" in said
    assert not (tmp_path / "c").exists(), "no image was begun"


def test_letters_that_a_terminal_lacks_end_no_verb() -> None:
    done = vtool("explain", "VT449", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and b"hugepagesz=?" in done.stdout
