"""Builds images, or finds them in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from vtool.diagnostics import VtoolError
from vtool.images import debian
from vtool.images.catalogue import CATALOGUE
from vtool.images.store import ChildProcesses, Image, Recipe, Store, cache_folder
from vtool.progress import Progress


def ensure(names: Iterable[str], progress: Progress, recipes: Mapping[str, Recipe] = CATALOGUE) -> dict[str, Image]:
    """Return the named images, building what is missing, independent ones side by side.

    Raises VtoolError VT5xx of the first that fails, after the others have been ended.
    """
    wanted = _with_needs(names, recipes)
    store = Store(cache_folder())
    children = ChildProcesses()
    done: dict[str, Image] = {}
    running: dict[Future[Image], str] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
        try:
            while len(done) < len(wanted):
                started = {*done, *running.values()}
                for name in wanted:
                    recipe = recipes[name]
                    if name not in started and all(need in done for need in recipe.needs):
                        needs = {need: done[need] for need in recipe.needs}
                        running[pool.submit(store.get, recipe, needs, progress, children)] = name
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done[running.pop(future)] = future.result()
        except BaseException:
            children.stop()
            raise
    return {name: done[name] for name in wanted}


def _with_needs(names: Iterable[str], recipes: Mapping[str, Recipe]) -> list[str]:
    ordered: list[str] = []

    def add(name: str) -> None:
        for need in recipes[name].needs:
            add(need)
        if name not in ordered:
            ordered.append(name)

    for name in names:
        add(name)
    return ordered


def cached(recipes: Mapping[str, Recipe] = CATALOGUE) -> dict[str, Image | None]:
    """Return every image of the catalogue that is built as it would be now; None for the others."""
    store = Store(cache_folder())
    found: dict[str, Image | None] = {}
    for name, recipe in recipes.items():
        needs = {need: image for need in recipe.needs if (image := found.get(need)) is not None}
        try:
            complete = len(needs) == len(recipe.needs)
            found[name] = store.find(recipe, recipe.inputs(needs)) if complete else None
        except VtoolError:
            found[name] = None
    return found


def refresh() -> None:
    """Forget the pinned state of Debian's archive."""
    debian.refresh(cache_folder() / debian.RELEASE_LOCK)
