"""The Python that vtool brings: asked for by a board that has none or an old one, checked, and put there once."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from vtool.base.progress import Silent
from vtool.deploy import interpreter
from vtool.deploy.board_program import board_program
from vtool.deploy.interpreter import Interpreter, answer, bring_it
from vtool.deploy.on_board import interpreters
from vtool.diagnostics import VtoolError, board_failed
from vtool.images import board_python, recipe_lines, recipe_text
from vtool.images.store import Build

TOOLS = ("head", "mktemp", "sha256sum", "install", "tar", "mv", "rm", "test", "gzip", "sh")
TOOLS += ("readlink", "ln", "sync", "cat")
GOOD, OLD = "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 1\n"


def shell(
    board: Path, python: str | None, sent: bytes = b"", by_busybox: Sequence[str] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Run what a board's shell runs, with this python3 on its path, and with folders of its own."""
    programs = board / "bin"
    programs.mkdir(exist_ok=True)
    for name in TOOLS:
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to("/usr/bin/busybox" if name in by_busybox else f"/usr/bin/{name}")
    if python is not None:
        (programs / "python3").write_text(python)
        (programs / "python3").chmod(0o755)
    line = bring_it("").replace(board_python.HOME, f"{board}/python") + "echo send; cat"
    environment = {"PATH": str(programs), "TMPDIR": str(board)}
    return subprocess.run(["/bin/sh", "-c", line], input=sent, capture_output=True, env=environment, check=False)


def packed(folder: Path, script: str = GOOD) -> Interpreter:
    path = folder / f"python-{len(script)}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("bin/python3")
        member.size, member.mode = len(script), 0o755
        tar.addfile(member, io.BytesIO(script.encode()))
    return Interpreter(hashlib.sha256(path.read_bytes()).hexdigest(), path)


def test_a_board_with_python_is_sent_none(tmp_path: Path) -> None:
    said = shell(tmp_path, GOOD, b"what follows")
    assert said.stdout == b"send\nwhat follows"
    assert not (tmp_path / "python").exists()


@pytest.mark.parametrize("by_busybox", [(), ("mv", "ln", "readlink", "tar", "sha256sum")])
@pytest.mark.parametrize("python", [None, OLD])
def test_a_board_without_one_or_with_an_old_one_gets_it(
    python: str | None, by_busybox: Sequence[str], tmp_path: Path
) -> None:
    sent = packed(tmp_path)
    said = shell(tmp_path, python, sent.head + sent.path.read_bytes() + b"what follows", by_busybox)
    assert (said.stdout, said.returncode) == (b"python\nsend\nwhat follows", 0), said.stderr
    assert (tmp_path / "python/python3").read_text() == GOOD
    assert not list(tmp_path.glob("tmp.*")) and not (tmp_path / "python/python3.new").is_symlink()


@pytest.mark.parametrize(("name", "is_asked"), [("python3.8", False), ("python3.13", False), ("python3.7", True)])
def test_one_whose_name_tells_its_version_is_not_started(name: str, is_asked: bool, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / name).write_text(OLD)
    (there / name).chmod(0o755)
    sent = packed(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(there / name)
    said = shell(tmp_path, None, sent.head + sent.path.read_bytes())
    assert said.stdout.startswith(b"python\n") is is_asked


@pytest.mark.parametrize("python", [None, GOOD])
@pytest.mark.parametrize("by_busybox", [(), ("mv", "ln", "readlink", "tar", "sha256sum")])
def test_another_one_takes_its_place_and_the_same_is_not_sent(
    python: str | None, by_busybox: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = packed(tmp_path), packed(tmp_path, GOOD + "# newer\n")
    monkeypatch.setattr(interpreter, "sent_interpreter", lambda: first)
    assert shell(tmp_path, None, b"".join(answer("python\n")), by_busybox).returncode == 0
    told = f"python {first.sha256}\n"
    kept = b"".join(answer(told))
    assert len(kept) < 10
    assert shell(tmp_path, python, kept + b"what follows", by_busybox).stdout == f"{told}send\nwhat follows".encode()
    monkeypatch.setattr(interpreter, "sent_interpreter", lambda: second)
    said = shell(tmp_path, python, b"".join(answer(told)), by_busybox)
    assert said.stdout == f"{told}send\n".encode()
    assert (tmp_path / "python/python3").read_text() == GOOD + "# newer\n"
    interpreters.collect(tmp_path / "python")
    assert {path.name for path in (tmp_path / "python").iterdir()} == {"python3", second.sha256}


def test_one_that_is_there_is_kept_where_no_other_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Interpreter:
        raise board_failed("VT502", "no network")

    monkeypatch.setattr(interpreter, "sent_interpreter", fails)
    assert b"".join(answer("python 1234\n")) == b"keep\n"
    with pytest.raises(VtoolError, match="VT502"):
        list(answer("python\n"))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("damage", [True, False])
def test_what_arrives_damaged_or_does_not_run_is_refused(damage: bool, there: bool, tmp_path: Path) -> None:
    if there:
        before = packed(tmp_path, GOOD + "# older\n")
        assert shell(tmp_path, None, before.head + before.path.read_bytes()).returncode == 0
    sent = packed(tmp_path, GOOD if damage else OLD)
    data = bytearray(sent.path.read_bytes())
    data[-1] ^= damage
    said = shell(tmp_path, None, sent.head + bytes(data))
    assert said.stdout.splitlines()[-1] == b"no python" and said.returncode == 1
    assert (tmp_path / "python/python3").is_file() is there
    if there:
        assert (tmp_path / "python/python3").read_text() == GOOD + "# older\n"


def test_what_ended_early_is_in_nobodys_way(tmp_path: Path) -> None:
    sent = packed(tmp_path)
    half = tmp_path / "python" / sent.sha256 / "bin"
    half.mkdir(parents=True)
    (half / "python3").write_text("#!/bin/sh\nexit ")
    (tmp_path / "python/python3.new").symlink_to("nowhere")
    assert shell(tmp_path, None, sent.head + sent.path.read_bytes()).stdout == b"python\nsend\n"
    assert (tmp_path / "python/python3").read_text() == GOOD


def test_nothing_is_removed_where_no_link_says_what_is_used(tmp_path: Path) -> None:
    interpreters.collect(tmp_path / "none")
    (tmp_path / "python3").write_text("no link")
    (tmp_path / "other").mkdir()
    interpreters.collect(tmp_path)
    assert (tmp_path / "other").is_dir()


def test_the_board_is_named_that_cannot_take_it() -> None:
    error = interpreter.cannot_be_brought("rack1", "tar: /var/lib: No space left on device\n")
    (found,) = error.diagnostics
    assert (found.code, found.detail) == ("VT459", ("tar: /var/lib: No space left on device",))


def test_the_program_is_run_by_it_where_it_is(tmp_path: Path) -> None:
    program = tmp_path / "vtool-board"
    program.write_bytes(board_program().replace(board_python.HOME.encode(), f"{tmp_path}/home/bin".encode()))
    program.chmod(0o755)
    (tmp_path / "python3").write_text('#!/bin/sh\necho "by $0: $*"\n')
    (tmp_path / "python3").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run([str(program), "state"], capture_output=True, text=True, env=environment, check=True).stdout
    assert said == f"by {tmp_path}/python3: -IS {program} state\n"
    (tmp_path / "home/bin").mkdir(parents=True)
    (tmp_path / "python3").rename(tmp_path / "home/bin/python3")
    said = subprocess.run([str(program), "state"], capture_output=True, text=True, env=environment, check=True).stdout
    assert said == f"by {tmp_path}/home/bin/python3: -IS {program} state\n"


def test_it_finds_its_libraries_through_the_link(tmp_path: Path) -> None:
    folder = tmp_path / "python" / "1234"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib/aarch64-linux-gnu").mkdir(parents=True)
    (folder / "bin/python3").write_text(recipe_text("board-python/python3").replace("@PYTHON@", "python3.13"))
    loader = folder / "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"
    loader.write_text('#!/bin/sh\necho "$@"\n')
    for program in (folder / "bin/python3", loader):
        program.chmod(0o755)
    (tmp_path / "python/python3").symlink_to("1234/bin/python3")
    command = [tmp_path / "python/python3", "-IS", "x"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"--library-path {folder}/lib/aarch64-linux-gnu {folder}/bin/python3.13 -IS x\n"


# -- how it is packed


def packages(folder: Path) -> Path:
    """Make what mmdebstrap gives: a few files of the packages, with the links that Debian has."""
    path = folder / "packages.tar"
    files = {
        "./usr/bin/python3.13": b"ELF",
        "./usr/lib/python3.13/os.py": b"import abc\n",
        "./usr/lib/python3.13/test/regrtest.py": b"",
        "./usr/lib/python3.13/lib-dynload/_ctypes.so": b"ELF",
        "./usr/lib/aarch64-linux-gnu/libz.so.1.3.1": b"zlib",
        "./usr/lib/aarch64-linux-gnu/libsqlite3.so.0": b"sqlite",
    }
    libraries = recipe_lines(recipe_text("board-python/libraries.txt"))
    files |= {f"./usr/lib/aarch64-linux-gnu/{name}": name.encode() for name in libraries if name != "libz.so.1"}
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("./usr/lib/aarch64-linux-gnu/libz.so.1")
        link.type, link.linkname = tarfile.SYMTYPE, "libz.so.1.3.1"
        tar.addfile(link)
    return path


class Made:
    """A build whose packages are extracted already."""

    recipe, task = board_python.RECIPE, "t"

    def __init__(self, folder: Path) -> None:
        names = ("packages", "libraries", "excluded")
        self.inputs: dict[str, Any] = {name: recipe_lines(recipe_text(f"board-python/{name}.txt")) for name in names}
        self.inputs["start"] = recipe_text("board-python/python3")
        self.folder, self.output = folder, folder / "python.tar.gz"
        self.facts: dict[str, str] = {}
        self.progress = Silent()

    def run(self, *_: object, **__: object) -> None:
        packages(self.folder)


def test_it_is_files_alone_and_the_same_bytes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_python.debian, "mmdebstrap", lambda *_: [])
    monkeypatch.setattr(board_python.debian, "archive", lambda: "deb x")
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build = Made(tmp_path / name)
        board_python.RECIPE.build(cast("Build", build))
        made.append(build.output.read_bytes())
        assert build.facts == {"version": "python3.13"}
    assert made[0] == made[1]
    with tarfile.open(fileobj=io.BytesIO(made[0])) as tar:
        names = {member.name: member for member in tar}
        files = {name: stream.read() for name in names if (stream := tar.extractfile(name))}
    assert set(files) == set(names), "links are followed"
    assert files["lib/aarch64-linux-gnu/libz.so.1"] == b"zlib"
    assert {"bin/python3.13", "lib/python3.13/os.py", "lib/python3.13/lib-dynload/_ctypes.so"} <= set(names)
    assert not [name for name in names if "test/" in name or "sqlite" in name]
    start = files["bin/python3"].decode()
    assert '"$home/bin/python3.13" "$@"' in start and "home=${home%/bin/python3}\n" in start
    assert names["bin/python3"].mode == names["lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"].mode == 0o755
