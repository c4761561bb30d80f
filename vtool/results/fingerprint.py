"""What two measurements were made on, and in what that differs: by axes such as the kernel. Pure.

Facts are those of the environment (docs/reference/bench-format.md), and the digest of the topology. Enter at
``facts_of`` and ``Difference``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from vtool.base.records import record
from vtool.results.records import Repetition
from vtool.results.run_folder import RunRead

Facts = Mapping[str, frozenset[str]]
"""A fact's values, of which there are several where it changed meanwhile; what could not be found out has none."""

AXES: Mapping[str, tuple[str, ...]] = {
    "board": ("board.", "cpu."),
    "hypervisor": ("hypervisor.",),
    "kernel": ("kernel.release", "kernel.version", "kernel.config_sha256"),
    "vmm": ("vmm.version",),
    "guest": ("guest.kernel",),
    "topology": ("topology.",),
    "tools": ("tool.",),
    "vtool": ("harness.vtool",),
    "arguments": ("kernel.command_line", "vmm.arguments", "guest.command_line", "clocksource", "guest.clocksource"),
    "features": ("device.features",),
}
"""An axis of fingerprints, and how its facts' names begin; one of none (``harness.machine``) does not matter."""
_FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "arguments": ("board", "hypervisor", "vmm", "topology", "vtool"),
    "features": ("hypervisor", "kernel", "vmm", "guest", "topology"),
    "topology": ("hypervisor",),
    "vmm": ("hypervisor",),
}
"""An axis, and those that it cannot but follow: another hypervisor has another topology and other arguments."""


@record
class Difference:
    """In what two measurements differ: the axes that nothing else explains, and every fact, as it was and is now."""

    axes: tuple[str, ...]
    facts: Mapping[str, tuple[str, str]]


def facts_of(run: RunRead, cell: str, repetitions: Iterable[Repetition]) -> Facts:
    """Return the facts of the repetitions of a cell."""
    found: dict[str, set[str]] = {}
    for one in {one.environment for one in repetitions if one.environment is not None}:
        for name, value in run.environments[one].facts.items():
            if value is not None:
                found.setdefault(name, set()).add(_comparable(name, str(value)))
    if digest := run.variants[run.cells[cell].variant].digest:
        found["topology.digest"] = {digest}
    return {name: frozenset(values) for name, values in sorted(found.items())}


def _comparable(name: str, value: str) -> str:
    """Return a fact without what is by chance: in which order Linux found devices, which number Xen gave a domain."""
    if name == "device.features":
        return " ".join(sorted(value.split()))
    return re.sub(r"(-xen-domid) \d+", r"\1 N", value) if name == "vmm.arguments" else value


def difference(was: Facts, now: Facts) -> Difference:
    """Return in what facts differ; what one of both does not know is no difference."""
    facts = {name: (_words(was[name]), _words(now[name])) for name in was if name in now and was[name] != now[name]}
    axes = [axis for axis in AXES if any(_axis_of(name) == axis for name in facts)]
    alone = (axis for axis in axes if not set(_FOLLOWS.get(axis, ())) & set(axes))
    return Difference(tuple(alone), {name: both for name, both in facts.items() if _axis_of(name)})


def changed(facts: Facts) -> tuple[str, ...]:
    """Return the axes that changed meanwhile."""
    several = {_axis_of(name) for name, values in facts.items() if len(values) > 1}
    return tuple(axis for axis in AXES if axis in several)


def _axis_of(fact: str) -> str:
    return next((axis for axis, begins in AXES.items() if fact.startswith(begins)), "")


def _words(values: frozenset[str]) -> str:
    return " and ".join(sorted(values))
