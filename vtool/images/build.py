"""Builds images, or finds them in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vtool.base.progress import Progress
from vtool.base.threads import first_of
from vtool.diagnostics import VtoolError
from vtool.images import debian
from vtool.images.catalogue import CATALOGUE
from vtool.images.store import ChildProcesses, Image, Recipe, Store, cache_folder


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
                for future in first_of(running):
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


def why(name: str, recipes: Mapping[str, Recipe] = CATALOGUE) -> Iterator[str]:
    """Yield lines that say what an image is made of, or why it has to be built.

    Raises VtoolError VT5xx where what goes into it cannot be told.
    """
    recipe, store = recipes[name], Store(cache_folder())
    found = cached({need: recipes[need] for need in _with_needs([name], recipes)})
    image = found[name]
    if image is not None:
        yield f"'{name}' is built, in {image.manifest['seconds']} s: {image.path}"
        yield from (f"it is {key} {_short(value)}" for key, value in image.manifest.get("facts", {}).items())
        yield from (f"made of {key} {_short(value)}" for key, value in image.manifest["inputs"].items())
        return
    missing = [need for need in recipe.needs if found[need] is None]
    if missing:
        yield f"'{name}' is not built: it needs {', '.join(missing)}"
        return
    inputs = recipe.inputs({need: image for need in recipe.needs if (image := found[need]) is not None})
    before = store.newest(recipe)
    if before is None:
        yield f"'{name}' is not built, and never was"
    else:
        others = before.manifest["inputs"]
        changed = [key for key in sorted({*inputs, *others}) if inputs.get(key) != others.get(key)]
        yield f"'{name}' is not built as it would be now; changed since: {', '.join(changed) or 'the file itself'}"
    log = store.log_of(recipe, inputs)
    if log.is_file():
        yield f"the last try did not end; its log: {log}"


def _short(value: Any) -> str:
    """Return an input or fact on one line; of a long text the number of its lines."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    text = str(value)
    return f"({text.count(chr(10))} lines)" if "\n" in text else text


def refresh() -> None:
    """Forget the pinned state of Debian's archive."""
    debian.refresh(cache_folder() / debian.RELEASE_LOCK)
