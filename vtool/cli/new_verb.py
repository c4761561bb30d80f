"""``vtool new``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from vtool.board.machines import model_of
from vtool.cli.common import examine, print_diagnostics
from vtool.cli.views import add_example, replaced
from vtool.diagnostics import Diagnostic, ExitCode, Severity, VtoolError, nearest
from vtool.diagnostics.codes import declare
from vtool.model.board_facts import BoardFacts
from vtool.model.facts_import import name_from
from vtool.model.first_topology import DISK, NETWORK, WORDS, Wish, first_topology, words_for
from vtool.model.validate import is_path, known_facts, load_facts, read_facts
from vtool.report.topology_yaml import topology_yaml

declare(
    "VT161",
    what="vtool new would write over a file",
    why="A topology is somebody's work.",
    example="vtool new --board rpi4 --hypervisor kvm -o lab.yaml, twice",
    fix="Name another file, or say --force.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--board", required=True, metavar="FACTS", help="a board that vtool ships facts of, or a file")
    parser.add_argument("--hypervisor", required=True, choices=("kvm", "xen"), help="what is to run on it")
    parser.add_argument("--disk", metavar="DATA_PATH", help="a disk for the guest, by this data path (vtool paths)")
    parser.add_argument("--net", metavar="DATA_PATH", help="a network for the guest, by this data path")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the topology to write")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    add_example(parser, "vtool new --board rpi4 --hypervisor xen --disk pv --net pv -o lab.yaml")


def run(arguments: argparse.Namespace) -> int:
    """Write a topology that is valid, or nothing; say what to do next."""
    output: Path = arguments.output
    if output.exists() and not arguments.force:
        raise VtoolError(Diagnostic("VT161", f"'{output}' is there already", hints=("--force",)), ExitCode.USAGE)
    facts, reference, shipped = _facts(arguments.board, output)
    paths = {DISK: arguments.disk, NETWORK: arguments.net}
    wished = {device_type: word for device_type, word in paths.items() if word}
    wish = Wish(reference, arguments.hypervisor, wished, own_kernel=not (shipped and _is_emulated(facts)))
    name = name_from(output.stem)
    with replaced(output) as new:
        found = _written(new, name, wish, facts)
        if wrong := [finding for finding in found if finding.severity is Severity.ERROR]:
            raise _refusal(new, name, wish, facts, wrong)
    print_diagnostics(found)
    print(f"written: {output}, a guest under {arguments.hypervisor} on {facts.description}")
    print(f"next:    vtool plan {output}")
    if facts.boot is None:
        print("         before it can be deployed: vtool board import --ssh HOST -o FACTS, since its facts do not say")
        print("         how it boots")
    return ExitCode.OK.value


def _facts(board: str, output: Path) -> tuple[BoardFacts, str, bool]:
    """Return facts, how a topology there refers to them, and whether vtool ships them."""
    if is_path(board):
        relative = os.path.relpath(board, output.absolute().parent)
        return read_facts(Path(board)).facts, relative if "/" in relative else f"./{relative}", False
    if board not in known_facts():
        hints = (*nearest(board, known_facts()), f"there are: {', '.join(known_facts())}; or name a facts file")
        raise VtoolError(Diagnostic("VT160", f"vtool has no facts of a board '{board}'", hints=hints), ExitCode.USAGE)
    return load_facts(board).facts, board, True


def _is_emulated(facts: BoardFacts) -> bool:
    try:
        model_of(facts)
    except VtoolError:
        return False
    return facts.boot is not None


def _written(path: Path, name: str, wish: Wish, facts: BoardFacts) -> list[Diagnostic]:
    """Write a topology; return what the rules say of it."""
    head = f"A guest under {wish.hypervisor} on {facts.description}, as `vtool new` writes it."
    path.write_text(topology_yaml(first_topology(name, wish, facts), head), encoding="utf-8")
    return examine(path).findings


def _refusal(path: Path, name: str, wish: Wish, facts: BoardFacts, wrong: list[Diagnostic]) -> VtoolError:
    """Return that the board does not take what was wished for, and what it does."""

    def takes(paths: Mapping[str, str]) -> bool:
        found = _written(path, name, Wish(wish.facts, wish.hypervisor, paths, wish.own_kernel), facts)
        return all(finding.severity is not Severity.ERROR for finding in found)

    hints = []
    for device_type in wish.paths:
        taken = [word for word in words_for(wish.hypervisor, device_type) if takes({**wish.paths, device_type: word})]
        if taken:
            hints.append(f"with all else as it is, it takes a {WORDS[device_type]} by: {', '.join(taken)}")
    by = " and ".join(f"a {WORDS[device_type]} by '{word}'" for device_type, word in wish.paths.items())
    message = f"'{facts.name}' under {wish.hypervisor} does not take a guest{f' with {by}' if by else ''}"
    detail = tuple(f"{finding.code}: {finding.message}" for finding in wrong)
    return VtoolError(Diagnostic("VT160", message, hints=tuple(hints), detail=detail))
