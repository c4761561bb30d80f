"""The verb: what it refuses and how, and that a file that was there is there until the new one is whole."""

from __future__ import annotations

import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vtool.cli.main import main
from vtool.cli.views import replaced
from vtool.diagnostics import VtoolError

ROOT = Path(__file__).resolve().parents[2]


def test_it_wants_to_know_what_to_write(kvm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(kvm)]) == 2
    assert "usage: vtool report RUN -o report.html" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "VT930"), (b"", "VT930"), (b'{"format": "vtool-bench", "version": 2}\n', "VT930"), (b"[]\n", "VT930")],
)
def test_what_is_no_run_is_refused_and_nothing_is_written(
    content: bytes | None, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "run.jsonl").write_bytes(content)
    (tmp_path / "r.html").write_text("old")
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "r.html")]) == 1
    assert f"error[{code}]" in capsys.readouterr().err and (tmp_path / "r.html").read_text() == "old"


def test_a_half_written_line_is_told_and_left_out(
    kvm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.jsonl").write_bytes((kvm / "run.jsonl").read_bytes()[:-40])
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "r.html")]) == 0
    assert "warning[VT935]" in capsys.readouterr().err
    assert "a line that was not finished; it is left out" in (tmp_path / "r.html").read_text()


def test_a_run_is_named_once(kvm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.jsonl").write_bytes((kvm / "run.jsonl").read_bytes())
    assert main(["report", str(kvm), str(tmp_path), "-o", str(tmp_path / "r.html")]) == 2
    assert "VT939" in capsys.readouterr().err and not (tmp_path / "r.html").exists()


def test_a_missing_library_is_named(
    kvm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "matplotlib" else object())
    assert main(["report", str(kvm), "-o", str(tmp_path / "r.html")]) == 1
    assert "VT936" in (said := capsys.readouterr().err) and "not installed: matplotlib" in said


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    file, link = tmp_path / "page.html", tmp_path / "link.html"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)

    class Broken(Exception):
        pass

    with pytest.raises(Broken), replaced(link) as new:
        new.write_text("half")
        raise Broken
    assert file.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    with replaced(link) as new:
        new.write_text("whole")
        assert file.read_text() == "old"
    assert file.read_text() == "whole" and link.is_symlink() and len(list(tmp_path.iterdir())) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("where", ["/nowhere/r.html", "/proc/r.html", "."])
def test_where_nothing_can_be_written_is_named(where: str, kvm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(kvm), "--csv", where]) == 1
    assert f"error[VT100]: cannot write '{where}'" in capsys.readouterr().err


def test_a_device_is_written_to_itself(kvm: Path) -> None:
    assert main(["report", str(kvm), "--csv", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()
    with pytest.raises(VtoolError, match="no space left on device"), replaced(Path("/dev/full")) as new:
        new.write_text("x")


FULL = """
    import sys
    from pathlib import Path
    from vtool.cli.main import main
    page = Path("FOLDER") / "r.html"
    page.write_text("old")
    print(main(["report", "RUN", "-o", str(page)]), page.read_text(), [one.name for one in page.parent.iterdir()])
"""


def test_a_full_disk_leaves_the_old_page(kvm: Path, tmp_path: Path) -> None:
    script = textwrap.dedent(FULL).replace("FOLDER", str(tmp_path)).replace("RUN", str(kvm))
    mounted = f'mount -t tmpfs -o size=100k none {tmp_path} && exec {sys.executable} -c "$1"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", script],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "1 old ['r.html']\n" and "no space left on device" in done.stderr, done.stderr
