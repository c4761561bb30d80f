"""Rules on colours of the last-level cache: how many there are, and what excludes them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.records import record
from vtool.base.units import PAGE_BYTES, parse_cpu_list
from vtool.check.command_lines import at_word
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.topology import Xen
from vtool.platform.command_lines import XEN_UNIT_SHIFT, Word, last, number_of, xen_words
from vtool.reading.source import KeyPath

_ORDER, _USUAL, _MOST = "LLC_COLORS_ORDER", 1 << 7, 1 << 10
"""Xen xen/common/Kconfig LLC_COLORS_ORDER: for how many colours a build has room; its default, and its largest."""
_LISTS = ("dom0-llc-colors", "xen-llc-colors")


@record
class Limit:
    """How many colours there are at most, and what says so; ``sure`` unless a Xen could be built with more."""

    count: int
    why: str
    sure: bool = True


@record
class Asked:
    """Colours that somebody is to have: who, and where that is written; on Xen's command line with the word."""

    who: str
    colours: tuple[int, ...]
    path: KeyPath
    word: Word | None = None


@rule("VT374")
def colours_exclude_static_memory(context: Context) -> Iterator[Diagnostic]:
    """A Xen that colours the cache takes no guest with static memory."""
    for board in context.topology.boards:
        guests = [(name, domain.xen) for name, domain in context.domains_on(board) if domain.xen is not None]
        coloured = next((name for name, settings in guests if settings.llc_colors), None)
        for name, settings in guests:
            if coloured is not None and (settings.static_memory or settings.static_ranges):
                key = "static_memory" if settings.static_memory else "static_ranges"
                message = f"'{name}' cannot have static memory while '{coloured}' has `llc_colors`: Xen stops"
                label = Label(context.span("domains", coloured, "xen", "llc_colors"), "colours here")
                yield context.find("VT374", message, ("domains", name, "xen", key), labels=(label,))


@rule(
    "VT359",
    what="a cache colour that does not exist",
    why=(
        "Xen is built for so many colours, and the cache has so many; with one beyond either, Xen makes no domain, or "
        "stops."
    ),
    example="llc_colors: 0-4095",
    fix="Name colours that exist.",
)
def colours_exist(context: Context) -> Iterator[Diagnostic]:
    """Colours are ones that the cache has, as far as Xen's command line says, and that Xen was built for."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        path: KeyPath = ("boards", board, "hypervisor", "bootargs")
        words = xen_words(declared.hypervisor.bootargs)
        size, ways = last(words, "llc-size"), last(words, "llc-nr-ways")
        limit = Limit(_MOST, f"no Xen has more than 0 to {_MOST - 1}")
        if size is not None and ways is not None:
            wrong, cache = _of_the_cache(size, ways)
            if wrong is not None:
                yield at_word(context, "VT359", wrong, path, size)
            limit = min(limit, cache or limit, key=lambda one: one.count)
        sound = []
        for asked in _asked(context, board, words):
            if asked.colours and max(asked.colours) >= limit.count:
                yield _beyond(context, asked, limit)
            else:
                sound.append(asked)
        for asked in sound:
            if asked.colours and max(asked.colours) >= (built := _of_the_build(context, board)).count:
                yield _beyond(context, asked, built)


def _asked(context: Context, board: str, words: tuple[Word, ...]) -> Iterator[Asked]:
    for name, domain in context.domains_on(board):
        if domain.xen is not None:
            yield Asked(f"'{name}' wants", domain.xen.llc_colors, ("domains", name, "xen", "llc_colors"))
    for word in words:
        if word.name in _LISTS:
            yield Asked(f"`{word.text}` has", _listed(word), ("boards", board, "hypervisor", "bootargs"), word)


def _beyond(context: Context, asked: Asked, limit: Limit) -> Diagnostic:
    message = f"{asked.who} colour {max(asked.colours)}: {limit.why}"
    severity = Severity.ERROR if limit.sure else Severity.WARNING
    if asked.word is not None:
        return at_word(context, "VT359", message, asked.path, asked.word, severity=severity)
    return context.find("VT359", message, asked.path, severity=severity)


def _of_the_build(context: Context, board: str) -> Limit:
    xen = context.xens.get(board)
    said = (xen.options or {}).get(_ORDER, "") if xen else ""
    if said.isdecimal():
        return Limit(1 << int(said), f"this Xen has 0 to {(1 << int(said)) - 1}, by CONFIG_{_ORDER}={said}")
    return Limit(_USUAL, f"Xen has 0 to {_USUAL - 1} unless it is built with a larger CONFIG_{_ORDER}", sure=False)


def _of_the_cache(size: Word, ways: Word) -> tuple[str | None, Limit | None]:
    """Return what is wrong with a cache's size and ways, or how many colours it has (llc-coloring.c)."""
    size_bytes, count = number_of(size.value, XEN_UNIT_SHIFT), number_of(ways.value)
    if not size_bytes or not count:
        return None, None  # Xen looks at the cache itself
    way = size_bytes // count
    colours = way // PAGE_BYTES
    if way % PAGE_BYTES or colours < 2 or colours & (colours - 1):
        wanted = "its colours are a power of two, at least 2, of pages a way"
        return f"`{size.text} {ways.text}` makes ways of {way} bytes: Xen stops; {wanted}", None
    return None, Limit(colours, f"`{size.text} {ways.text}` makes 0 to {colours - 1}")


def _listed(word: Word) -> tuple[int, ...]:
    try:
        return parse_cpu_list(word.value)
    except ValueError:
        return ()
