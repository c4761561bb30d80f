"""A bundle where a topology is named: unpacked, read like one, and held against what it would become here."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vtool.bundle import is_bundle
from vtool.diagnostics import Diagnostic, ExitCode, Severity, VtoolError
from vtool.diagnostics.codes import declare

if TYPE_CHECKING:
    from vtool.bundle.manifest import Lab
    from vtool.bundle.opened import Opened
    from vtool.cli.common import Prepared
    from vtool.deploy.difference import Target

declare(
    "VT970",
    what="a verb or an option does not go with a bundle, or only with one",
    why="A bundle is deployed as it is: with a value set anew it would be another lab.",
    example="vtool deploy pool.vtool --set domains.fe0.cpus=2",
    fix="Unpack the bundle (tar -xf) and deploy the topology in files/.",
)


class FromBundle:
    """The lab of a bundle that is to be deployed. ``images`` are those that need not be built."""

    def __init__(self, bundle: Opened, lab: Lab, images: Mapping[str, Path]) -> None:
        self.images = images
        self._bundle, self._lab = bundle, lab

    def require_same(
        self, prepared: Prepared, targets: Sequence[Target], image_path: Callable[[str], Path], *, accept: bool
    ) -> None:
        """Raise VT966 with what would not be as it is in the bundle, or warn of it."""
        from vtool.bundle.differing import differs_here, require_same
        from vtool.cli.common import print_diagnostics

        found = differs_here(self._bundle, self._lab, prepared, targets, image_path)
        if found and accept:
            message = f"'{self._bundle.path}' becomes another lab here"
            print_diagnostics([Diagnostic("VT966", message, detail=tuple(found), severity=Severity.WARNING)])
        else:
            require_same(self._bundle, found, version("vtool"))


def add_bundle_options(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of a bundle alone."""
    group = parser.add_argument_group("of a bundle alone")
    group.add_argument("--variant", metavar="ID", help="which of its topologies, where it has several")
    group.add_argument(
        "--accept-differences",
        action="store_true",
        help="deploy it although it becomes another lab here (other firmware, facts, images or vtool)",
    )


@contextlib.contextmanager
def unpacked(arguments: argparse.Namespace) -> Iterator[FromBundle | None]:
    """Let the arguments name the topology in a bundle, if a bundle is what they name; None for a topology.

    VtoolError VT970 for options that do not fit, and as ``opened`` and ``lay_out``.
    """
    of_bundle = [("--variant", arguments.variant), ("--accept-differences", arguments.accept_differences)]
    if not is_bundle(arguments.topology):
        if wrong := [option for option, value in of_bundle if value]:
            raise _unfit(f"{wrong[0]} is of a bundle, and '{arguments.topology}' is none")
        yield None
        return
    if wrong := [option for option, value in (("--overlay", arguments.overlay), ("--set", arguments.set)) if value]:
        raise _unfit(f"{wrong[0]} is of a topology, and '{arguments.topology}' is a bundle")
    from vtool.bundle.opened import lay_out, opened, own_images

    with opened(arguments.topology) as bundle:
        lab = bundle.lab(arguments.variant)
        arguments.topology = lay_out(bundle, lab)
        arguments.overlay = [bundle.folder / name for name in lab.overlays]
        arguments.set = list(lab.settings)
        yield FromBundle(bundle, lab, own_images(bundle))


def _unfit(message: str) -> VtoolError:
    hint = "to change a lab, unpack its bundle: tar -xf FILE"
    return VtoolError(Diagnostic("VT970", message, hints=(hint,)), ExitCode.USAGE)
