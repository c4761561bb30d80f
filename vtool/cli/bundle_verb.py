"""``vtool bundle``."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vtool.base.units import format_size
from vtool.cli.arguments import add_changes, add_inventory
from vtool.cli.output import add_format, print_json, print_lines
from vtool.cli.views import add_example
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError

if TYPE_CHECKING:
    from vtool.bundle.making import Means
    from vtool.bundle.manifest import Manifest
    from vtool.results.run_folder import RunRead


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("source", type=Path, metavar="TOPOLOGY|RUN", help="a topology, a run folder; a bundle to check")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the bundle to write")
    parser.add_argument("--check", action="store_true", help="check a bundle, and write nothing")
    parser.add_argument("--with-images", action="store_true", help="put kernels, ramdisks and hypervisors in, too")
    parser.add_argument(
        "--without-boards",
        action="store_true",
        help="ask no board for its device tree: whoever deploys it is not told that theirs differs",
    )
    add_changes(parser)
    add_inventory(parser)
    add_format(parser)
    add_example(parser, "vtool bundle kvm-pool.yaml -o kvm-pool.vtool")


def run(arguments: argparse.Namespace) -> int:
    """Make a bundle or check one."""
    if arguments.check == (arguments.output is not None):
        print("usage: vtool bundle TOPOLOGY|RUN -o FILE, or vtool bundle --check FILE", file=sys.stderr)
        return ExitCode.USAGE.value
    return _check(arguments) if arguments.check else _make(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from vtool.bundle.checking import check_bundle
    from vtool.bundle.opened import opened
    from vtool.cli.common import prepare_to_deploy

    if arguments.source.is_dir():
        hints = (f"vtool bundle {arguments.source} -o FILE makes one of a run folder; --check takes that file",)
        raise VtoolError(Diagnostic("VT960", f"'{arguments.source}' is a folder, no bundle", hints=hints))
    with opened(arguments.source, results=True) as bundle:
        check_bundle(bundle, prepare_to_deploy, version("vtool"))
        _show(bundle.manifest, arguments.format)
    return ExitCode.OK.value


def _make(arguments: argparse.Namespace) -> int:
    from vtool.bundle import is_bundle
    from vtool.bundle.archive import write_bundle
    from vtool.bundle.making import Wish, bundle_of, require_raw, wishes_of
    from vtool.cli.common import print_diagnostics
    from vtool.results.run_folder import read_run

    run: RunRead | None = None
    if is_bundle(arguments.source):
        hints = (f"vtool bundle --check {arguments.source} checks it, vtool deploy {arguments.source} deploys it",)
        raise VtoolError(Diagnostic("VT968", f"'{arguments.source}' is a bundle already", hints=hints))
    if arguments.source.is_dir():
        if arguments.overlay or arguments.set:
            print("usage: --overlay and --set are of a topology; a run has its own", file=sys.stderr)
            return ExitCode.USAGE.value
        run = read_run(arguments.source)
        require_raw(run)
        wishes = wishes_of(run)
    else:
        wishes = [Wish(arguments.source, tuple(arguments.overlay), tuple(arguments.set))]
    made = bundle_of(wishes, _means(arguments), version("vtool"), with_images=arguments.with_images, run=run)
    print_diagnostics(made.warnings)
    digest = write_bundle(arguments.output, made.manifest, made.contents)
    _show(made.manifest, arguments.format)
    print(f"wrote {arguments.output}, SHA-256 {digest}", file=sys.stderr)
    return ExitCode.OK.value


def _means(arguments: argparse.Namespace) -> Means:
    from vtool.bundle.making import Means
    from vtool.cli.common import image_paths, prepare_to_deploy, targets_of
    from vtool.cli.show import ShownProgress

    progress = ShownProgress()
    return Means(
        prepare_to_deploy,
        lambda ready: image_paths(ready, ready.plan.boards, progress),
        None if arguments.without_boards else lambda ready: targets_of(ready, arguments),
        progress,
    )


def _show(manifest: Manifest, output: str) -> None:
    if output == "json":
        print_json(manifest.model_dump(mode="json"))
        return
    members = {member.path: member for member in manifest.members}
    size = format_size(sum(member.bytes for member in manifest.members))
    lines = [f"bundle of {manifest.of} '{manifest.name}', made by vtool {manifest.vtool}"]
    lines += [f"  {len(members)} files, {size}"]
    for lab in manifest.labs:
        for name, part in lab.boards.items():
            what = f"generation {part.generation}" if part.generation else "without the board's device tree"
            lines.append(f"  lab {lab.id}: board {name} ({part.facts}), {what}")
    for image in manifest.images:
        there = "in it" if image.member in members else "by digest alone"
        lines.append(f"  image {image.name}: {image.digest[:16]}, {there}")
    print_lines(lines)
