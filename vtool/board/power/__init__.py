"""The power drivers: each is a file of this folder, and is there by it. Enter at ``DRIVERS`` and ``PowerEntry``.

A driver's ``Settings`` (``vtool.board.power.base``) are what an inventory says under ``power``, and make the supply.
"""

from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Discriminator, Tag

from vtool.board.power.base import PowerSettings

_FILES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "base"))


def word_of(settings: type[PowerSettings]) -> str:
    """Return the word of the inventory that chooses a driver."""
    return str(get_args(settings.model_fields["driver"].annotation)[0])


DRIVERS: list[type[PowerSettings]] = [import_module(f"{__name__}.{name}").Settings for name in _FILES]
DEFAULT = "commands"
"""The driver of settings that name none."""


def driver(value: Any) -> Any:
    """Return the word that chooses the driver; a finding calls the key by this function's name."""
    return value.get("driver", DEFAULT) if isinstance(value, dict) else DEFAULT


def told_apart(drivers: list[type[PowerSettings]]) -> Any:
    """Return the type of the settings of any of these drivers."""
    if len(drivers) == 1:  # there is nothing to tell apart, and no tag in what pydantic finds
        return drivers[0]
    return Annotated[reduce(or_, (Annotated[kind, Tag(word_of(kind))] for kind in drivers)), Discriminator(driver)]


if TYPE_CHECKING:
    PowerEntry = PowerSettings
else:
    PowerEntry = told_apart(DRIVERS)


def table() -> str:
    """Return the documentation's table of the drivers, in Markdown."""
    lines = ["| `driver` | switches by | keys | example |", "|---|---|---|---|"]
    for settings in DRIVERS:
        word = word_of(settings)
        shown = f"`{word}`, the default" if word == DEFAULT else f"`{word}`"
        by = (settings.__doc__ or "").splitlines()[0].rstrip(".")
        keys = ", ".join(
            f"`{name}`" + (f" ({field.description})" if field.description else "")
            for name, field in settings.model_fields.items()
            if name != "driver"
        )
        lines.append(f"| {shown} | {by[:1].lower()}{by[1:]} | {keys} | `{settings.example}` |")
    return "\n".join(lines) + "\n"
