"""docs/how-to/coming-from: a topology says what its page shows, but for what the page says is not the same.

Each block of code on a page is what such authors write. It is read by the rules of its own format, and so is what is
rendered of the topology that it leads to: fact by fact they are the same, or stand in the page's last table.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.golden.xl_config import read, xl_takes
from vtool.base.units import format_cpu_list, parse_cpu_list
from vtool.cli.common import prepare
from vtool.plan.types import BoardPlan
from vtool.platform.devicetree import Node, read_blob
from vtool.render import render

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "coming-from"
Facts = dict[str, str]


def files_of(board: BoardPlan) -> Mapping[str, str]:
    return {artifact.name: artifact.content for artifact in render(board).artifacts}


# -- ImageBuilder: variables of a shell


def of_imagebuilder(text: str) -> Iterator[tuple[str, str]]:
    """Return what a shell makes of a configuration; of files only that there are some."""
    ours = "MEMORY_*|DEVICE_TREE|XEN*|DOM*|NUM_*|UBOOT_*"
    declared = f"for name in $(compgen -v); do case $name in {ours}) declare -p $name;; esac; done"
    done = subprocess.run(["bash", "-c", f"{text}\n{declared}"], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        kind, name, value = re.fullmatch(r"declare (\S+) (\w+)=(.*)", line).groups()  # type: ignore[union-attr]
        pairs = re.findall(r'\[([\d,]+)\]="([^"]*)"', value) if "a" in kind.lower() else [("", value.strip('"'))]
        for index, each in pairs:
            key = f"{name}[{index}]" if index else name
            is_file = re.fullmatch(r"(DOMU?0?_(KERNEL|RAMDISK)|XEN|DEVICE_TREE)", name)
            yield key, "a file" if is_file else " ".join(sorted(each.split())) if name.endswith("CMD") else each


# -- xl.cfg


def of_xl(text: str) -> Iterator[tuple[str, str]]:
    assert xl_takes(text)
    for key, value in read(text.replace("; ", "\n")).items():
        match key, value:
            case (("kernel" | "ramdisk"), _):
                yield key, "a file"
            case "disk", list():
                for disk in value:
                    words = dict(word.partition("=")[::2] for word in disk.split(","))
                    place = re.search(r"\b(xvd[a-z])\b", disk)
                    writes = "w" in disk.split(",") or words.get("access") == "rw"
                    yield f"disk {place and place[1]}", "written" if writes else "read"
            case "vif", list():
                for number, vif in enumerate(value):
                    yield f"vif {number}", " ".join(sorted(vif.split(",")))
            case _:
                yield key, str(value)


# -- nodes below /chosen


def of_nodes(text: str) -> Iterator[tuple[str, str]]:
    blob = subprocess.run(["dtc", "-q"], input=text.encode(), capture_output=True, check=True).stdout
    chosen = read_blob(blob).root.children["chosen"]
    for name, value in chosen.values.items():
        if name == "xen,xen-bootargs":
            yield name, " ".join(sorted(value.decode().strip("\0").split()))
    for node in chosen.children.values():
        if "xen,domain" in node.compatible:
            yield from _of_domain(node.name.removeprefix("domain-"), node)


def _of_domain(name: str, node: Node) -> Iterator[tuple[str, str]]:
    yield from ((f"{name} {key}", value.hex()) for key, value in node.values.items())
    for child in node.children.values():
        match child.compatible[0].split(","):
            case "multiboot", kind:
                yield f"{name} {kind}", child.string("bootargs") or "a file"
            case "xen", "domain-shared-memory-v1":
                yield f"{name} region {child.string('xen,shm-id')}", child.values["xen,shared-mem"].hex()
                yield f"{name} role", child.string("role")
            case "xen", "evtchn-v1":
                yield f"{name} port", str(child.properties["xen,evtchn"].cells[0])


# -- libvirt's XML


def of_xml(text: str) -> Iterator[tuple[str, str]]:
    domain = ET.fromstring(text)
    memory = domain.find("memory")
    assert memory is not None
    yield "memory", str(int(memory.text or "") << {"KiB": 10, "MiB": 20}[memory.get("unit", "")])
    for path in ("vcpu", "name", "os/cmdline", "os/type", "devices/emulator"):
        yield path, domain.findtext(path) or ""
    vcpu = domain.find("vcpu")
    assert vcpu is not None
    yield "cpuset", format_cpu_list(parse_cpu_list(vcpu.get("cpuset", "0")))
    for path in ("os/type", "features/gic", "cpu", "memoryBacking/source", "memoryBacking/access"):
        found = domain.find(path)
        yield f"{path} …", str(sorted(found.attrib.items())) if found is not None else ""
    for path in ("os/kernel", "os/initrd", "os/nvram"):
        yield path, "a file" if domain.findtext(path) else ""
    yield "os/loader", domain.findtext("os/loader") or ""
    for disk in domain.iterfind("devices/disk"):
        target, driver = disk.find("target"), disk.find("driver")
        assert target is not None and driver is not None
        yield f"disk {target.get('dev')}", f"{target.get('bus')}, {driver.get('type')}, {disk.get('type')}"
    for interface in domain.iterfind("devices/interface"):
        mac, model = interface.find("mac"), interface.find("model")
        assert mac is not None and model is not None
        yield f"interface {mac.get('address')}", str(model.get("type"))
        yield "interface type", str(interface.get("type"))
    for system in domain.iterfind("devices/filesystem"):
        target, driver = system.find("target"), system.find("driver")
        assert target is not None and driver is not None
        yield f"filesystem {target.get('dir')}", str(driver.get("type"))
    for rng in domain.iterfind("devices/rng"):
        yield "rng", f"{rng.get('model')} {rng.findtext('backend')}"
    for tag, attribute in (("serial", "type"), ("memballoon", "model")):
        if (element := domain.find(f"devices/{tag}")) is not None:
            yield f"{tag} {attribute}", str(element.get(attribute))


# -- words for QEMU


def of_words(text: str) -> Iterator[tuple[str, str]]:
    words = shlex.split(text.replace("\\\n", " "))[1:]
    devices: list[str] = []
    while words:
        option = words.pop(0)
        value = words.pop(0) if words and not words[0].startswith("-") else ""
        keys = dict(part.partition("=")[::2] for part in value.split(","))
        match option:
            case "-enable-kvm" | "-accel":
                yield "-accel", "kvm"
            case "-machine":
                yield option, f"{value.split(',')[0]} {keys['gic-version']}"
            case "-kernel" | "-initrd":
                yield option, "a file"
            case "-append":
                yield option, " ".join(word for word in value.split() if word != "swiotlb=track_hiwater")
            case "-device":
                devices.append(value.split(",")[0])
                yield from ((f"{keys[key]}", key) for key in ("mac", "tag") if key in keys)
            case "-object" if keys.get("size"):
                yield "memory", f"{keys['size']} {keys.get('share')}"
            case "-drive" if keys.get("if") == "pflash":
                yield f"flash {'of code' if 'readonly' in keys else 'of variables'}", keys["format"]
            case "-drive" | "-blockdev" if keys.get("format", keys.get("driver")) == "raw":
                yield "a disk", "raw"
            case "-cpu" | "-smp" | "-m" | "-rtc" | "-nographic":
                yield option, value
            case "-netdev":
                yield "a network", value.split(",")[0]
    yield "devices", " ".join(sorted(devices))


Reader = Callable[[str], Iterator[tuple[str, str]]]
Finder = Callable[[BoardPlan], str]


def _of_unit(board: BoardPlan) -> str:
    (line,) = re.findall(
        r"^ExecStart=((?:.*\\\n)*.*)$", files_of(board)["units/vtool-domain-guest.service"], re.MULTILINE
    )
    return str(line).replace("$$", "$").replace("%%", "%")


def _of_tree(board: BoardPlan) -> str:
    source = files_of(board)["board.dts"].replace("/plugin/;\n", "").replace("&{/} {", "/ {")
    words = f'xen,xen-bootargs = "{board.xen_bootargs}";'
    return source.replace("chosen {", f"chosen {{ {words}", 1)


ORIGINS: Mapping[str, tuple[Reader, Finder]] = {
    "imagebuilder": (of_imagebuilder, lambda board: files_of(board)["imagebuilder.config"]),
    "xl-cfg": (of_xl, lambda board: files_of(board)["domains/guest/guest.cfg"]),
    "dom0less": (of_nodes, _of_tree),
    "meta-virtualization": (of_xl, lambda board: files_of(board)["domains/yocto-guest/yocto-guest.cfg"]),
    "libvirt": (of_xml, lambda board: files_of(board)["domains/guest/guest.xml"]),
    "qemu-scripts": (of_words, _of_unit),
}


def setups() -> dict[str, tuple[str, str]]:
    """Return what authors write by the topology that says it: the block of a page before the link to that."""
    found: dict[str, tuple[str, str]] = {}
    for origin in ORIGINS:
        text = (PAGES / f"{origin}.md").read_text()
        for block, rest in re.findall(r"^```\w+\n(.*?)^```\n(.*?)(?=^```|\Z)", text, re.MULTILINE | re.DOTALL):
            link = re.search(r"\[([\w-]+)\.yaml\]\(\1\.yaml\)", rest)
            assert link is not None, origin
            found[link[1]] = (origin, block)
    return found


SETUPS = setups()


def not_the_same(origin: str) -> set[str]:
    """Return the facts that a page says are not the same."""
    rows = (PAGES / f"{origin}.md").read_text().partition("## What is not the same")[2]
    return set(re.findall(r"^\| `([^`]+)` \|", rows, re.MULTILINE))


def compared(topology: str) -> tuple[Facts, Facts]:
    origin, written = SETUPS[topology]
    reader, finder = ORIGINS[origin]
    (board,) = prepare(PAGES / f"{topology}.yaml").plan.boards
    return dict(reader(written)), dict(reader(finder(board)))


def different(theirs: Facts, ours: Facts) -> dict[str, tuple[str, str | None]]:
    return {key: (value, ours.get(key)) for key, value in theirs.items() if ours.get(key) != value}


@pytest.mark.parametrize("topology", SETUPS)
def test_the_topology_says_what_its_authors_write(topology: str) -> None:
    theirs, ours = compared(topology)
    assert len(theirs) > 5
    found = different(theirs, ours)
    assert set(found) <= not_the_same(SETUPS[topology][0]), found


@pytest.mark.parametrize("origin", ORIGINS)
def test_what_a_page_says_is_not_the_same_is_not(origin: str) -> None:
    found = {key for each in SETUPS if SETUPS[each][0] == origin for key in different(*compared(each))}
    assert found == not_the_same(origin)


@pytest.mark.parametrize("topology", SETUPS)
def test_every_fact_is_looked_at(topology: str) -> None:
    """A fact of which the other side has none, or another, is seen."""
    theirs, ours = compared(topology)
    for key in theirs:
        assert key in different(theirs, {**ours, key: "another"})
        assert key in different(theirs, {name: value for name, value in ours.items() if name != key})


def test_every_page_has_its_topology_and_is_compared() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(ORIGINS)
    assert {path.stem for path in PAGES.glob("*.yaml")} == set(SETUPS)
    index = (PAGES / "README.md").read_text()
    assert all(f"]({page}.md)" in index for page in ORIGINS)
