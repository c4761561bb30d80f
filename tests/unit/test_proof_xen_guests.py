"""What Xen says of guests is read from xl as it prints it (tools/xl/xl_vcpu.c, xl_info.c)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.golden.test_golden import CASES
from vtool.cli.common import prepare
from vtool.deploy.proof import proofs
from vtool.deploy.proof.steps import Proof

VCPUS = """Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)
fe                                   3     0    0   -b-       1.2  {0} / all
fe                                   3     1    -   --p       0.0  {1} / 0-1
"""
LONG = """[
    {
        "domid": 3,
        "config": {
            "c_info": { "type": "pvh", "name": "fe0" },
            "b_info": {
                "tee": "ffa",
                "arch_arm": {
                    "gic_version": "v3",
                    "vuart": "unknown"
                }
            }
        }
    }
]
"""
LABELS = """Name                                        ID   Mem VCPUs	State	Time(s)   Security Label
fe0                                          3   256     2     -b----       1.2 system_u:system_r:domU_t
"""
CASES_OF_XL = {
    "CPUs that each of its vCPUs may run on": (VCPUS.replace("{0}", "0").replace("{1}", "all"), "domain fe0"),
    "`gic_version` that xl made it with": (LONG, "domain fe0"),
    "`tee` that xl made it with": (LONG, "domain fe0"),
    "its security label": (LABELS, "domain fe0"),
    "FLASK and its policy": ("Enforcing\n", "hypervisor"),
}


def proof(what: str, subject: str) -> Proof:
    (board,) = prepare(CASES["xen-kept-apart"]).plan.boards
    (found,) = [each for each in proofs(board) if (each.what, each.subject) == (what, subject)]
    return found


def read(found: Proof, printed: str, folder: Path) -> bool:
    """Run a row's command with an xl that prints this, and judge what comes out."""
    (folder / "printed").write_text(printed)
    (folder / "xl").write_text(f"#!/bin/sh\ncat {folder}/printed\n")
    (folder / "xl").chmod(0o755)
    (step,) = found.steps
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", step["command"]], capture_output=True, text=True, env=environment, check=True)
    return found.read({step["id"]: {"code": 0, "output": done.stdout}}).proven


@pytest.mark.parametrize("what", CASES_OF_XL)
def test_what_xl_prints_proves_the_row(what: str, tmp_path: Path) -> None:
    printed, subject = CASES_OF_XL[what]
    found = proof(what, subject)
    assert read(found, printed, tmp_path)
    wrong = printed.replace(" 0 / all", " 1 / all").replace('"v3"', '"v2"').replace('"ffa"', '"none"')
    wrong = wrong.replace("domU_t", "dom0_t").replace("Enforcing", "Permissive")
    assert not read(found, wrong, tmp_path)


def test_a_vcpu_that_may_be_on_every_cpu_is_said_to_be_on_all(tmp_path: Path) -> None:
    found = proof("CPUs that each of its vCPUs may run on", "domain fe1")
    printed = VCPUS.replace("{0}", "1").replace("{1}", "0")
    assert read(found, printed, tmp_path)


def test_every_range_of_a_guest_is_looked_for() -> None:
    (board,) = prepare(CASES["xen-kept-apart"]).plan.boards
    rows = [found for found in proofs(board) if found.what.startswith("memory that Xen gave it")]
    assert [row.judge.values for row in rows] == [  # type: ignore[attr-defined]
        ("0x00000090000000-0x00000098000000",),
        ("0x000000a0000000-0x000000a4000000",),
    ]
