"""The Python that vtool brings: asked for by a board that has none or an old one, checked, and put there once."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any, cast

import pytest

from vtool.base.progress import Silent
from vtool.deploy import interpreter
from vtool.deploy.board_program import board_program
from vtool.deploy.interpreter import Interpreter, bring_it
from vtool.images import board_python, recipe_lines, recipe_text
from vtool.images.store import Build

GOOD, OLD = "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 1\n"


def shell(board: Path, python: str | None, sent: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run what a board's shell runs, with this python3 on its path, and with folders of its own."""
    programs = board / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("head", "mktemp", "sha256sum", "install", "tar", "mv", "rm", "test", "gzip", "sh", "readlink"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    if python is not None:
        (programs / "python3").write_text(python)
        (programs / "python3").chmod(0o755)
    line = bring_it("").replace(board_python.HOME, f"{board}/python") + "echo send; cat"
    environment = {"PATH": str(programs), "TMPDIR": str(board)}
    (programs / "cat").symlink_to("/usr/bin/cat")
    return subprocess.run(["/bin/sh", "-c", line], input=sent, capture_output=True, env=environment, check=False)


def packed(folder: Path, script: str = GOOD) -> Interpreter:
    path = folder / "python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("bin/python3")
        member.size, member.mode = len(script), 0o755
        tar.addfile(member, io.BytesIO(script.encode()))
    return Interpreter(hashlib.sha256(path.read_bytes()).hexdigest(), path)


def test_a_board_with_python_is_sent_none(tmp_path: Path) -> None:
    said = shell(tmp_path, GOOD, b"what follows")
    assert said.stdout == b"send\nwhat follows"
    assert not (tmp_path / "python").exists()


@pytest.mark.parametrize("python", [None, OLD])
def test_a_board_without_one_or_with_an_old_one_gets_it(python: str | None, tmp_path: Path) -> None:
    sent = packed(tmp_path)
    said = shell(tmp_path, python, sent.head + sent.path.read_bytes() + b"what follows")
    assert (said.stdout, said.returncode) == (b"python\nsend\nwhat follows", 0), said.stderr
    assert (tmp_path / "python/bin/python3").read_text() == GOOD
    assert not (tmp_path / "python.new").exists() and not list(tmp_path.glob("tmp.*"))


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


def test_the_second_time_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "python/bin").mkdir(parents=True)
    (tmp_path / "python/bin/python3").write_text(GOOD)
    (tmp_path / "python/bin/python3").chmod(0o755)
    assert shell(tmp_path, None).stdout == b"send\n"


@pytest.mark.parametrize("damage", [True, False])
def test_what_arrives_damaged_or_does_not_run_is_refused(damage: bool, tmp_path: Path) -> None:
    sent = packed(tmp_path, GOOD if damage else OLD)
    data = bytearray(sent.path.read_bytes())
    data[-1] ^= damage
    said = shell(tmp_path, None, sent.head + bytes(data))
    assert (said.stdout, said.returncode) == (b"python\nno python\n", 1)


def test_the_board_is_named_that_cannot_take_it() -> None:
    error = interpreter.cannot_be_brought("rack1", "tar: /var/lib: No space left on device\n")
    (found,) = error.diagnostics
    assert (found.code, found.detail) == ("VT459", ("tar: /var/lib: No space left on device",))


def test_the_program_is_run_by_it_where_it_is(tmp_path: Path) -> None:
    program = tmp_path / "vtool-board"
    program.write_bytes(board_program().replace(board_python.HOME.encode(), f"{tmp_path}/home".encode()))
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
    assert '"$home/bin/python3.13" "$@"' in start and f"home={board_python.HOME}\n" in start
    assert names["bin/python3"].mode == names["lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"].mode == 0o755
