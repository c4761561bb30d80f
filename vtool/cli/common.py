"""What verbs share: from a path to a checked topology and plan, boards of it, data and progress output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtool.base.garbage import making_what_stays
from vtool.base.progress import Progress
from vtool.base.records import record
from vtool.bundle import is_bundle
from vtool.check import KernelOptions, XenBuild, check
from vtool.check.deployable import not_deployable
from vtool.diagnostics import Diagnostic, ExitCode, Label, Severity, VtoolError, format_diagnostic, in_order, nearest
from vtool.diagnostics.codes import declare
from vtool.files.boot_files import BootFile
from vtool.files.disk_images import ImageFile
from vtool.images import PREFIX
from vtool.images.disk_sources import disk_images_of
from vtool.images.named_files import files_of
from vtool.images.xen_build import xens_of
from vtool.model.shape import shape_of
from vtool.model.topology import Topology
from vtool.model.validate import LoadedFacts, facts_of
from vtool.plan.lock import lock_path, read_lock
from vtool.plan.planner import make_plan
from vtool.plan.types import BoardPlan, Plan
from vtool.reading.language import read_topology
from vtool.reading.source import Document

if TYPE_CHECKING:
    from vtool.bench.cells import Ready
    from vtool.board.protocols import Board


@record
class Prepared:
    """A topology that passed every check, and its plan."""

    document: Document
    topology: Topology
    plan: Plan
    facts: Mapping[str, LoadedFacts]
    warnings: tuple[Diagnostic, ...]


declare(
    "VT441",
    what="no such board or domain in the topology",
    why="A view of something that is not there would be empty, and look as if nothing were wrong.",
    example="vtool map kvm-pool.yaml --domain fe9",
    fix="Use one of the names that the hint lists.",
)


def with_base_trees(arguments: argparse.Namespace, plan: Plan) -> Plan:
    """Return the plan with what the given trees say of devices that are passed through.

    Raises VtoolError VT417 for nodes that they lack, VT441 for a tree of no board of the topology, and as
    ``with_devices``.
    """
    if not arguments.base_tree:
        return plan
    from vtool.board.dts import read_board_tree
    from vtool.deploy.merged_tree import absent_nodes
    from vtool.plan.tree_devices import with_devices

    boards = {board.name: board for board in plan.boards}
    found: list[Diagnostic] = []
    for word in arguments.base_tree:
        name, equals, file = word.rpartition("=")
        if not equals and len(boards) == 1:
            name = next(iter(boards))
        if name not in boards:
            hint = f"write --base-tree {next(iter(boards))}={file}; there are: {', '.join(boards)}"
            message = f"'{plan.name}' has no board '{name}'" if equals else f"'{file}' is the tree of which board?"
            raise VtoolError(Diagnostic("VT441", message, hints=(hint,)), ExitCode.USAGE)
        tree = read_board_tree(Path(file))
        found += absent_nodes(tree, boards[name])
        if not found:
            boards[name] = with_devices(boards[name], tree)
    if found:
        raise VtoolError(in_order(found))
    return replace(plan, boards=tuple(boards.values()))


def prepare_arguments(arguments: argparse.Namespace, *, keep: bool = True) -> Prepared:
    """Prepare the topology that the command line names, with its overlays and settings. VT970 for a bundle."""
    if is_bundle(arguments.topology):
        hint = "`vtool deploy` takes it as it is; for anything else unpack it: tar -xf FILE, then use files/"
        message = f"'{arguments.topology}' is a bundle, not a topology"
        raise VtoolError(Diagnostic("VT970", message, hints=(hint,)), ExitCode.USAGE)
    return prepare(arguments.topology, arguments.overlay, arguments.set, keep=keep)


@record
class Examined:
    """A topology file and everything that is found in it; with errors it is known in part (vtool.model.partial)."""

    document: Document
    topology: Topology | None
    facts: dict[str, LoadedFacts]
    xens: Mapping[str, XenBuild]
    findings: list[Diagnostic]
    disk_images: Mapping[str, ImageFile] = field(default_factory=dict)


def examine(path: Path, overlays: Sequence[Path] = (), settings: Sequence[str] = ()) -> Examined:
    """Load and check a topology with the files that it names. Raises VtoolError where nothing can be said of it."""
    document = read_topology(path, overlays, settings)
    topology, findings = shape_of(Topology, document)
    findings += (*document.faults, *document.warnings)
    if topology is None:
        return Examined(document, None, {}, {}, in_order(findings))
    facts, wrong = facts_of(document, topology)
    files, unreadable = files_of(document, topology)
    xens, no_xen = xens_of(document, topology)
    disk_images, no_images = disk_images_of(document, topology)
    found = check(document, topology, facts, _kernels(files), xens, files, disk_images)
    findings += (*wrong, *unreadable, *no_xen, *no_images, *found)
    return Examined(document, topology, facts, xens, in_order(findings), disk_images)


def prepare(path: Path, overlays: Sequence[Path] = (), settings: Sequence[str] = (), *, keep: bool = True) -> Prepared:
    """Load, validate, check and plan, keeping the numbers of the lock file if ``keep``.

    Raises VtoolError with everything found; prints warnings.
    """
    with making_what_stays():
        return _prepare(path, overlays, settings, keep=keep)


def _prepare(path: Path, overlays: Sequence[Path], settings: Sequence[str], *, keep: bool) -> Prepared:
    examined = examine(path, overlays, settings)
    if examined.topology is None or any(finding.severity is Severity.ERROR for finding in examined.findings):
        raise VtoolError(examined.findings)
    print_diagnostics(examined.findings)
    return prepared_of(examined, path, keep=keep)


def prepared_of(examined: Examined, path: Path, *, keep: bool = True) -> Prepared:
    """Plan what was found to be without error, keeping the numbers of the lock file if ``keep``."""
    topology, facts = examined.topology, examined.facts
    assert topology is not None
    lock = read_lock(lock_path(path)) if keep else None
    image_bytes = {name: image.size_bytes for name, image in examined.disk_images.items() if image.size_bytes}
    plan = make_plan(examined.document, topology, _facts_only(facts), lock, examined.xens, image_bytes)
    return Prepared(examined.document, topology, plan, facts, tuple(examined.findings))


def prepare_to_deploy(path: Path, overlays: Sequence[Path] = (), settings: Sequence[str] = ()) -> Prepared:
    """Prepare a topology that is one of many, and to be deployed; its warnings are those of `vtool validate`."""
    examined = examine(path, overlays, settings)
    errors = [finding for finding in examined.findings if finding.severity is Severity.ERROR]
    if examined.topology is None or errors:
        raise VtoolError(errors)
    if refused := not_deployable(examined.document, examined.topology):
        raise VtoolError(refused)
    prepared = prepared_of(examined, path)
    require_boot(prepared)
    return prepared


def _facts_only(facts: dict[str, LoadedFacts]) -> dict[str, Any]:
    return {name: loaded.facts for name, loaded in facts.items()}


def _kernels(files: Mapping[tuple[str, str], BootFile]) -> dict[str, KernelOptions]:
    """Return the options of those files that are kernels and tell them."""
    return {
        reference: KernelOptions(file.options, file.source)
        for (key, reference), file in files.items()
        if key == "kernel" and file.options is not None
    }


def _beside(topology: Path, reference: str) -> Path:
    return (topology.parent / reference).absolute()


def image_paths(
    prepared: Ready, boards: Sequence[BoardPlan], progress: Progress, given: Mapping[str, Path] = {}
) -> Callable[[str], Path]:
    """Build what the plans need of vtool's images and is not given; return how to find any image's file."""
    from vtool.images.build import ensure

    references = {image for board in boards for image in _images_of(board)} - given.keys()
    named = sorted(r.removeprefix(PREFIX) for r in references if r.startswith(PREFIX))
    images = ensure(named, progress)

    def path_of(reference: str) -> Path:
        if reference in given:
            return given[reference]
        if reference.startswith(PREFIX):
            return images[reference.removeprefix(PREFIX)].path
        return _beside(prepared.document.path, reference)

    return path_of


def _images_of(board: BoardPlan) -> Iterator[str]:
    yield from board.control.images.values()
    yield board.xen_image or ""
    yield board.xsm_policy or ""
    yield from (image.reference for guest in board.guests for image in guest.images)


declare(
    "VT409",
    what="a board's facts do not say how it boots",
    why="A device tree tells what a board is made of, not its boot loader, boot partition and root device.",
    example="vtool deploy to a board whose facts come from vtool board import",
    fix="Write the section boot into the facts file.",
)


def require_deployable(prepared: Prepared) -> None:
    """Refuse what this version does not deploy."""
    refused = not_deployable(prepared.document, prepared.topology)
    if refused:
        raise VtoolError(refused)
    require_boot(prepared)


def require_boot(prepared: Prepared) -> None:
    """Raise VT409 for every board whose facts do not say how it boots."""
    findings = []
    for name, loaded in prepared.facts.items():
        if loaded.facts.boot is None:
            document = loaded.document
            message = f"board '{name}' cannot be deployed to: its facts have no section `boot`"
            label = Label(document.span(()), f"`boot` is missing in '{document.path}'")
            hint = "add loader, load, console, ... as in rpi4.yaml, or import it from the running board with --ssh"
            span = prepared.document.span(("boards", name, "facts"))
            findings.append(Diagnostic("VT409", message, span, (label,), (hint,)))
    if findings:
        raise VtoolError(findings)


def targets_of(prepared: Ready, arguments: argparse.Namespace) -> list[tuple[BoardPlan, Board]]:
    """Return each planned board that ``--limit`` leaves with the board that is reached; VT441 for no such board."""
    from vtool.board.inventory import Inventory

    known = [plan.name for plan in prepared.plan.boards]
    limit = list(getattr(arguments, "limit", ()))
    for name in limit:
        if name not in known:
            message = f"no board '{name}' in the topology"
            raise VtoolError(Diagnostic("VT441", message, hints=nearest(name, known)), ExitCode.USAGE)
    reachable = Inventory(arguments.inventory, getattr(arguments, "use", ()))
    chosen = [plan for plan in prepared.plan.boards if not limit or plan.name in limit]
    return [(plan, reachable.board(plan.name, plan.facts)) for plan in chosen]


def print_diagnostics(found: Iterable[Diagnostic]) -> None:
    """Print diagnostics on stderr."""
    for diagnostic in found:
        print(format_diagnostic(diagnostic), file=sys.stderr)


def print_failures(failed: Mapping[str, VtoolError]) -> None:
    """Print on stderr what is wrong with boards."""
    for error in failed.values():
        print_diagnostics(error.diagnostics)


def failures_data(failed: Mapping[str, VtoolError]) -> dict[str, Any]:
    """Return the same as data, by board."""
    from vtool.report.summary import plan_data

    return {name: {"failure": [plan_data(found) for found in error.diagnostics]} for name, error in failed.items()}
