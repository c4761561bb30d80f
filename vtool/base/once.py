"""What is worked out once, though a thread for each board asks for it at the same time."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import ParamSpec, TypeVar

_Words = ParamSpec("_Words")
_Result = TypeVar("_Result")


def once(work: Callable[_Words, _Result]) -> Callable[_Words, _Result]:
    """Remember what came of each arguments; who asks while it is worked out waits for that."""
    making: dict[Hashable, threading.Lock] = {}
    found = functools.cache(work)

    @functools.wraps(work)
    def known(*words: _Words.args, **options: _Words.kwargs) -> _Result:
        with making.setdefault((words, *sorted(options.items())), threading.Lock()):
            return found(*words, **options)  # type: ignore[arg-type] # what is no key raises TypeError above

    return known


def once_per_file(work: Callable[[Path], _Result]) -> Callable[[Path], _Result]:
    """Remember what was found out about a file as long as it is the same."""

    @once
    def found(path: Path, *_as_it_is: int) -> _Result:
        return work(path)

    @functools.wraps(work)
    def of(path: Path) -> _Result:
        about = path.stat()
        return found(path, about.st_ino, about.st_size, about.st_mtime_ns)

    return of
