"""What is published: wheel and sdist are well made, and the wheel renders elsewhere with its own rooms."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from vtool.cli.commit import BUILT, commit_of
from vtool.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]


def build(project: Path, what: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (made,) = folder.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[what])
    return made


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built of what is in it, as an installer without a wheel does."""
    folder = tmp_path_factory.mktemp("published")
    sdist = build(ROOT, "sdist", folder)
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-C", str(unpacked), "--strip-components=1", "-xf", str(sdist)], check=True)
    return sdist, build(unpacked, "wheel", folder)


def test_the_wheel_carries_its_rooms_and_renders(published: tuple[Path, Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / "site"
    with zipfile.ZipFile(published[1]) as archive:
        archive.extractall(elsewhere)
    collections = (elsewhere, elsewhere / "vtool/_rooms/inventory")
    assert all((folder / "ansible_collections/vtool/vtool/playbooks/deploy.yml").is_file() for folder in collections)
    assert (elsewhere / "vtool/py.typed").is_file()
    assert (elsewhere / "ansible_collections/vtool/vtool/plugins/inventory/topology.py").is_file()
    example = elsewhere / "vtool/_rooms/topology/examples/xen-pv.yaml"
    line = f"import vtool, sys; assert vtool.__file__.startswith({str(elsewhere)!r}), vtool.__file__; "
    line += "from vtool.cli.main import main; sys.exit(main(sys.argv[1:]))"

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", line, *words], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(elsewhere)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("render", str(example), "-o", str(tmp_path / "out"))
    assert 'name = "fe0"' in (tmp_path / "out/board0/generation/domains/fe0/fe0.cfg").read_text()
    assert (commit_of(ROOT) or "an unknown commit") in run("--version")


def test_the_metadata_is_what_a_registry_takes(published: tuple[Path, Path]) -> None:
    checking = [sys.executable, "-m", "twine", "check", "--strict", *map(str, published)]
    done = subprocess.run(checking, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    with zipfile.ZipFile(published[1]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["License-Expression"] == "Apache-2.0 AND GPL-2.0-only"
    assert {"LICENSE", "LICENSES/GPL-2.0-only.txt", "REUSE.toml"} == set(metadata.get_all("License-File") or ())
    assert metadata["Author"] == "vtool developers" and "@" not in str(metadata.get("Author-email", ""))
    with tarfile.open(published[0]) as archive_of_source:
        names = {name.partition("/")[2] for name in archive_of_source.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "hatch_build.py", "tests/unit/test_wheel.py"} <= names
    assert (BUILT in names) is bool(commit_of(ROOT))


def test_the_changelog_begins_with_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    titles = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert titles[0].split()[1] == version


def test_patches_are_under_the_licence_of_what_they_change() -> None:
    annotations = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"]
    named = {
        pattern for row in annotations if row["SPDX-License-Identifier"] == "GPL-2.0-only" for pattern in row["path"]
    }
    theirs = {path for pattern in named for path in ROOT.glob(pattern)}
    assert theirs >= set((ROOT / "vtool").rglob("*.patch")) != set()
    assert all(any(ROOT.glob(pattern)) for pattern in named)


def test_the_commit_is_git_s_own_and_nobody_else_s(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("1")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert commit.startswith(commit_of(tmp_path)) and len(commit_of(tmp_path)) >= 12
    (tmp_path / "file").write_text("2")
    assert commit_of(tmp_path).endswith("-dirty")
    (tmp_path / "below").mkdir()
    assert commit_of(tmp_path / "below") == ""


def vtool(*words: str) -> str:
    command = [sys.executable, "-m", "vtool.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("val",), ["validate"]),
        (("deploy", "--dr"), ["--dry-run"]),
        (("board", "imp"), ["import"]),
        (("schema", "--of", "bun"), ["bundle"]),
        (("validate", "CHANGE"), ["CHANGELOG.md"]),
    ],
)
def test_bash_completes_verbs_options_and_files(words: tuple[str, ...], completed: list[str]) -> None:
    asked = 'eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}\n'
    asked += (
        'function=$(complete -p vtool | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $function vtool "${@: -1}" "${@: -2:1}"\n'
    )
    asked += 'printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "--norc", "-c", asked, "bash", vtool("completion", "bash"), "vtool", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == completed, done.stderr


def test_the_manual_page_has_every_verb_and_option() -> None:
    page = vtool("man").replace("\\-", "-")
    assert page.startswith('.TH VTOOL "1"')
    assert all(f"vtool {verb}" in page for verb in VERBS)
    assert "--dry-run" in page and "exit codes: 0 success" in page
