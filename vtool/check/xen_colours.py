"""Rules on colours of the last-level cache: how many there are, and what excludes them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.command_lines import at_word
from vtool.check.context import Context
from vtool.command_lines import XEN_UNIT_SHIFT, Word, last, number_of, xen_words
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.model.topology import Xen
from vtool.records import record
from vtool.source import DataPathTuple
from vtool.units import PAGE_BYTES, parse_cpu_list

_ORDER, _DEFAULT_ORDER, _MOST_ORDER = "LLC_COLORS_ORDER", 7, 10
"""Xen xen/common/Kconfig LLC_COLORS_ORDER: how many colours a build has room for, as a power of two."""
_LISTS = ("dom0-llc-colors", "xen-llc-colors")


@record
class Limit:
    """How many colours there are at most, and what says so; ``sure`` when no Xen of that kind has more."""

    count: int
    why: str
    sure: bool = True


def colours_exclude_static_memory(context: Context) -> Iterator[Diagnostic]:
    """VT374: a Xen that colours the cache takes no guest with static memory."""
    for board in context.topology.boards:
        guests = [(name, domain.xen) for name, domain in context.domains_on(board) if domain.xen is not None]
        coloured = next((name for name, settings in guests if settings.llc_colors), None)
        for name, settings in guests:
            if coloured is not None and settings.static_memory:
                message = f"'{name}' cannot have static memory while '{coloured}' has `llc_colors`: Xen stops"
                label = Label(context.span("domains", coloured, "xen", "llc_colors"), "colours here")
                yield context.find("VT374", message, ("domains", name, "xen", "static_memory"), labels=(label,))


def colours_exist(context: Context) -> Iterator[Diagnostic]:
    """VT359: colours are ones that Xen was built for and that the cache has, as far as its command line says."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        path: DataPathTuple = ("boards", board, "hypervisor", "bootargs")
        words = xen_words(declared.hypervisor.bootargs)
        limits = [_of_the_build(context, board)]
        size, ways = last(words, "llc-size"), last(words, "llc-nr-ways")
        if size is not None and ways is not None:
            wrong, cache = _of_the_cache(size, ways)
            if wrong is not None:
                yield at_word(context, "VT359", wrong, path, size)
            limits += [cache] if cache is not None else []
        limit = min(limits, key=lambda limit: limit.count)
        for name, domain in context.domains_on(board):
            colours = domain.xen.llc_colors if domain.xen else ()
            for message, severity in _beyond(f"'{name}' wants", colours, limit):
                yield context.find("VT359", message, ("domains", name, "xen", "llc_colors"), severity=severity)
        for word in words:
            for message, severity in _beyond(f"`{word.text}` has", _listed(word), limit) if word.name in _LISTS else ():
                yield at_word(context, "VT359", message, path, word, severity=severity)


def _beyond(who: str, colours: tuple[int, ...], limit: Limit) -> Iterator[tuple[str, Severity]]:
    """Yield what is wrong with the largest colour, and how sure that is."""
    if not colours or max(colours) < limit.count:
        return
    if limit.sure or max(colours) < 1 << _MOST_ORDER:
        yield f"{who} colour {max(colours)}: {limit.why}", Severity.ERROR if limit.sure else Severity.WARNING
    else:
        yield f"{who} colour {max(colours)}: no Xen has more than 0 to {(1 << _MOST_ORDER) - 1}", Severity.ERROR


def _of_the_build(context: Context, board: str) -> Limit:
    xen = context.xens.get(board)
    said = (xen.options or {}).get(_ORDER, "") if xen else ""
    if said.isdecimal():
        return Limit(1 << int(said), f"this Xen has 0 to {(1 << int(said)) - 1}, by CONFIG_{_ORDER}={said}")
    count = 1 << _DEFAULT_ORDER
    return Limit(count, f"Xen has 0 to {count - 1} unless it is built with a larger CONFIG_{_ORDER}", sure=False)


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


RULES = (colours_exclude_static_memory, colours_exist)
