"""Rules on how kernels are built: the options come from an image, so no YAML file can hold a case."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.check import KernelOptions, check
from vtool.diagnostics import Diagnostic, Severity
from vtool.model.validate import load_facts, validate
from vtool.reading.source import load

EXAMPLES = Path(__file__).resolve().parents[2] / "topology" / "examples"
POOL = ("DMA_RESTRICTED_POOL", "VIRTIO_MMIO", "VIRTIO_BLK")
WATCHDOG = "I6300ESB_WDT"
XEN_DOM0 = ("XEN", "XEN_DOM0", "XENFS", "XEN_COMPAT_XENFS", "XEN_GNTDEV", "XEN_DEV_EVTCHN")
DOM0 = (*XEN_DOM0, WATCHDOG, "XEN_BLKDEV_BACKEND", "XEN_NETDEV_BACKEND")
DOMU = ("XEN", "HVC_XEN", "XEN_BLKDEV_FRONTEND", "XEN_NETDEV_FRONTEND")
NEEDED = [
    ("kvm-pool", "fe0", POOL),
    ("kvm-pool", "host", ("KVM", WATCHDOG)),
    ("xen-pv", "dom0", DOM0),
    ("xen-pv", "fe0", DOMU),
]
CASES = [(example, domain, option) for example, domain, options in NEEDED for option in options]
EVERYTHING = {option: "y" for _, _, option in CASES}


def found_with(folder: Path, example: str, domain: str, options: dict[str, str]) -> tuple[list[Diagnostic], str]:
    """Check an example whose domain has a kernel of its own; return what is found, and the file's text."""
    text = (EXAMPLES / f"{example}.yaml").read_text()
    text = text.replace(f"  {domain}:\n", f"  {domain}:\n    kernel: mine\n", 1)
    path = folder / "topology.yaml"
    path.write_text(text)
    document = load(path)
    topology = validate(document)
    kernels = {"mine": KernelOptions(options, "mine"), "vtool:linux": KernelOptions(EVERYTHING, "vtool:linux")}
    facts = {name: load_facts(board.facts) for name, board in topology.boards.items()}
    return check(document, topology, facts, kernels), text


@pytest.mark.parametrize(("example", "domain", "option"), CASES)
def test_a_missing_option_is_vt510(example: str, domain: str, option: str, tmp_path: Path) -> None:
    without = {name: value for name, value in EVERYTHING.items() if name != option}
    (found,), text = found_with(tmp_path, example, domain, without)
    assert (found.code, found.severity) == ("VT510", Severity.ERROR)
    assert found.message.startswith(f"the kernel of '{domain}' (mine) is built without CONFIG_{option}, needed ")
    assert found.span is not None and text.splitlines()[found.span.line - 1] == "    kernel: mine"


@pytest.mark.parametrize(("example", "domain", "option"), CASES)
def test_an_option_as_a_module_is_warned_of_as_vt511(example: str, domain: str, option: str, tmp_path: Path) -> None:
    (found,), _ = found_with(tmp_path, example, domain, EVERYTHING | {option: "m"})
    assert (found.code, found.severity) == ("VT511", Severity.WARNING)
    assert f"CONFIG_{option} as a module" in found.message


def test_a_kernel_with_all_options_is_fine(tmp_path: Path) -> None:
    for example, domain, _ in NEEDED:
        assert found_with(tmp_path, example, domain, EVERYTHING)[0] == []


def test_a_kernel_that_does_not_tell_is_not_judged(tmp_path: Path) -> None:
    path = EXAMPLES / "kvm-pool.yaml"
    document = load(path)
    topology = validate(document)
    assert check(document, topology, {"board0": load_facts("qemu-virt")}, {}) == []


@pytest.mark.parametrize(
    ("pages", "more", "wanted"),
    [
        ("ARM64_64K_PAGES", "granule: 4KiB", ["VT414"]),
        ("ARM64_16K_PAGES", "granule: 64KiB", []),
        ("ARM64_64K_PAGES", "address: 0x6000_1000", ["VT403"]),
        ("ARM64_64K_PAGES", "alignment: 16KiB", ["VT413"]),
        ("ARM64_4K_PAGES", "address: 0x6000_1000", []),
    ],
)
def test_regions_fit_the_pages_of_kernels(pages: str, more: str, wanted: list[str], tmp_path: Path) -> None:
    text = (EXAMPLES / "xen-pv.yaml").read_text().replace("  dom0:\n", "  dom0:\n    kernel: mine\n", 1)
    path = tmp_path / "topology.yaml"
    path.write_text(text.replace("    use: shared-memory\n", f"    use: shared-memory\n    {more}\n"))
    document = load(path)
    kernels = {"mine": KernelOptions(EVERYTHING | {pages: "y"}, "mine")}
    found = check(document, validate(document), {"board0": load_facts("qemu-virt")}, kernels)
    assert [finding.code for finding in found] == wanted
    for finding in found:
        assert finding.span is not None and more in path.read_text().splitlines()[finding.span.line - 1]


ROOT = """\
version: 1
name: case
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm}}
domains:
  host: {role: control}
  fe0:
    memory: 256MiB
    kernel: mine
    bootargs: WORDS
devices:
  disk0:
    type: blk
    frontend: fe0
    backend: host
    program: qemu
    transport: pci
    data_path: shared-ram
    disk: {file: root.img, size: 64MiB}
"""


@pytest.mark.parametrize(
    ("words", "modules", "more", "wanted"),
    [
        ("root=/dev/vda1", ("VIRTIO_BLK",), "", ["VT530"]),
        ("root=/dev/vda1 rootfstype=ext4", ("EXT4_FS", "VIRTIO_PCI"), "", ["VT530"]),
        ("root=/dev/vda1", ("EXT4_FS",), "", []),  # of which file system it is nobody says
        ("root=/dev/vda1", ("VIRTIO_BLK",), "ramdisk: theirs", ["VT511"]),
        ("root=/dev/vdb", ("VIRTIO_BLK",), "", ["VT511"]),
    ],
)
def test_what_mounts_a_guests_root_is_in_its_kernel(
    words: str, modules: tuple[str, ...], more: str, wanted: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(ROOT.replace("WORDS", f"{words}\n    {more}".rstrip()))
    document = load(path)
    options = EVERYTHING | dict.fromkeys(("VIRTIO_PCI", "PCI_HOST_GENERIC", "EXT4_FS", "BLK_DEV_INITRD"), "y")
    kernels = {
        "mine": KernelOptions(options | dict.fromkeys(modules, "m"), "mine"),
        "vtool:linux": KernelOptions(options, "vtool:linux"),
    }
    found = check(document, validate(document), {"board0": load_facts("qemu-virt")}, kernels)
    assert [each.code for each in found if each.code != "VT424"] == wanted
    for each in found:
        if each.code == "VT530":
            assert each.span is not None and path.read_text().splitlines()[each.span.line - 1] == "    kernel: mine"
            assert all(f"CONFIG_{module}" in each.message for module in modules)
