"""What a format of set-ups is to these tests: how its facts are read, and where vtool renders the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from vtool.base.records import record
from vtool.plan.types import BoardPlan
from vtool.render import render

Facts = dict[str, str]
Reader = Callable[[str], Iterator[tuple[str, str]]]
Finder = Callable[[BoardPlan, str], str]


@record
class Format:
    """A format: ``read`` yields the facts of a text, ``find`` returns what vtool renders in place of an author's."""

    read: Reader
    find: Finder


def files_of(board: BoardPlan) -> Mapping[str, str]:
    """Return what is rendered for a board, by name."""
    return {artifact.name: artifact.content for artifact in render(board).artifacts}
