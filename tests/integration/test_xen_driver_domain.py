"""A driver domain that is destroyed under load: dom0 lives, and deploy brings it back with its frontend."""

from __future__ import annotations

import re

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
TOPOLOGY = EXAMPLES / "xen-driver-domain.yaml"
LOAD = "(while dd if=/dev/zero of=/dev/xvda bs=1M count=16 oflag=direct 2>/dev/null; do :; done) >/dev/null 2>&1 &"


def test_a_driver_domain_that_is_destroyed_under_load_is_back_with_its_frontend(bench: Bench) -> None:
    bench.deploy(TOPOLOGY)
    numbers = {name: int(bench.ssh(f"xl domid {name}")) for name in ("storage", "fe0")}
    bench.vtool("exec", "fe0", "--", LOAD)
    bench.ssh("xl destroy storage")
    assert re.search("domain +storage +not running", bench.vtool("status", TOPOLOGY, code=3).stdout)
    bench.ssh("xl pause fe0")  # as if it hung on its disk: it has to be destroyed
    bench.deploy(TOPOLOGY)
    again = {name: int(bench.ssh(f"xl domid {name}")) for name in numbers}
    assert max(numbers.values()) < again["storage"] < again["fe0"], "both are new, the driver domain first"
