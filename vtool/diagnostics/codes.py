"""The codes of diagnostics: what each means, why the rule is there, an example, the fix.

Each is written beside what finds it: a rule of ``vtool/check`` or ``vtool/lint`` has ``@rule(...)``, what is raised
elsewhere ``declare(...)``. Both only note the words when their module is imported: ``every_code`` imports all modules
that have some and returns the table, ``code_of`` those that may have one. Codes are permanent: one is never given
another meaning. VT1xx reading YAML (VT15x what this machine lacks, VT16x a first topology), VT2xx shape, VT3xx
references and combinations, VT4xx memory and placement, VT5xx images and kernels, VT6xx reaching boards, VT7xx
deploying, VT80x verifying, VT83x to VT91x device trees (``vtool lint``), VT93x to VT95x measuring, VT96x bundles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Iterator[Any]])
_NOT_MODULES = (".on_board", ".recipes", "._rooms")
"""What runs on a board, builds an image or is Ansible's; nothing here imports it."""


class Code(NamedTuple):
    """One row of the table; ``example`` is what sets it off."""

    code: str
    what: str
    why: str
    example: str
    fix: str


_declared: dict[str, Code] = {}
_rules: dict[str, dict[Callable[..., Iterator[Any]], tuple[str, ...]]] = {}


def declare(code: str, *, what: str, why: str, example: str, fix: str) -> str:
    """Note what a code means and return it. ValueError for a code that has a meaning already."""
    if code in _declared:
        raise ValueError(f"{code} already means: {_declared[code].what}")
    _declared[code] = Code(code, what, why, example, fix)
    return code


def rule(
    code: str, *, what: str = "", why: str = "", example: str = "", fix: str = ""
) -> Callable[[_Function], _Function]:
    """Make a generator function one of its module's rules, and say what it finds; one decorator a code.

    A code that several rules give has its words at one of them.
    """
    if what:
        declare(code, what=what, why=why, example=example, fix=fix)

    def note(function: _Function) -> _Function:
        rules = _rules.setdefault(function.__module__, {})
        rules[function] = (code, *rules.get(function, ()))
        return function

    return note


def rules_of(*modules: ModuleType) -> tuple[Callable[..., Iterator[Any]], ...]:
    """Return the rules of modules, in the order in which they are written."""
    return tuple(function for module in modules for function in _rules.get(module.__name__, {}))


def codes_of(function: Callable[..., Iterator[Any]]) -> tuple[str, ...]:
    """Return the codes that a rule gives. KeyError for what is no rule."""
    return _rules[function.__module__][function]


def every_code() -> dict[str, Code]:
    """Return the whole table, in the order of the codes. Imports every module that has one."""
    for module in _modules_with('"VT'):
        import_module(module)
    return dict(sorted(_declared.items()))


def code_of(word: str) -> Code | None:
    """Return what one code means, None where there is no such code. Imports the modules that it stands in."""
    for module in _modules_with(f'"{word}"'):
        import_module(module)
        if word in _declared:
            return _declared[word]
    return None


def _modules_with(text: str) -> Iterator[str]:
    """Yield the modules of vtool that have a text in their source."""
    vtool = Path(__file__).parents[1]
    for file in sorted(vtool.rglob("*.py")):
        name = ".".join(file.relative_to(vtool.parent).with_suffix("").parts).removesuffix(".__init__")
        if not any(part in name for part in _NOT_MODULES) and text in file.read_text():
            yield name
