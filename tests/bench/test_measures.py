"""The numbers of a repetition: costs are divided by the work, and no second of processor time is counted twice."""

from __future__ import annotations

import pytest

from tests.unit.test_run_folder import a_repetition
from vtool.results.measures import measures_of
from vtool.results.records import Cost, Side, Work

KVM = [
    ("cpu", Side.BACKEND, 2.0), ("cpu", Side.VMM, 3.0), ("cpu_guest", Side.VMM, 2.5), ("cpu", Side.FRONTEND, 2.5),
    ("cpu", Side.BOARD, 9.0), ("server_cpu", Side.BOARD, 1.0),
]  # fmt: skip
XEN = [
    ("cpu_of_domain", Side.FRONTEND, 2.0), ("cpu_of_domain", Side.BACKEND, 4.0), ("cpu", Side.BACKEND, 3.0),
    ("cpu", Side.FRONTEND, 1.9),
]  # fmt: skip


@pytest.mark.parametrize(("costs", "seconds"), [(KVM, 5.0), (XEN, 6.0), ([("exits", Side.HYPERVISOR, 7.0)], None)])
def test_processor_time_of_a_path_is_counted_once(costs: list[tuple[str, Side, float]], seconds: float | None) -> None:
    told = tuple(Cost(name=name, side=side, unit="s", value=value, source="t") for name, side, value in costs)
    found = measures_of(a_repetition(costs=told, work=Work(requests=10, bytes=2 << 20)))
    by_label = {measure.label: value for measure, value in found.items()}
    assert by_label.get("board cpu_total per request") == (seconds and pytest.approx(seconds / 10))
    assert by_label.get("board cpu_total per MiB") == (seconds and pytest.approx(seconds / 2))
