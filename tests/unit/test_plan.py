"""The planner: numbers, origins, stability."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vtool.base.units import MIB, AddressRange
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.diagnostics import Severity, VtoolError
from vtool.plan.networks import derived_mac
from vtool.plan.types import BoardPlan, MmioPlace, OriginKind
from vtool.plan.xen_boot import pool_numbers

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"
DRIVER_DOMAINS = ROOT / "tests" / "topologies" / "xen-driver-domains.yaml"


def plan_of(text: str, folder: Path) -> BoardPlan:
    path = folder / "topology.yaml"
    path.write_text(text)
    return prepare(path).plan.boards[0]


def test_the_pool_lies_right_after_the_private_ram() -> None:
    guest = prepare(EXAMPLES / "kvm-pool.yaml").plan.boards[0].kvm_guests[0]
    assert guest.ram == AddressRange(0x4000_0000, 0x5000_0000)
    assert guest.pools[0].range == AddressRange(0x5000_0000, 0x5100_0000)
    assert guest.memory_bytes == 272 * MIB
    assert guest.pools[0].origin.kind is OriginKind.ALLOCATED
    place = guest.devices[0].place
    assert isinstance(place, MmioPlace)
    assert (place.slot, place.base, place.size_bytes, place.spi_index, place.intid) == (0, 0x0A00_0000, 0x200, 16, 48)
    assert place.origin.kind is OriginKind.ALLOCATED


def test_host_regions_avoid_carve_outs_and_each_other(tmp_path: Path) -> None:
    text = (EXAMPLES / "xen-pv.yaml").read_text()
    more = "regions:\n  fixed:\n    size: 4MiB\n    owner: dom0\n    use: shared-memory\n    address: 0x6000_0000\n"
    regions = plan_of(text.replace("regions:\n", more), tmp_path).host_regions
    assert [(r.region, r.range.base) for r in regions] == [("fixed", 0x6000_0000), ("region0", 0x6040_0000)]
    assert regions[0].origin.kind is OriginKind.FIXED and "topology.yaml:" in regions[0].origin.reason


def test_adding_at_the_end_moves_nobody(tmp_path: Path) -> None:
    text = (EXAMPLES / "xen-pv.yaml").read_text()
    before = plan_of(text, tmp_path)
    added = text.replace(
        "devices:\n", "  region1:\n    size: 8MiB\n    owner: dom0\n    use: shared-memory\n\ndevices:\n"
    )
    after = plan_of(added, tmp_path)
    assert after.host_regions[0].range == before.host_regions[0].range
    assert after.xen_guests == before.xen_guests


def test_a_region_without_room_names_the_free_ranges(tmp_path: Path) -> None:
    text = (EXAMPLES / "xen-pv.yaml").read_text().replace("    size: 2MiB", "    size: 1600MiB")
    blocked = "regions:\n  wall:\n    size: 2MiB\n    owner: dom0\n    use: shared-memory\n    address: 0xa000_0000\n"
    with pytest.raises(VtoolError) as caught:
        plan_of(text.replace("regions:\n", blocked), tmp_path)
    (finding,) = caught.value.diagnostics
    assert finding.code == "VT410"
    assert "needs 1600MiB" in finding.message
    assert "[0x60000000, 0xa0000000)" in finding.hints[0]


def test_a_region_goes_where_cma_still_finds_its_range(tmp_path: Path) -> None:
    facts = (ROOT / "tests" / "errors" / "facts" / "with-cma.yaml").read_text()
    (tmp_path / "facts.yaml").write_text(facts)
    text = (EXAMPLES / "xen-pv.yaml").read_text().replace("facts: qemu-virt", "facts: ./facts.yaml")
    text = text.replace("kind: xen", "kind: xen\n      image: x\n      version: '4.20'")
    (tmp_path / "x").write_bytes(bytes(56) + b"ARM\x64" + bytes(4))
    for size, base in (("256MiB", 0x6000_0000), ("300MiB", 0x9400_0000), ("1472MiB", 0x9400_0000)):
        (region,) = plan_of(text.replace("    size: 2MiB", f"    size: {size}"), tmp_path).host_regions
        assert region.range.base == base
    with pytest.raises(VtoolError) as caught:
        plan_of(text.replace("    size: 2MiB", "    size: 1474MiB"), tmp_path)
    (finding,) = caught.value.diagnostics
    assert finding.code == "VT410"
    assert finding.message.endswith("is needed for 'linux-cma' (576MiB in [0x70000000, 0x94000000))")


def test_a_lock_that_takes_cmas_room_is_not_kept(tmp_path: Path) -> None:
    facts = (ROOT / "tests" / "errors" / "facts" / "with-cma.yaml").read_text()
    (tmp_path / "facts.yaml").write_text(facts.split("dynamic_reservations")[0])
    text = (EXAMPLES / "xen-pv.yaml").read_text().replace("facts: qemu-virt", "facts: ./facts.yaml")
    text = text.replace("kind: xen", "kind: xen\n      image: x\n      version: '4.20'")
    text = text.replace("    size: 2MiB", "    size: 300MiB")
    (tmp_path / "x").write_bytes(bytes(56) + b"ARM\x64" + bytes(4))
    plan_of(text, tmp_path)
    assert main(["plan", str(tmp_path / "topology.yaml"), "--lock"]) == 0
    (tmp_path / "facts.yaml").write_text(facts)
    with pytest.raises(VtoolError) as caught:
        plan_of(text, tmp_path)
    (finding,) = caught.value.diagnostics
    assert finding.code == "VT411" and "which leaves no room for 'linux-cma'" in finding.message


def test_what_one_cell_cannot_say_lies_below_4_gib(tmp_path: Path) -> None:
    facts = (ROOT / "tests" / "errors" / "facts" / "with-cma.yaml").read_text().split("dynamic_reservations")[0]
    facts = facts.replace("size: 3GiB", "size: 6GiB")
    text = (ROOT / "topology" / "examples" / "dom0less-static.yaml").read_text()
    text = re.sub("facts: .*", "facts: ./facts.yaml", text)
    for cells, top in (("", 0x1_C000_0000), ("  chosen_address_cells: 1\n", 0xF000_0000)):
        (tmp_path / "facts.yaml").write_text(facts + cells)
        boot = plan_of(text, tmp_path).xen_boot
        memory = [guest.static_memory[0].range for guest in boot.guests if guest.static_memory]
        assert max(where.end for where in memory) <= top and (memory[0].end > 0xF000_0000) == (not cells)
    (tmp_path / "facts.yaml").write_text(facts + "  chosen_size_cells: 0\n")
    with pytest.raises(VtoolError) as caught:
        plan_of(text, tmp_path)
    assert {finding.code for finding in caught.value.diagnostics} == {"VT821"}


def test_macs_are_derived_and_unicast() -> None:
    assert derived_mac("b", "d", "n") == derived_mac("b", "d", "n") != derived_mac("b", "d", "m")
    assert derived_mac("b", "d", "n").startswith("00:16:3e:")


def test_more_boot_modules_than_the_loader_has_room_for_go_to_free_memory(tmp_path: Path) -> None:
    names = ("fe0", "fe1", "fe2", "fe3", "fe4")
    guest = "{start: dom0less, memory: 64MiB, ramdisk: 'vtool:guest-initramfs'}"
    board = plan_of(
        "version: 1\nname: modules\nboards: {board0: {facts: qemu-virt, hypervisor: {kind: xen}}}\n"
        "domains:\n  dom0: {role: control, memory: 256MiB}\n"
        + "".join(f"  {name}: {guest}\n" for name in names)
        + "regions: {region0: {size: 2MiB, owner: dom0, use: shared-memory}}\n",
        tmp_path,
    )
    windows = [module.window for found in board.xen_boot.guests for module in found.modules]
    assert len(windows) == 10 and [window.base for window in windows[:8]] == list(
        range(0x5000_0000, 0x6000_0000, 32 * MIB)
    )
    region = board.host_regions[0].range
    assert region.base == 0x6000_0000 and not any(window.overlaps(region) for window in windows)


def test_frontends_start_after_their_driver_domains() -> None:
    guests = {guest.name: guest for guest in prepare(DRIVER_DOMAINS).plan.boards[0].xen_guests}
    for guest in guests.values():
        for frontend in guest.driver_domain.frontends if guest.driver_domain else ():
            assert guest.unit in guests[frontend].backend_units
    assert [name for name, guest in guests.items() if guest.driver_domain] == ["net", "storage"]


def _driver_domains() -> str:
    """Return the topology's text, for another folder."""
    return DRIVER_DOMAINS.read_text().replace("facts: facts/", f"facts: {DRIVER_DOMAINS.parent}/facts/")


@pytest.mark.parametrize("words", ["", "xsm=dummy", "xsm=dummy loglvl=all"])
def test_driver_domains_get_one_word_for_xen(words: str, tmp_path: Path) -> None:
    text = _driver_domains().replace('version: "4.20"}', f'version: "4.20", bootargs: "{words}"}}')
    board = plan_of(text, tmp_path)
    assert (board.xen_bootargs or "").split().count("xsm=dummy") == 1
    assert [argument.words for argument in board.xen_arguments] == [
        "conring_size=1m",
        *([] if words else ["xsm=dummy"]),
    ]
    other = prepare(EXAMPLES / "xen-pv.yaml").plan.boards[0]
    assert [argument.words for argument in other.xen_arguments] == ["conring_size=1m"]


def test_a_driver_domain_hears_no_more_than_its_event_channels(tmp_path: Path) -> None:
    text = _driver_domains().replace("max_maptrack_frames: 64", "max_maptrack_frames: 8192")
    one = text[text.index("  disk0:\n") : text.index("  net0:\n")]
    domains, devices = "", ""
    for number in range(11):
        domains += f"  many{number}: {{memory: 24MiB, cpus: 4, xen: {{max_grant_frames: 256}}}}\n"
        for disk in range(26):
            more = one.replace("disk0", f"d{number}-{disk}").replace("fe0", f"many{number}")
            devices += more.replace("/dev/xvdb", f"/dev/group/{number}-{disk}")
    with pytest.raises(VtoolError) as caught:
        plan_of(text.replace("devices:\n", f"{domains}devices:\n") + devices, tmp_path)
    (finding,) = [d for d in caught.value.diagnostics if d.severity is Severity.ERROR]
    assert finding.code == "VT396" and "event channels of 1023" in finding.message


@pytest.mark.parametrize(
    ("pools", "numbers"),
    [
        ({}, {}),
        ({"rt": (1,)}, {"rt": 1}),
        ({"boot": (0, 1)}, {"boot": 0}),
        ({"rt": (1,), "be": (2,)}, {"rt": 2, "be": 1}),
        ({"rt": (1,), "boot": (0,)}, {"rt": 1, "boot": 0}),
        ({"boot": (0,), "rt": (1,)}, {"boot": 0, "rt": 1}),
        ({"a": (1,), "b": (2,), "boot": (3, 0)}, {"a": 2, "b": 1, "boot": 0}),
    ],
)
def test_pools_have_the_numbers_that_xen_gives_them(pools: dict[str, tuple[int, ...]], numbers: dict[str, int]) -> None:
    assert pool_numbers(pools) == numbers


def test_the_ports_of_a_domain_come_to_an_end(tmp_path: Path) -> None:
    def text(count: int) -> str:
        channels = "".join(f"  c{number}: {{between: [dom0, fe0]}}\n" for number in range(count))
        return (
            "version: 1\nname: ports\n"
            "boards: {board0: {facts: qemu-virt, hypervisor: {kind: xen, image: 'vtool:xen'}}}\n"
            "domains:\n  dom0: {role: control, memory: 256MiB}\n"
            "  fe0: {start: dom0less, memory: 64MiB, ramdisk: 'vtool:guest-initramfs'}\n"
            f"event_channels:\n{channels}"
        )

    ends = plan_of(text(1023), tmp_path).xen_boot.event_channels
    assert sorted(end.port for end in ends) == list(range(1, 1024))
    with pytest.raises(VtoolError) as caught:
        plan_of(text(1024), tmp_path)
    assert {finding.code for finding in caught.value.diagnostics} == {"VT377"}
