"""The examples of docs/reference/topology-language.md do what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vtool.cli.main import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "topology-language.md").read_text()
FILES = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```console\n\$ vtool (.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def files_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n{text}")
    monkeypatch.chdir(tmp_path)


def test_every_block_is_run() -> None:
    assert len(FILES) == PAGE.count("```yaml\n") > 0 and len(COMMANDS) == PAGE.count("```console\n") > 0


@pytest.mark.parametrize(("command", "output"), COMMANDS)
def test_commands_print_what_the_page_shows(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(shlex.split(command))
    said = capsys.readouterr()
    assert said.out + said.err == output
    assert code == (1 if "error[" in output else 0)


def test_the_topology_of_the_page_is_what_the_page_says() -> None:
    from vtool.cli.common import prepare

    domains = prepare(Path("main.yaml")).topology.domains
    assert list(domains) == ["host", "fe0", "fe1"]
    assert (domains["fe0"].bootargs, domains["fe1"].bootargs) == ("", "memory=256MiB ${kept}")
    overlaid = prepare(Path("main.yaml"), [Path("lab.yaml")], ["variables.cpus=2"]).topology.domains
    assert list(overlaid) == ["host", "fe0"]
    assert (overlaid["fe0"].memory, overlaid["fe0"].cpus) == (512 << 20, 2)
