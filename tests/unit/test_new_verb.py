"""What `vtool new` writes is valid as it stands, for every board that vtool ships and all that can be wished for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vtool.check.deployable import not_deployable
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.data_paths import DataPath
from vtool.model.first_topology import DISK, NETWORK, words_for
from vtool.model.validate import known_facts

HYPERVISORS = ("kvm", "xen")


def new(output: Path, board: str, hypervisor: str, *wish: str) -> int:
    return main(["new", "--board", board, "--hypervisor", hypervisor, *wish, "-o", str(output)])


def wishes(hypervisor: str, *, every_pair: bool) -> Iterator[tuple[str, ...]]:
    """Yield the options of every path for both devices; of each alone and with every other too if ``every_pair``."""
    disks, nets = words_for(hypervisor, DISK), words_for(hypervisor, NETWORK)
    yield ()
    if every_pair:
        yield from (("--disk", word) for word in disks)
        yield from (("--net", word) for word in nets)
    yield from (("--disk", disk, "--net", net) for disk in disks for net in nets if every_pair or disk == net)


@pytest.mark.parametrize("hypervisor", HYPERVISORS)
@pytest.mark.parametrize("board", known_facts())
def test_it_is_valid_on_every_board_or_says_what_is(
    board: str, hypervisor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every_pair, valid = board == "qemu-virt", 0
    for number, wish in enumerate(wishes(hypervisor, every_pair=every_pair)):
        output = tmp_path / f"lab-{number}.yaml"
        code = new(output, board, hypervisor, *wish)
        said = capsys.readouterr()
        if code:
            assert "error[VT160]" in said.err and "   | VT" in said.err and not output.exists(), (wish, said.err)
            assert list(tmp_path.glob(".*")) == []
            assert not every_pair or len(wish) > 2, f"nothing of it on an emulated board: {wish}"
            continue
        prepared = prepare(output)
        assert not_deployable(prepared.document, prepared.topology) == []
        types = {device.type for device in prepared.topology.devices.values()}
        assert {DISK if option == "--disk" else NETWORK for option in wish[::2]} <= types
        assert f"next:    vtool plan {output}" in said.out
        valid += 1
    assert valid > number / 2, "most of it can be had on every board"


def test_each_data_path_of_disks_and_networks_can_be_wished_for() -> None:
    words = {word for hypervisor in HYPERVISORS for of in (DISK, NETWORK) for word in words_for(hypervisor, of)}
    assert {path.value for path in DataPath} - words == {"bar", "msg"} & {path.value for path in DataPath}


def test_it_explains_itself_in_the_language_s_own_words(tmp_path: Path) -> None:
    output = tmp_path / "lab.yaml"
    assert new(output, "rpi4", "xen", "--disk", "pool", "--net", "pv") == 0
    text = output.read_text()
    comments = " ".join(line.strip(" #") for line in text.splitlines() if line.strip().startswith("#"))
    assert "A control domain's `kernel: board` is what the board runs now" in comments
    assert "Its backend reaches: the region only." in comments
    assert max(map(len, text.splitlines())) <= 100 and "kernel: board" in text and "start: dom0less" in text


def test_nothing_is_written_over_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "lab.yaml"
    output.write_text("mine\n")
    assert new(output, "qemu-virt", "kvm") == 2 and "error[VT161]" in capsys.readouterr().err
    assert output.read_text() == "mine\n"
    assert new(output, "qemu-virt", "kvm", "--force") == 0 and "name: lab" in output.read_text()
    assert "kernel: board" not in output.read_text(), "vtool makes an emulated board, and its kernel"


def test_a_facts_file_is_named_from_where_the_topology_lies(tmp_path: Path) -> None:
    facts, output = tmp_path / "facts" / "mine.yaml", tmp_path / "labs" / "lab.yaml"
    facts.parent.mkdir()
    output.parent.mkdir()
    assert main(["new", "--board", "rpi4", "--hypervisor", "kvm", "-o", str(output)]) == 0
    from vtool.base.rooms import room

    facts.write_text((room("topology") / "boards" / "rpi4.yaml").read_text())
    assert new(output, str(facts), "kvm", "--force", "--disk", "shared-ram") == 0
    assert "facts: ../facts/mine.yaml" in output.read_text() and "kernel: board" in output.read_text()
    prepare(output)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("rpi9", "kvm"), 2, "did you mean 'rpi"),
        (("rpi4", "kvm", "--disk", "pv"), 2, "there are: shared-ram, pool"),
        (("rpi4", "xen", "--net", "bar"), 2, "there are: "),
        (("./missing.yaml", "xen"), 1, "error[VT100]"),
    ],
)
def test_what_there_is_is_said(
    words: tuple[str, ...], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new(tmp_path / "lab.yaml", *words) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
