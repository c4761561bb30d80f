"""The workloads: one module a tool, found by being here. Enter at ``Workload``."""

from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vtool.bench.workloads.base import WorkloadBase

_NOT_TOOLS = ("__init__", "base")
TOOLS = {
    path.stem: import_module(f"{__name__}.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in _NOT_TOOLS
}

if TYPE_CHECKING:
    Workload = WorkloadBase
else:
    Workload = Annotated[reduce(or_, (tool.Workload for tool in TOOLS.values())), Field(discriminator="tool")]
