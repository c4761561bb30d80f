"""What is known of a document with faults: all that is sound, and nothing that depends on the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.model.lookup import Lookup
from vtool.model.partial import Groups, Partial, Unsound, known, known_names
from vtool.model.shape import shape_of
from vtool.model.topology import Topology
from vtool.reading.source import read_text

TOPOLOGY = """\
version: 1
name: t
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm}}
  board1: {facts: qemu-virt, hypervisor: {kind: hyper}}
domains:
  host: {board: board0, role: control}
  fe0: {board: board0, memory: 5MB, cpus: 2}
  fe1: {board: [], memory: 5MiB}
  fe2: five
regions:
  pool0: {size: 4MiB, owner: [], borrowers: [host], use: shared-memory}
  pool1: {size: 4MiB, owner: fe0, borrowers: [host], use: shared-memory}
devices:
  disk0: {type: blq, frontend: fe0, backend: host, program: qemu, transport: pci, data_path: shared-ram}
"""


def topology(text: str = TOPOLOGY) -> Topology:
    document = read_text(text, Path("t.yaml"))
    read, findings = shape_of(Topology, document)
    assert read is not None and (findings or document.faults)
    return read


def test_a_wrong_value_is_not_known_and_all_else_is() -> None:
    made = topology()
    fe0 = made.domains["fe0"]
    assert fe0.cpus == 2 and fe0.board == "board0" and fe0.bootargs == ""
    for asked in (lambda: fe0.memory, lambda: made.domains["fe2"], lambda: made.boards["board1"].hypervisor):
        with pytest.raises(Unsound):
            asked()
    assert made.devices["disk0"].frontend == "fe0" and made.devices["disk0"].region is None
    disk = made.devices["disk0"]
    # Whether it may hold a root depends on what it is.
    for asked in (lambda: disk.type, disk.root_kind, disk.claims):
        with pytest.raises(Unsound):
            assert asked()


def test_tables_give_what_is_known_before_they_stop() -> None:
    domains = topology().domains
    assert "fe2" in domains and "fe3" not in domains and len(domains) == 4 and domains
    assert known_names(domains) == ["host", "fe0", "fe1", "fe2"] and list(known(domains)) == ["host", "fe0", "fe1"]
    seen = []
    with pytest.raises(Unsound):
        seen += [seen.append(name) for name, _ in domains.items()]  # type: ignore[func-returns-value]
    assert seen == ["host", "fe0", "fe1"]


def test_an_open_table_denies_nothing() -> None:
    table = Partial({"a": 1}, is_open=True)
    assert "a" in table and table.get("a") == 1 and table
    for asked in (
        lambda: "b" in table,
        lambda: table.get("b"),
        lambda: table["b"],
        lambda: len(table),
        lambda: [*table],
    ):
        with pytest.raises(Unsound):
            asked()
    with pytest.raises(Unsound):
        assert not Partial({}, is_open=True)
    assert not Partial({}) and Partial({}, ("a",))


def test_groups_are_open_where_an_entry_may_belong() -> None:
    lookup = Lookup(topology())
    assert lookup.board_of["fe0"] == "board0" and lookup.board_of.get("fe9") is None
    with pytest.raises(Unsound):
        assert lookup.board_of["fe1"]
    with pytest.raises(Unsound):
        assert len(lookup.domains_on["board0"])
    assert lookup.regions_of["fe0"]["pool1"].owner == "fe0"
    with pytest.raises(Unsound):
        assert not lookup.regions_of["fe1"]
    assert [*lookup.devices_of["fe0"]] == ["disk0"] and not lookup.users_of["pool1"]


def test_groups_that_are_asked_for_later_are_open_too() -> None:
    groups: Groups[int] = Groups()
    groups["a"]["x"] = 1
    groups.opened()
    groups["b"]["y"] = 2
    for name in ("a", "b", "c"):
        with pytest.raises(Unsound):
            assert len(groups[name])


@pytest.mark.parametrize("line", ["domains: []", "domain: {}", "", "domains: {fe0: {}, fe0: []}", "domains: {1: {}}"])
def test_a_table_that_is_not_there_is_open(line: str) -> None:
    made = topology(f"version: 1\nname: t\nboards: {{board0: {{facts: rpi4, hypervisor: {{kind: kvm}}}}}}\n{line}\n")
    with pytest.raises(Unsound):
        for domain in made.domains.values():
            assert domain.role


def test_what_is_much_like_a_wrong_name_could_be_meant_by_it() -> None:
    domains = topology(TOPOLOGY.replace("  fe2: five\n", "  Fe_2: {memory: 64MiB}\n")).domains
    assert "host" in domains and "gpu-server" not in domains
    with pytest.raises(Unsound):
        assert "fe2" in domains
