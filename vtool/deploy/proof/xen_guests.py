"""What Xen itself says of a guest, whoever started it: where its CPUs may run, and what xl was told of it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import format_cpu_list
from vtool.deploy.proof.steps import Proof, on_board, shows
from vtool.plan.types import BoardPlan, XenBootGuest, XenGuest

_IN_JSON = {"gic_version": "gic_version", "tee": "tee"}
"""By the word of xl.cfg, the field that `xl list -l` has of it (tools/libs/light/libxl_types.idl)."""


def affinity(guest: XenGuest | XenBootGuest, board_cpus: int) -> Iterator[Proof]:
    """Return the row of the CPUs that a guest's vCPUs are kept on; nothing where they may be anywhere."""
    if not guest.affinity:
        return
    # Xen says "all" of a vCPU that may be everywhere (tools/xl/xl_vcpu.c print_bitmap).
    every = format_cpu_list(range(board_cpus))
    written = [format_cpu_list(cpus) for cpus in guest.affinity]
    wanted = " ".join("all" if cpus == every else cpus for cpus in written)
    who = guest.name if guest.domain_id is None else str(guest.domain_id)
    hard = "sed -n '2,$s/ *\\/.*//p' | awk '{ print $NF }' | tr '\\n' ' ' | sed 's/ $//'"
    step = on_board(f"affinity-{guest.name}", f"xl vcpu-list {who} | {hard}")
    yield shows(f"domain {guest.name}", "CPUs that each of its vCPUs may run on", step, wanted)


def told_to_xl(guest: XenGuest) -> Iterator[Proof]:
    """Return the rows of what only xl can be told: interrupt controller, trusted execution environment, label."""
    subject = f"domain {guest.name}"
    told = {setting.row.name: setting.in_xl for setting in guest.settings if setting.in_xl is not None}
    for word, field in _IN_JSON.items():
        if word in told:
            look = f'xl list -l {guest.name} | sed -n \'s/.*"{field}": "\\([^"]*\\)".*/\\1/p\' | tail -n 1'
            yield shows(
                subject, f"`{word}` that xl made it with", on_board(f"{word}-{guest.name}", look), str(told[word])
            )
    if "seclabel" in told:
        look = f"xl list -Z {guest.name} | awk 'NR == 2 {{ print $NF }}'"
        yield shows(subject, "its security label", on_board(f"label-{guest.name}", look), str(told["seclabel"]))


def flask(board: BoardPlan) -> Iterator[Proof]:
    """Return the row that FLASK keeps to the policy that was loaded; nothing without one."""
    if board.xsm_policy is not None:
        yield shows("hypervisor", "FLASK and its policy", on_board("flask", "xl getenforce"), "Enforcing")
