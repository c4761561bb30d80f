"""One truth of Xen's releases: `vtool validate` and `vtool lint` say the same of every row, for every release."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vtool.base.units import dotted
from vtool.cli.common import prepare
from vtool.diagnostics import VtoolError
from vtool.lint import lint
from vtool.platform import xen_releases
from vtool.platform.devicetree import read_blob
from vtool.platform.xen_properties import PROPERTIES, SHARED_MEMORY, Where, XenProperty
from vtool.platform.xen_releases import BEHAVIOURS, REQUESTED, VERSIONS, Feature, XenVersion

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/versions.md"

# What a topology says to use a row: of domain fe0, of the hypervisor, or at the top.
OF_THE_GUEST = {
    "vpl011": "xen: {uart: true}",
    "nr_spis": "xen: {spis: 64}",
    "xen,enhanced": "xen: {enhanced: no-xenstore}",
    "xen,static-mem": "xen: {static_memory: true}",
    "direct-map": "xen: {static_memory: true, direct_map: true}",
    "domain-cpupool": "cpupool: rt",
    "xen,domain-p2m-mem-mb": "xen: {p2m_memory: 4MiB}",
    "capabilities": "xen: {capabilities: [control]}",
    "trap-unmapped-accesses": "xen: {trap_unmapped_accesses: false}",
    "sve": "xen: {sve: 256}",
    "llc-colors": "xen: {llc_colors: [0]}",
    "xen,sci_type": "xen: {scmi_smc: true}",
    "max_grant_version": "xen: {max_grant_version: 1}",
    "max_grant_frames": "xen: {max_grant_frames: 32}",
    "max_maptrack_frames": "xen: {max_maptrack_frames: 32}",
    "xen,vcpu": "host_cpus: [1]",
    "multiboot,ramdisk": "ramdisk: vtool:guest-initramfs",
}
OF_THE_HYPERVISOR = {
    "domain-cpupool": "cpupools: {rt: {cpus: [1]}}",
    "xen,cpupool": "cpupools: {rt: {cpus: [1]}}",
    "xen,static-heap": "static_heap: {size: 64MiB}",
    "xen,xsm-policy": "xsm_policy: empty.policy",
}
AT_THE_TOP = {
    "xen,evtchn-v1": "event_channels: {bell: {between: [fe0, fe1]}}",
    "xen,domain-shared-memory-v1": "regions: {ring: {size: 2MiB, owner: fe0, borrowers: [fe1], use: shared-memory}}",
}
BY_EVERY_GUEST = {
    *("compatible", "memory", "cpus", "multiboot,kernel"),
    *("multiboot,device-tree", "xen,passthrough", "xen,force-assign-without-iommu"),  # in partial trees
}
"""What every guest of Xen has, or no topology writes in its node: none of it is newer than the oldest release."""


XSM_MAGIC = b"\x8c\xff\x7c\xf9"


def told(texts: Iterator[tuple[str, str]], codes: set[str]) -> str:
    """Return 'error', 'warning' or 'nothing': the worst that is said with one of the codes."""
    severities = {severity for code, severity in texts if code in codes}
    return next((worst for worst in ("error", "warning") if worst in severities), "nothing")


def by_validate(folder: Path, release: str, guest: str, hypervisor: str, top: str, codes: set[str]) -> str:
    xen = ", ".join(filter(None, ["kind: xen", f"version: '{release}'", hypervisor]))
    (folder / "empty.policy").write_bytes(XSM_MAGIC)
    fe0 = ", ".join(filter(None, ["memory: 256MiB, start: dom0less", guest]))
    (folder / "case.yaml").write_text(
        f"version: 1\nname: case\nboards:\n  board0: {{facts: qemu-virt, hypervisor: {{{xen}}}}}\ndomains:\n"
        f"  dom0: {{role: control, memory: 1GiB}}\n  fe0: {{{fe0}}}\n  fe1: {{memory: 128MiB, start: dom0less}}\n"
        f"{top}\n"
    )
    try:
        found = prepare(folder / "case.yaml").warnings
    except VtoolError as error:
        found = error.diagnostics
    assert not {d.code for d in found} & {"VT200", "VT201", "VT202", "VT203"}, [d.message for d in found]
    return told(((d.code, d.severity.value) for d in found), codes)


def compiled(of_domain: str, of_chosen: str, of_device: str) -> bytes:
    cells = "#address-cells = <2>; #size-cells = <2>;"
    source = (
        f"/dts-v1/; / {{ {cells} device {{ {of_device} }}; chosen {{ {cells} {of_chosen} fe0 {{ {cells} "
        f'compatible = "xen,domain"; cpus = <1>; memory = <0 0x10000>; {of_domain} }}; }}; }};'
    )
    return subprocess.run(["dtc", "-q", "-f"], input=source.encode(), capture_output=True, check=True).stdout


def by_lint(blob: bytes, release: XenVersion, codes: set[str]) -> str:
    return told(((f.code, f.severity.value) for f in lint(read_blob(blob), release)[1]), codes)


IN_TREES = [row for row in PROPERTIES if row.key and row.where is not Where.XL]


@pytest.mark.parametrize("row", IN_TREES, ids=lambda row: row.name)
def test_validate_and_lint_agree_on_every_row(row: XenProperty, tmp_path: Path) -> None:
    """As they did not on p2m_memory with 4.16: one took it, the other called it an error."""
    assert row.name in {*OF_THE_GUEST, *OF_THE_HYPERVISOR, *AT_THE_TOP, *BY_EVERY_GUEST}
    said = [where.get(row.name, "") for where in (OF_THE_GUEST, OF_THE_HYPERVISOR, AT_THE_TOP)]
    written = {
        Where.DOMAIN: (f"{row.name} = <1>;", "", ""),
        Where.BELOW: (f'node {{ compatible = "{row.name}"; }};', "", ""),
        Where.CHOSEN: ("", f"{row.name} = <0 0x48000000 0 0x1000000>;", ""),
        Where.DEVICE: ("", "", f"{row.name};"),
    }[row.where]
    if row.name in ("compatible", "memory", "cpus"):
        written = ("", "", "")
    tree = compiled(*written)
    for release in VERSIONS:
        wanted = "nothing" if row.is_in(release) else "warning" if row.feature.is_in_fixes_to(release) else "error"
        assert by_validate(tmp_path, str(release), *said, {"VT370"}) == wanted, release
        assert by_lint(tree, release, {"VT878"}) == wanted, release


def shared(number: int, cells: str, role: str = "owner") -> str:
    return (
        f'shm{number} {{ compatible = "xen,domain-shared-memory-v1"; xen,shm-id = "r{number}"; role = "{role}"; '
        f"xen,shared-mem = <{cells}>; }};"
    )


def regions(number: int) -> tuple[str, str]:
    """Return that many regions as a topology and a device tree have them."""
    names = [f"r{index}: {{size: 2MiB, owner: fe0, borrowers: [fe1], use: shared-memory}}" for index in range(number)]
    places = [(0x5000_0000 + (at << 21), 0x6000_0000 + (at << 21)) for at in range(number)]
    nodes = [shared(at, f"0 {host:#x} 0 {guest:#x} 0 0x200000") for at, (host, guest) in enumerate(places)]
    return f"regions: {{{', '.join(names)}}}", " ".join(nodes)


@dataclass(frozen=True)
class Case:
    top: str
    nodes: str
    by_validate: str
    by_lint: str
    guest: str = ""


DOM0 = 'module { compatible = "multiboot,kernel", "multiboot,module"; reg = <0 0x42000000 0 0x1000000>; };'
BEHAVIOUR_CASES = {
    "a region without a host address": Case(
        "regions: {ring: {size: 2MiB, owner: fe0, borrowers: [fe1], use: shared-memory, placed: false}}",
        shared(0, "0 0x60000000 0 0x200000"),
        "VT370",
        "VT888",
    ),
    "a region that no guest is told of": Case(*regions(1), "VT397", "VT885"),
    "a word that came later": Case("", 'xen,enhanced = "legacy";', "VT370", "VT875", "xen: {enhanced: legacy}"),
    "21 regions in a guest": Case(*regions(21), "VT375", "VT894"),
    "33 regions": Case(*regions(33), "VT375", "VT894"),
}


@pytest.mark.parametrize("case", BEHAVIOUR_CASES.values(), ids=BEHAVIOUR_CASES)
def test_validate_and_lint_agree_on_what_a_release_does(case: Case, tmp_path: Path) -> None:
    verdicts, tree = [], compiled(case.nodes, DOM0, "")
    for release in VERSIONS:
        if SHARED_MEMORY.is_in(release):  # before, neither property is there at all
            verdicts.append(by_validate(tmp_path, str(release), case.guest, "", case.top, {case.by_validate}))
            assert verdicts[-1] == by_lint(tree, release, {case.by_lint}), release
    assert verdicts[0] != "nothing" or verdicts[-1] != "nothing"


# -- no other place


NUMBERS_OF_THEIR_OWN = {
    "vtool/platform/xen_releases.py",
    "vtool/platform/xen_properties.py",
    "vtool/deploy/proof/releases.py",  # what was met on boards
}


ROOMS = sorted(path.name for path in (ROOT / "vtool").iterdir() if path.is_dir() and path.name[0] != "_")


@pytest.mark.parametrize("folder", ROOMS)
def test_releases_of_xen_are_written_nowhere_else(folder: str) -> None:
    for path in (ROOT / "vtool" / folder).rglob("*.py"):
        if str(path.relative_to(ROOT)) in NUMBERS_OF_THEIR_OWN:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2:
                numbers = [part.value for part in node.elts if isinstance(part, ast.Constant)]
                assert not (numbers[:1] == [4] and numbers[-1] in range(10, 40)), (path, node.lineno)


def test_every_feature_cites_a_file_of_xen() -> None:
    rows = [row.feature for row in PROPERTIES] + [*BEHAVIOURS, *REQUESTED]
    assert {f for f in vars(xen_releases).values() if isinstance(f, Feature)} == {*BEHAVIOURS, *REQUESTED}
    for feature in rows:
        assert re.search(r"\b(docs|xen|tools)/[\w./-]+", feature.source), feature.what


def test_the_page_has_the_table() -> None:
    """VTOOL_GOLDEN=write makes the page follow the rows."""
    page = PAGE.read_text()
    wanted, tables = re.subn(
        r"^\| since Xen \|.*\n(\|.*\n)+", lambda _: xen_releases.table_of_behaviours(), page, flags=re.MULTILINE
    )
    assert tables == 1
    if os.environ.get("VTOOL_GOLDEN") == "write":
        PAGE.write_text(wanted)
        return
    assert wanted == page


@pytest.mark.parametrize("page", ["docs/how-to/lint.md", "docs/reference/topology-language.md"])
def test_pages_say_which_releases_there_are(page: str) -> None:
    assert f"{VERSIONS[0]} to {VERSIONS[-1]}" in (ROOT / page).read_text()


def test_fixes_are_in_the_last_point_releases_of_the_one_before() -> None:
    more = xen_releases.MEMRESERVE_HOLDS_MORE
    assert [more.is_in_fixes_to(version) for version in VERSIONS if version >= (4, 18)] == [False, True, *[False] * 3]
    assert more.points_without == "4.19.0 to 4.19.1"
    assert not xen_releases.POOL.is_in_fixes_to((4, 18))
    assert dotted(VERSIONS[0]) == "4.16"
