"""Formats in which people write Xen set-ups down."""

from __future__ import annotations

import gzip
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.coming_from.formats import Format, files_of
from tests.golden.xl_config import read, xl_takes
from vtool.plan.types import BoardPlan
from vtool.platform.devicetree import Node, read_blob

_IMAGE = b"\0" * 16 + (0x200000).to_bytes(8, "little") + b"\0" * 32 + b"ARM\x64"
"""The header of an arm64 kernel of 2 MiB (Linux Documentation/arch/arm64/booting.rst)."""
_POLICY = 0xF97CFF8C.to_bytes(4, "little") + (8).to_bytes(4, "little") + b"XenFlask"


def stand_in(folder: Path) -> None:
    """Lay files where the topologies name those that their users have: kernels, a ramdisk, a policy."""
    for name in ("zephyr.bin", "bare.bin"):
        (folder / name).write_bytes(_IMAGE.ljust(4096, b"\0"))
    (folder / "initrd.img").write_bytes(gzip.compress(b"070701" + b"0" * 104, mtime=0))
    (folder / "xenpolicy").write_bytes(_POLICY)


def _words(name: str, line: str) -> Iterator[tuple[str, str]]:
    """Yield the words of a command line, sizes in bytes: what vtool adds to them is nobody's loss."""
    for word in line.split():
        key, equals, value = word.partition("=")
        size = re.fullmatch(r"(\d+)([KMG])", value)
        yield f"{name} {key}", str(int(size[1]) << {"K": 10, "M": 20, "G": 30}[size[2]]) if size else value or equals


# -- ImageBuilder: variables of a shell


def of_imagebuilder(text: str) -> Iterator[tuple[str, str]]:
    """Return what a shell makes of a configuration; of files only that there are some."""
    ours = "MEMORY_*|DEVICE_TREE|XEN*|DOM*|NUM_*|CPUPOOL*|UBOOT_*"
    declared = f"for name in $(compgen -v); do case $name in {ours}) declare -p $name;; esac; done"
    done = subprocess.run(["bash", "-c", f"{text}\n{declared}"], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        kind, name, value = re.fullmatch(r"declare (\S+) (\w+)=(.*)", line).groups()  # type: ignore[union-attr]
        pairs = re.findall(r'\[([\d,]+)\]="([^"]*)"', value) if "a" in kind.lower() else [("", value.strip('"'))]
        for index, each in pairs:
            key = f"{name}[{index}]" if index else name
            is_file = re.fullmatch(r"(DOM(U|0)_(KERNEL|RAMDISK|PASSTHROUGH_DTB)|XEN|XEN_POLICY|DEVICE_TREE)", name)
            yield key, "a file" if is_file else " ".join(sorted(each.split())) if name.endswith("CMD") else each


# -- xl.cfg


def of_xl(text: str) -> Iterator[tuple[str, str]]:
    """Yield what xl makes of a file: a disk by its name, registers by their pages."""
    assert xl_takes(text)
    for key, value in read(text.replace("; ", "\n")).items():
        match key, value:
            case (("kernel" | "ramdisk" | "device_tree"), _):
                yield key, "a file"
            case "disk", list():
                yield from (_disk(disk) for disk in value)
            case "vif", list():
                for number, vif in enumerate(value):
                    yield f"vif {number}", " ".join(sorted(vif.replace(" ", "").split(",")))
            case (("p9" | "virtio"), list()):
                for number, each in enumerate(value):
                    yield f"{key} {number}", " ".join(sorted(re.sub("path=[^,]*", "path=a folder", each).split(",")))
            case (("dtdev" | "irqs"), list()):
                yield from ((f"{key} {each}", "given") for each in value)
            case "iomem", list():
                for each in value:
                    pages, _, inside = each.partition("@")
                    base, number = (int(one, 16) for one in pages.split(","))
                    yield f"iomem {base:#x}", f"{number} pages at {int(inside, 16) if inside else base:#x}"
            case _:
                yield key, str(value)


def _disk(disk: str) -> tuple[str, str]:
    words = dict(word.strip().partition("=")[::2] for word in disk.split(","))
    place = re.search(r"\bxvd[a-z]\d*\b", disk)
    writes = "w" in words or (words.get("access", "rw") == "rw" and "r" not in words)
    by = f", by {words['backend']}" if "backend" in words else ""
    return f"disk {place and place[0]}", ("written" if writes else "read") + by


# -- nodes below /chosen, and partial trees


def of_tree(text: str) -> Iterator[tuple[str, str]]:
    """Yield what Xen reads of a tree: domains and their command lines, or devices for one of them."""
    blob = subprocess.run(["dtc", "-q"], input=text.encode(), capture_output=True, check=True).stdout
    root = read_blob(blob).root
    if "passthrough" in root.children:
        yield from _of_devices(root.children["passthrough"])
        return
    chosen = root.children["chosen"]
    for name, value in chosen.values.items():
        if name.endswith("bootargs"):
            yield from _words(name, value.decode().strip("\0"))
        elif name.startswith("xen,"):
            yield name, value.hex()
    for node in chosen.children.values():
        if "xen,domain" in node.compatible:
            yield from _of_domain(node.name.removeprefix("domain-"), node)
        elif "xen,cpupool" in node.compatible:
            yield f"pool of {node.string('cpupool-sched')}", "there"


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
            case "xen", "vcpu":
                yield f"{name} vcpu {child.properties['id'].cells[0]}", child.string("hard-affinity")


def _of_devices(passthrough: Node) -> Iterator[tuple[str, str]]:
    for key in ("compatible", "ranges", "#address-cells", "#size-cells"):
        yield key, passthrough.values[key].hex()
    clocks = {node.phandle: node for node in passthrough.children.values() if "fixed-clock" in node.compatible}
    for node in passthrough.children.values():
        if node.phandle in clocks:
            continue
        for key, value in node.values.items():
            match key:
                case "phandle" | "linux,phandle" | "interrupt-parent":
                    continue
                case "clocks":
                    rates = [clocks[each].properties["clock-frequency"].cells[0] for each in node.cells("clocks")]
                    yield f"{node.name} clocks", " ".join(map(str, rates))
                case _:
                    yield f"{node.name} {key}", value.hex()


def _tree(board: BoardPlan, text: str) -> str:
    files = files_of(board)
    if "passthrough {" in text:
        (partial,) = (node.domain for node in board.passthrough[:1])
        return files.get(f"domains/{partial}/partial.dts") or files[f"{partial}.dts"]
    words = f'xen,xen-bootargs = "{board.xen_bootargs}"; xen,dom0-bootargs = "{board.control.bootargs}";'
    source = files["board.dts"].replace("/plugin/;\n", "").replace("&{/} {", "/ {")
    # Nodes of the board's own, which are not here.
    source = re.sub(r"^&\{/.*?^\};\n", "", source, flags=re.MULTILINE | re.DOTALL)
    return f"{source}/ {{ chosen {{ {words} }}; }};"


# -- commands of dom0 for guests that Xen built


def of_commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield what xl attaches to which domain."""
    for line in re.findall(r"^(?:ExecStart=/usr/sbin/)?xl (.*-attach .*)$", text, re.MULTILINE):
        verb, domain, *words = shlex.split(line)
        if verb == "block-attach":
            name, how = _disk(",".join(words))
            yield f"{domain}: {name}", how
        else:
            yield f"{domain}: network", " ".join(sorted(word for word in words if word != "type=vif"))


def _attached(board: BoardPlan, _: str) -> str:
    return "\n".join(text for name, text in files_of(board).items() if "/vtool-attach-" in name)


def of_scheduler(text: str) -> Iterator[tuple[str, str]]:
    """Yield what xl sets of a domain's scheduling."""
    for line in re.findall(r"^(?:ExecStartPost=/usr/sbin/)?xl (sched-.*)$", text, re.MULTILINE):
        verb, *words = shlex.split(line)
        yield from ((f"{verb} {key}", value) for key, value in zip(words[::2], words[1::2], strict=True))


def _domain_units(board: BoardPlan, _: str) -> str:
    return "\n".join(text for name, text in files_of(board).items() if name.startswith("units/vtool-domain-"))


# -- boot loaders


def of_uboot(text: str) -> Iterator[tuple[str, str]]:
    """Yield what a script has loaded where, and what it wrote into the tree."""
    known: dict[str, str] = {}
    for line in text.splitlines():
        words = [re.sub(r"\$\{(\w+)\}", lambda found: known.get(found[1], ""), word) for word in shlex.split(line)]
        match words:
            case ["setenv", name, *value]:
                known[name] = " ".join(value)
            case ["load", _, _, address, name]:
                yield f"a file at {address}", "a tree" if name.endswith(".dtb") else "there"
            case ["fdt", "set", "/chosen", name, value] if name.endswith("bootargs"):
                yield from _words(name, value)
            case ["fdt", "set", _, "compatible", kind, _]:
                yield f"module {kind}", "there"
            case ["booti", *where]:
                yield "booti", " ".join(where)


def of_efi(text: str) -> Iterator[tuple[str, str]]:
    """Yield what xen.efi reads of the section that it takes."""
    sections = re.split(r"^\[(.*)\]$", text, flags=re.MULTILINE)
    by_name = dict(zip(sections[1::2], sections[2::2], strict=True))
    chosen = by_name[by_name["global"].strip().removeprefix("default=")]
    for line in chosen.strip().splitlines():
        key, _, value = line.partition("=")
        file, _, words = value.partition(" ")
        yield key, "there"
        yield from _words(key, value if key == "options" else words)
        assert key == "options" or file


# -- QEMU in dom0


def of_qemu(text: str) -> Iterator[tuple[str, str]]:
    """Yield what a QEMU of the machine xenpvh serves, in the order in which it gives it places."""
    words = iter(shlex.split(text.replace("\\\n", " "))[1:])
    number = 0
    for option in words:
        if option in ("-xen-attach", "-nodefaults", "-no-user-config"):
            yield option, "there"
            continue
        value = next(words)
        keys = dict(part.partition("=")[::2] for part in value.split(","))
        match option:
            case "-device":
                kind = value.split(",")[0]
                yield f"device {number}", f"{kind} {keys.get('mac', '')} {keys.get('iommu_platform')}"
                number += 1
            case "-blockdev":
                yield f"block {keys['driver']}", "there"
            case "-netdev":
                yield "network", " ".join(part for part in value.split(",") if not part.startswith(("id=", "ifname=")))
            case "-machine" | "-m" | "-smp" | "-display" | "-global":
                yield option, value


def _qemu(board: BoardPlan, _: str) -> str:
    unit = files_of(board)["units/vtool-qemu-guest.service"]
    found = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", unit, re.MULTILINE)
    assert found is not None
    return found[1].replace("${DOMAIN}", "1")


def name_of(text: str) -> str:
    """Return the domain that an xl.cfg is of."""
    found = re.search(r'^name *= *["\'](.*)["\']', text, re.MULTILINE)
    assert found is not None
    return found[1]


def _xl_cfg(board: BoardPlan, text: str) -> str:
    name = name_of(text)
    return files_of(board)[f"domains/{name}/{name}.cfg"]


TREE, XL_CFG = Format(of_tree, _tree), Format(of_xl, _xl_cfg)
PAGES: Mapping[str, Mapping[str, Format]] = {
    "imagebuilder": {
        "sh": Format(of_imagebuilder, lambda board, _: files_of(board)["imagebuilder.config"]),
        "dts": TREE,
    },
    "xl-cfg": {"ini": XL_CFG},
    "xl-cfg-apart": {"ini": XL_CFG, "dts": TREE, "sh": Format(of_scheduler, _domain_units)},
    "xl-cfg-devices": {"ini": XL_CFG, "dts": TREE, "sh": Format(of_qemu, _qemu)},
    "boot": {
        "sh": Format(of_uboot, lambda board, _: files_of(board)["boot.cmd"]),
        "ini": Format(of_efi, lambda board, _: files_of(board)["xen.cfg"]),
    },
    "dom0less": {"dts": TREE, "sh": Format(of_commands, _attached)},
    "meta-virtualization": {"ini": XL_CFG},
    "products": {"ini": XL_CFG, "dts": TREE},
}
"""The pages with set-ups of Xen, each with the formats of its blocks."""
