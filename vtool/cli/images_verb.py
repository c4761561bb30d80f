"""``vtool images list|build|why|refresh``."""

from __future__ import annotations

import argparse

from vtool.base.units import MIB
from vtool.cli.output import add_format, print_json, print_lines
from vtool.cli.show import ShownProgress
from vtool.images import ON_DEMAND
from vtool.images.build import cached, ensure, refresh, why
from vtool.images.catalogue import CATALOGUE
from vtool.report.summary import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list what is built, and how long it took")
    add_format(listing)
    listing.set_defaults(action=_list)
    build = actions.add_parser("build", help="build what is missing")
    build.add_argument("images", nargs="*", metavar="IMAGE", help="default: all but newer releases")
    build.set_defaults(action=_build)
    reason = actions.add_parser("why", help="show what an image is made of, or why it has to be built")
    reason.add_argument("images", nargs=1, metavar="IMAGE", help="an image that `list` shows")
    reason.set_defaults(action=_why)
    again = actions.add_parser("refresh", help="let the next build take the packages that Debian has then")
    again.set_defaults(action=_refresh)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(arguments.action(arguments))


def _list(arguments: argparse.Namespace) -> int:
    found = cached()
    if arguments.format == "json":
        print_json({n: None if i is None else {"path": i.path, **i.manifest} for n, i in found.items()})
        return 0
    rows = [("image", "size", "built in", "path")]
    for name, image in found.items():
        if image is None:
            rows.append((name, "-", "-", "not built"))
        else:
            size = f"{image.manifest['size_bytes'] / MIB:.1f} MiB"
            rows.append((name, size, f"{image.manifest['seconds']} s", str(image.path)))
    print_lines(table(rows, indent=""))
    return 0


def _build(arguments: argparse.Namespace) -> int:
    if _unknown(arguments.images):
        return 2
    ensure(arguments.images or [name for name in CATALOGUE if name not in ON_DEMAND], ShownProgress())
    return 0


def _why(arguments: argparse.Namespace) -> int:
    if _unknown(arguments.images):
        return 2
    print_lines(why(arguments.images[0]))
    return 0


def _unknown(names: list[str]) -> bool:
    unknown = [name for name in names if name not in CATALOGUE]
    if unknown:
        print_lines([f"no image '{unknown[0]}'; there are: {', '.join(CATALOGUE)}"])
    return bool(unknown)


def _refresh(_: argparse.Namespace) -> int:
    refresh()
    print("the next build takes the packages that Debian has then")
    return 0
