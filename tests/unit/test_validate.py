"""Shape: pydantic's findings in vtool's words, at the place they are about."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from vtool.diagnostics import Diagnostic, VtoolError, nearest
from vtool.model.devices import BlockDevice, NetworkDevice
from vtool.model.topology import Role, Topology, Xen
from vtool.model.types import CpuList, Model
from vtool.model.validate import known_facts, load_facts, validate, validate_as
from vtool.reading.source import load, parse

EXAMPLES = Path(__file__).resolve().parents[2] / "topology" / "examples"
NAME = "a name: a lower-case letter, then at most 30 lower-case letters, digits or '-'"


def read(path: Path) -> Topology:
    return validate(load(path))


def found_after(folder: Path, old: str, new: str, example: str = "xen-pv") -> list[Diagnostic]:
    text = (EXAMPLES / f"{example}.yaml").read_text()
    assert old in text
    path = folder / "topology.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(VtoolError) as caught:
        read(path)
    return list(caught.value.diagnostics)


def test_an_example_becomes_types() -> None:
    topology = read(EXAMPLES / "xen-pv.yaml")
    assert topology.boards["board0"].hypervisor == Xen(kind="xen")
    assert topology.domains["dom0"].role is Role.CONTROL and topology.domains["fe0"].memory == 256 << 20
    assert isinstance(topology.devices["disk0"], BlockDevice)
    assert isinstance(topology.devices["net0"], NetworkDevice)


def test_the_facts_vtool_ships_are_sound() -> None:
    assert "qemu-virt" in known_facts()
    for name in known_facts():
        assert load_facts(name).facts.name == name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: xen-pv", "name: Xen_PV", f"'Xen_PV' is not {NAME}"),
        ("name: xen-pv", "name: 12", f"12 is not {NAME}"),
        ("name: xen-pv", "name:", f"nothing is not {NAME}"),
        ("owner: dom0", "owner: [dom0]", f"a list is not {NAME}"),
        ("owner: dom0", "owner: dom0\n    borrowers: [Fe0]", f"'Fe0' is not {NAME}"),
        ("owner: dom0", "owner: dom0\n    borrowers: fe0", "'fe0' is not a list"),
        (
            "ramdisk: vtool:guest-initramfs",
            "ramdisk: ''",
            "'' is not an image: vtool:NAME, or the path of a file beside the topology",
        ),
        ("cpus: 2", "ready: ''", "'' is not 1 to 200 printable ASCII characters"),
        (
            "bridge: xenbr0",
            "bridge: Br.0",
            "'Br.0' is not a bridge name: a lower-case letter, then at most 14 lower-case letters, digits or '-'",
        ),
        (
            "bridge: xenbr0",
            "bridge: xenbr0\n      mac: 52:54:00:12:34:5G",
            "'52:54:00:12:34:5G' is not a MAC address such as 52:54:00:12:34:56, in lower case",
        ),
        ("cpus: 2", "cpus: no", "'no' is not a whole number"),
        ("cpus: 2", "cpus: true", "true is not a whole number"),
        ("cpus: 2", "cpus: 0", "0 is too small; the least is 1"),
        ("cpus: 2", "cpus: 129", "129 is too large; the most is 128"),
        ("role: control", "role: boss", "'boss' is not one of 'control', 'guest'"),
        ("kind: xen", "kind: xem", "'xem' is not one of 'kvm', 'xen'"),
        ("kind: xen", "kind: [xen]", "a list is not one of 'kvm', 'xen'"),
        ("version: 1", "version: 2", "2 is not 1"),
        ("version: 1", "version: true", "true is not 1"),
        ("size: 2MiB", "size: 2MB", "'2MB' is not a size; write a whole number with B, KiB, MiB, GiB or TiB"),
        ("size: 2MiB", "size: 0", "a size cannot be zero"),
        ("size: 2MiB", "size: 4194304TiB", "a size is less than 1 EiB"),
        (
            "size: 2MiB",
            "size: 2MiB\n    address: 1GiB",
            "an address is a whole number such as 0x4000_0000, not '1GiB'",
        ),
        ("    hypervisor:\n      kind: xen", "    hypervisor: xen", "'xen' is not a mapping of keys to values"),
    ],
)
def test_what_is_said_of_a_wrong_value(old: str, new: str, message: str, tmp_path: Path) -> None:
    (found,) = found_after(tmp_path, old, new)
    assert found.message == message
    assert found.span is not None
    line = (tmp_path / "topology.yaml").read_text().splitlines()[found.span.line - 1]
    assert line.strip() in new or line.strip().startswith(new.strip().split(":")[0])


def test_long_values_are_shown_in_part(tmp_path: Path) -> None:
    for new in ("name: " + "a" * 5000, "name: [" + "a, " * 900 + "a]", "name: " + "9" * 5000):
        (found,) = found_after(tmp_path, "name: xen-pv", new)
        assert len(found.message) < 300
    (found,) = found_after(tmp_path, "size: 2MiB", "size: " + "9" * 5000 + "MB")
    assert len(found.message) < 300


def test_empty_tables_are_refused_where_something_is_needed(tmp_path: Path) -> None:
    text = (EXAMPLES / "kvm-pool.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text[: text.index("domains:")] + "domains: {}\n")
    with pytest.raises(VtoolError) as caught:
        read(tmp_path / "a.yaml")
    assert [d.message for d in caught.value.diagnostics] == ["at least 1 entry is needed here"]


def test_a_misspelt_key_is_answered_with_the_keys_of_that_place(tmp_path: Path) -> None:
    (found,) = found_after(tmp_path, "verify: write", "verifyy: write")
    assert found.hints == (
        "did you mean 'verify'?",
        "known here: device, file, format, on_change, read_only, size, source, verify",
    )
    (found,) = found_after(tmp_path, "kind: kvm", "kind: kvm\n      image: x", "kvm-pool")
    assert found.hints == ("known here: kind, machine, qemu_version, suite, vmm",)  # not those of Xen
    (found,) = found_after(tmp_path, "    cpus: 2", "    cpu: 2")
    assert found.hints[0] == "did you mean 'cpus'?"


def test_a_missing_key_is_found_at_what_lacks_it(tmp_path: Path) -> None:
    (found,) = found_after(tmp_path, "    size: 2MiB\n", "")
    assert (found.code, found.message) == ("VT202", "the key 'size' is missing")
    lines = (tmp_path / "topology.yaml").read_text().splitlines()
    assert found.span is not None and lines[found.span.line - 1] == "  region0:"
    (found,) = found_after(tmp_path, "    type: net\n", "")
    assert found.span is not None and (found.message, found.span.column) == ("the key 'type' is missing", 3)


def test_the_form_of_a_key_is_said_too(tmp_path: Path) -> None:
    (found,) = found_after(tmp_path, "  region0:", "  Region_0:")
    assert (found.code, found.message) == ("VT204", f"'Region_0' is not {NAME}")
    assert found.span is not None and (found.span.column, found.span.end_column) == (3, 11)


def test_the_nearest_name_or_none() -> None:
    assert nearest("hots", ["host", "fe0"]) == ("did you mean 'host'?",)
    assert nearest("backend-domain", ["fe0"]) == ()


@pytest.mark.parametrize(
    ("text", "cpus", "message"),
    [
        ("0-2,5", (0, 1, 2, 5), ""),
        ("3", (3,), ""),
        ("[4, 1]", (1, 4), ""),
        ("2-0", (), "the range 2-0 runs backwards; write 0-2"),
        ("[1, 1]", (), "CPU 1 is named twice"),
        ("[]", (), "at least one CPU is needed here"),
    ],
)
def test_lists_of_cpus(text: str, cpus: tuple[int, ...], message: str) -> None:
    class Pinned(Model):
        cpus: CpuList

    document = parse(f"cpus: {text}\n", Path("t.yaml"))
    if not message:
        assert validate_as(Pinned, document).cpus == cpus
        return
    with pytest.raises(VtoolError) as caught:
        validate_as(Pinned, document)
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("VT203", message)
    assert found.span is not None and (found.span.line, found.span.column) == (1, 7)


def test_lists_of_cpus_have_a_schema() -> None:
    schema = TypeAdapter(CpuList).json_schema()
    for value, valid in (("0-2,5", True), (3, True), ([4, 1], True), ("0-", False), ([], False), (4096, False)):
        assert Draft202012Validator(schema).is_valid(value) is valid, value
