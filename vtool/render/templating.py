"""The one Jinja environment: strict, no autoescape, quoting only by the named filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtool.base.once import once
from vtool.base.rooms import room
from vtool.data_paths.facts import Transport
from vtool.model.combinations import Readiness
from vtool.model.devices import Program
from vtool.render.filters import FILTERS

if TYPE_CHECKING:
    from jinja2 import Environment, Template


@once
def _environment() -> Environment:
    # Not before something is filled in: boards are reached before that.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(  # noqa: S701 - the targets are not HTML; each has its own quoting filter
        loader=FileSystemLoader(room("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        optimized=False,  # folding constants takes longer than it saves in templates as small as these
    )
    environment.filters.update(FILTERS)
    # Closed sets of the plan, so that a template compares members and a wrong name is an error.
    environment.globals.update({kind.__name__: kind for kind in (Program, Readiness, Transport)})
    return environment


@once
def _template(name: str) -> Template:
    return _environment().get_template(name)


def fill(template: str, **values: object) -> str:
    """Render ``templates/<template>`` with the given values; an undefined one is an error."""
    return _template(template).render(**values)
