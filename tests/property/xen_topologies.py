"""A generator of Xen topologies with everything that Xen is told at boot, and the base trees of their boards."""

from __future__ import annotations

import functools
import subprocess
from typing import Any

from hypothesis import strategies as st

from vtool.base.units import KIB, MIB, parse_size
from vtool.model.board_facts import BoardFacts
from vtool.model.cores import kinds, vector_bits
from vtool.model.validate import load_facts

BOARDS = ("qemu-virt", "rpi4", "juno-r2", "hikey960", "imx8mp-evk", "zcu102", "spider", "sk-am62")
PASSED = ("/soc-test/one@1000", "/soc-test/two@2000")
"""Nodes of the base trees below that may be passed through."""

_SIZES = ["64KiB", "1MiB", "2MiB", "6MiB", "64MiB"]
_NAMES = ["fe0", "fe1", "fe2", "driver-domain-of-the-vehicle", "be0"]
DOM0 = "dom0"


FACTS = {name: load_facts(name) for name in BOARDS}


@st.composite
def topologies(draw: st.DrawFn, careless: bool) -> dict[str, Any]:
    """Draw a topology of one board; careless ones are mostly wrong, of the others few."""
    name = draw(st.sampled_from(BOARDS))
    facts = FACTS[name].facts
    release = draw(st.sampled_from(["4.22", "4.22", "4.22", "4.20", "4.18"]))
    names = _NAMES[: draw(st.integers(0, len(_NAMES)))]
    pools = draw(_pools(facts, careless)) if draw(st.booleans()) else {}
    hypervisor: dict[str, Any] = {"kind": "xen", "version": release}
    if pools:
        hypervisor["cpupools"] = pools
    domains: dict[str, Any] = {DOM0: {"role": "control", "memory": "128MiB"}}
    coloured = release in ("4.20", "4.22") and draw(st.integers(0, 3)) == 3
    for number, guest in enumerate(names):
        domains[guest] = draw(_guest(facts, pools, careless, int(release[2:]), coloured))
        if release == "4.22" and number == 0 and draw(st.booleans()):
            domains[guest]["xen"]["scmi_smc"] = True
        if release not in ("4.17", "4.18") and number < len(PASSED) and draw(st.integers(0, 3)) == 3:
            passed = [PASSED[number], *(PASSED[:1] if careless else [])]
            domains[guest]["passthrough"] = passed
            domains[guest]["xen"]["force_assign_without_iommu"] = passed
    if draw(st.integers(0, 3)) == 0:
        dynamic = [d["memory"] for d in domains.values() if not d.get("xen", {}).get("static_memory")]
        needed = 0 if careless else sum(parse_size(memory) for memory in dynamic)
        size = f"{needed // MIB + draw(st.sampled_from([64, 128]))}MiB"
        hypervisor["static_heap"] = {"size": size} | draw(_at(facts, careless))
    regions = {
        f"{draw(st.sampled_from(['r', 'a-region-with-a-long-name-']))}{number}": draw(_region(facts, domains, careless))
        for number in range(draw(st.integers(0, 4)))
    }
    channels = {f"ch{n}": draw(_channel(names, n, careless)) for n in range(draw(st.integers(0, 3)) if names else 0)}
    return {
        "version": 1,
        "name": "generated",
        "boards": {"board0": {"facts": name, "hypervisor": hypervisor}},
        "domains": domains,
        "regions": regions,
        "event_channels": channels,
    }


@st.composite
def _at(draw: st.DrawFn, facts: BoardFacts, careless: bool, key: str = "address") -> dict[str, int]:
    """Draw a host address, or none; careless ones need be neither aligned nor in RAM nor outside carve-outs."""
    if draw(st.booleans()):
        return {}
    bank = draw(st.sampled_from(facts.ram))
    # From the middle of a bank, where carve-outs are few.
    slot = draw(st.integers(bank.size // MIB // 8, bank.size // MIB // 2 - 1))
    address = (bank.base // MIB + slot * 2) // 2 * 2 * MIB if not careless else bank.base + slot * 68 * KIB
    return {key: address if not careless or draw(st.booleans()) else address + bank.size}


@st.composite
def _pools(draw: st.DrawFn, facts: BoardFacts, careless: bool) -> dict[str, Any]:
    cpus = _started(facts, careless)[draw(st.integers(0, 1)) :]
    cut = draw(st.integers(1, max(1, len(cpus) - 1)))
    scheduler = "null" if careless else "credit"
    found = {"first-pool": {"cpus": cpus[:cut]}, "rt": {"cpus": cpus[cut:], "scheduler": scheduler}}
    return {name: pool for name, pool in found.items() if pool["cpus"]}


def _started(facts: BoardFacts, careless: bool) -> list[int]:
    """Return the CPUs that Xen starts, those of one kind; careless ones are all."""
    kind = kinds(facts)
    return [cpu for cpu in range(facts.cpus) if careless or not kind or kind[cpu] == kind[0]]


@st.composite
def _guest(
    draw: st.DrawFn, facts: BoardFacts, pools: dict[str, Any], careless: bool, minor: int, coloured: bool
) -> dict[str, Any]:
    static = draw(st.booleans()) and (careless or not coloured)
    settings: dict[str, Any] = {"static_memory": static}
    if static or careless:
        settings |= draw(_at(facts, careless, "memory_address"))
        settings["direct_map"] = draw(st.booleans())
    optional: dict[str, Any] = {
        "enhanced": st.sampled_from(
            ["enabled", "no-xenstore", *(["legacy"] if minor > 20 else []), *(["disabled"] if careless else [])]
        ),
        "uart": st.booleans(),
        "spis": st.integers(1, 960),
        "p2m_memory": st.sampled_from(["4MiB", "16MiB", *(["1000KiB"] if careless else [])]),
        "max_grant_version": st.integers(1, 2),
        "max_grant_frames": st.integers(1, 64),
        "max_maptrack_frames": st.integers(0, 1024),
        "sve": st.sampled_from(["max", 128, 2048]),
    }
    if minor > 20 or careless:
        optional["trap_unmapped_accesses"] = st.booleans()
        optional["capabilities"] = st.sampled_from([[], ["control"], *([["hardware"]] if careless else [])])
        optional["scmi_smc"] = st.booleans() if careless else st.just(False)
    if not careless and vector_bits(facts) is not None:
        del optional["sve"]
    if coloured:
        optional["llc_colors"] = st.sampled_from([[0, 1, 2, 9], "4-7"])
    chosen = draw(st.lists(st.sampled_from(sorted(optional)), unique=True, max_size=3))
    settings |= {key: draw(optional[key]) for key in chosen}
    domain: dict[str, Any] = {
        "start": "dom0less" if not careless or draw(st.integers(0, 4)) else "xl",
        "cpus": draw(st.integers(1, 3)),
        "memory": draw(st.sampled_from(["16MiB", "64MiB", "96MiB", "400MiB"])),
        "bootargs": draw(st.sampled_from(["", 'say="hello" $HOME'])),
        "xen": settings,
    }
    pool = draw(st.sampled_from([None, *(name for name in pools if careless or 0 not in pools[name]["cpus"])]))
    if pool is not None:
        domain["cpupool"] = pool
    inside = pools[pool]["cpus"] if pool else [] if pools else _started(facts, careless)
    if inside and (minor > 20 or careless) and draw(st.booleans()):
        domain["host_cpus"] = draw(st.lists(st.sampled_from(inside), min_size=1, unique=True))
    if draw(st.booleans()):
        domain["ramdisk"] = "vtool:guest-initramfs"
    return domain


@st.composite
def _region(draw: st.DrawFn, facts: BoardFacts, domains: dict[str, Any], careless: bool) -> dict[str, Any]:
    members = draw(st.lists(st.sampled_from(sorted(domains)), min_size=1, max_size=3, unique=True))
    sizes = [*_SIZES, "12KiB", "5000B"] if careless else _SIZES
    region: dict[str, Any] = {"size": draw(st.sampled_from(sizes)), "use": "shared-memory"}
    if len(members) > 1 and draw(st.booleans()):
        region["owner"], members = members[0], members[1:]
    elif members == [DOM0]:
        return region | {"owner": DOM0} | draw(_at(facts, careless))
    region["borrowers"] = members
    everybody = [*members, *([region["owner"]] if "owner" in region else [])]
    direct = [n for n in everybody if n == DOM0 or domains[n]["xen"].get("direct_map")]
    if (not direct or careless) and draw(st.integers(0, 3)) == 0:
        region["placed"] = False
    else:
        region |= draw(_at(facts, careless, "host_address"))
    seen = [name for name in everybody if name not in direct or careless]
    if seen and draw(st.booleans()):
        # Far above the RAM of any guest here; careless ones are anywhere.
        slot = draw(st.integers(0, 3))
        inside = 0x8000_0000 + slot * 64 * MIB if not careless else 0x100_0000 * (3 << slot * 3)
        name = draw(st.sampled_from(seen))
        region |= {"address": inside} if name == region.get("owner") else {"addresses": {name: inside}}
    return region


@st.composite
def _channel(draw: st.DrawFn, names: list[str], number: int, careless: bool) -> dict[str, Any]:
    ends = draw(st.lists(st.sampled_from([DOM0, *names]), min_size=2, max_size=2, unique=not careless))
    ports = {end: 1 + draw(st.integers(0, 1)) * (number + 1) for end in ends if draw(st.integers(0, 2)) == 0}
    return {"between": ends} | ({"ports": ports} if ports else {})


@functools.cache
def base_tree(name: str) -> bytes:
    """Compile a device tree that is what the facts of a board say, with two devices that may be passed through."""
    facts = FACTS[name].facts
    tree = facts.device_tree

    def cells(value: int, count: int) -> str:
        return " ".join(f"{value >> 32 * at & 0xFFFF_FFFF:#x}" for at in reversed(range(count)))

    def reg(base: int, size: int, widths: tuple[int, int]) -> str:
        return f"reg = <{cells(base, widths[0])} {cells(size, widths[1])}>;"

    root = (tree.address_cells, tree.size_cells)
    lines = [f'#address-cells = <{root[0]}>; #size-cells = <{root[1]}>; compatible = "generated";']
    for bank in facts.ram:
        lines.append(f'memory@{bank.base:x} {{ device_type = "memory"; {reg(bank.base, bank.size, root)} }};')
    if tree.has_reserved_memory:
        widths = tree.region_cells
        lines.append(f"reserved-memory {{ #address-cells = <{widths[0]}>; #size-cells = <{widths[1]}>; ranges;")
        lines += [
            f"{carve.name}@{carve.base:x} {{ {reg(carve.base, carve.size, widths)} }};"
            for carve in facts.carve_outs
            if carve.of_tree
        ]
        lines.append("};")
    nodes = "".join(f'cpu@{n:x} {{ device_type = "cpu"; reg = <{n}>; }};' for n in range(facts.cpus))
    lines.append(f"cpus {{ #address-cells = <1>; #size-cells = <0>; {nodes} }};")
    devices = "".join(
        f"{path.rpartition('/')[2]} {{ reg = <0x{path.rpartition('@')[2]} 0x1000>; }};" for path in PASSED
    )
    lines.append(f"soc-test {{ #address-cells = <1>; #size-cells = <1>; ranges; {devices} }};")
    lines.append('aliases { serial0 = "/serial@3000"; }; serial@3000 { }; chosen { };')
    source = "/dts-v1/; / {" + "\n".join(lines) + "};"
    consoles = [facts.boot.xen_console] if facts.boot else [uart.path for uart in facts.uarts if uart.stdout]
    for names in (path.strip("/").split("/") for path in consoles):
        source += "/ { " + " { ".join(names) + " {" + " };" * len(names) + " };"
    return subprocess.run(["dtc", "-q"], input=source.encode(), capture_output=True, check=True).stdout
