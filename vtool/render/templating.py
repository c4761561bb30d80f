"""The one Jinja environment: strict, no autoescape, quoting only by the named filters."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vtool.render.filters import FILTERS
from vtool.rooms import room


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - the targets are not HTML; each has its own quoting filter
        loader=FileSystemLoader(room("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    return environment


def fill(template: str, **values: object) -> str:
    """Render ``templates/<template>`` with the given values; an undefined one is an error."""
    return _environment().get_template(template).render(**values)
