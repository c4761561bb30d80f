"""One vocabulary of guests: whoever starts one, its images, disks and units are found by the same names."""

from __future__ import annotations

import json

import pytest

from tests.golden.test_golden import CASES
from vtool.cli.common import _images_of, prepare
from vtool.plan.types import FileDisk
from vtool.render import render
from vtool.render.artifacts import Kind


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_of_images_is_what_is_fetched_for_them(case: str) -> None:
    for board in prepare(CASES[case]).plan.boards:
        rendered = {artifact.content for artifact in render(board).artifacts if artifact.kind is Kind.IMAGE}
        assert rendered == set(_images_of(board)) - {""}


@pytest.mark.parametrize("case", CASES)
def test_a_guest_has_what_its_hypervisor_knows_of_it(case: str) -> None:
    for board in prepare(CASES[case]).plan.boards:
        kinds = {"kvm"} if board.hypervisor == "kvm" else {"xen", "dom0less"}
        assert {guest.kind for guest in board.all_guests} <= kinds
        units = {a.name.removeprefix("units/") for a in render(board).artifacts if a.name.startswith("units/")}
        manifest = json.loads(next(a.content for a in render(board).artifacts if a.name == "manifest.json"))
        for guest in board.all_guests:
            assert sum(bank.size_bytes for bank in guest.banks) <= guest.memory_bytes
            assert all(isinstance(disk, FileDisk) for disk in guest.file_disks)
            assert {unit for _, unit in guest.served_by} <= units
            assert {name: manifest["backends"][name] for name, _ in guest.served_by} == dict(guest.served_by)
