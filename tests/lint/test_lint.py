"""One small tree per rule; the code stands as a comment on the line it must be found at, and nowhere else.

``/* xen 4.18 */`` as the first line chooses the version. Compiled, the same is found at the same nodes.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from libfdt import QUIET_NOTFOUND, Fdt

from vtool.board.dts import read_tree
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.deploy.merged_tree import complete
from vtool.diagnostics import VtoolError, format_diagnostic
from vtool.diagnostics.codes import codes_of, every_code
from vtool.lint import RULES, Finding, Kind, lint
from vtool.platform.devicetree import read_blob
from vtool.platform.xen_releases import NEWEST, VERSIONS, XenVersion
from vtool.render import render
from vtool.render.artifacts import Kind as ArtifactKind

CODES = every_code()

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = sorted([*(ROOT / "topology" / "examples").glob("*.yaml"), *(ROOT / "tests" / "topologies").glob("*.yaml")])
CASES = sorted(HERE.glob("*.dts"))
SHARED = {"VT354", "VT356", "VT357", "VT362", "VT416", "VT418", "VT419", "VT421"}
"""Codes that topologies have, too."""
OF_IMPORTS = {"VT858"}
"""Codes among lint's that `vtool board import` alone gives (tests/unit/test_import_doubts.py)."""


def version_of(path: Path) -> XenVersion | None:
    said = re.match(r"/\* xen (\d)\.(\d+) \*/", path.read_text())
    return XenVersion(int(said[1]), int(said[2])) if said else None


def compiled(path: Path) -> bytes:
    command = ["dtc", "-q", "-f", "-I", "dts", "-O", "dtb", str(path)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def keys(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.code, finding.node.path) for finding in findings]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_found_where_the_comment_says(path: Path) -> None:
    lines = path.read_text().splitlines()
    wanted = {
        (number, code)
        for number, line in enumerate(lines, 1)
        for comment in re.findall(r"/\*([^*]*)\*/", line)
        for code in re.findall(r"VT\d{3}", comment)
    }
    _, findings = lint(read_tree(path), version_of(path))
    diagnostics = [finding.diagnostic() for finding in findings]
    shown = "\n".join(map(format_diagnostic, diagnostics))
    assert {(d.span.line if d.span else 0, d.code) for d in diagnostics} == wanted, shown
    assert path.stem.startswith("clean-") or path.name[:5] in {code for _, code in wanted}
    assert all(d.span and d.span.path == path for d in diagnostics)
    assert all(d.message.startswith(f"{f.node.path}: ") for d, f in zip(diagnostics, findings, strict=True))
    assert len({(finding.name, *key) for finding, key in zip(findings, keys(findings), strict=True)}) == len(findings)

    _, of_blob = lint(read_blob(compiled(path)), version_of(path))
    assert keys(of_blob) == keys(findings)
    assert all(finding.diagnostic().span is None for finding in of_blob)


def test_every_rule_has_a_case_and_says_its_codes() -> None:
    said = {code for kind in RULES.values() for rule in kind for code in codes_of(rule)}
    assert (
        said | {"VT830"}
        == {code for code in CODES if "VT830" <= code < "VT930"} - OF_IMPORTS | SHARED
        == {p.name[:5] for p in CASES if p.name[0] == "V"}
    )


@pytest.mark.parametrize(
    ("case", "version", "words"),
    [
        ("VT888-no-host-address-4.18", "4.17", "Xen 4.17 ends its early scan here and boots on"),
        ("VT891-other-size", "4.20", "Xen 4.20 panics before its console is up"),
        ("VT891-other-size", "4.18", "Xen 4.18 ends its early scan here and boots on"),
        ("VT863-each-other", "4.17", "Xen 4.17 does not check"),
        ("VT863-each-other", "4.18", "Xen 4.18 drops the module"),
        ("VT895-no-owner", "4.22", "accepts it silently"),
        ("VT899-heap-in-one", "4.19", "at a guest address that is really the size"),
        ("VT894-of-a-domain", "4.20", "Device tree generation failed (-3)"),
        ("VT863-memreserve", "4.19", "Xen 4.19 drops the module"),
        ("VT863-within-a-memreserve-4.19", "4.19", "Xen 4.19.0 to 4.19.1 drop the module"),
        ("VT893-memreserve-unchecked", "4.19", "Xen 4.19 panics before its console is up"),
        ("VT843-within-under-xen-4.19", "4.19", "Xen 4.19.0 to 4.19.1 panic before their console is up"),
        ("VT906-under-xen", "4.18", "Xen 4.18 ends its early scan here"),
        ("VT908-under-xen", "4.20", "a BUG in its boot allocator"),
    ],
)
def test_what_a_version_does_is_named(case: str, version: str, words: str) -> None:
    chosen = next(v for v in VERSIONS if str(v) == version)
    _, findings = lint(read_tree(HERE / f"{case}.dts"), chosen)
    assert any(finding.code == case[:5] and words in finding.message for finding in findings)


@pytest.mark.parametrize(
    ("case", "severity", "words"),
    [
        ("VT834-goes-on", "warning", "Linux goes on to '/interrupt-controller@8000000'"),
        ("VT834-nobody", "error", "its interrupts are lost"),
        ("VT842-plain", "warning", "Linux says 'OVERLAP DETECTED' and sets up both"),
        ("VT842-not-neighbours", "warning", "Linux does not notice and sets up both"),
        ("VT842-no-map-too-late", "warning", "`no-map` comes too late: it stays mapped"),
        ("VT843-no-map", "warning", "Linux before 6.4 fails to reserve it"),
        ("VT901-larger-than-its-range", "error", "`alloc-ranges` [0x40000000, 0x50000000) has less room"),
        ("VT901-around-a-fixed-region", "error", "no more than 384MiB are free"),
        ("VT901-alignment", "error", "no more than 255MiB are free"),
        ("VT901-one-takes-what-the-other-needs", "error", "beside '/reserved-memory/rpmsg'"),
        ("VT901-no-ram-in-its-range", "error", "holds no RAM"),
        ("VT901-beyond-the-ram-that-is-said", "warning", "unless the boot loader finds more RAM"),
        ("VT903-alignment", "warning", "to page blocks all the same"),
        ("VT905-offset", "error", "its bus reaches [0x40000000, 0x50000000)"),
        ("VT905-through-two-windows", "error", "its bus reaches [0x60000000, 0x70000000)"),
        ("VT905-coherent", "error", "gives the device addresses that it cannot reach"),
        ("VT906-above-ram", "error", "takes these addresses for RAM"),
        ("VT906-below-ram", "error", "drops it"),
        ("VT908-numa", "error", "gives up NUMA"),
        ("VT909-zero", "warning", "names phandle 0"),
        ("VT910-below-what-is-off", "warning", "Xen drives it all the same"),
    ],
)
def test_what_linux_does_is_said(case: str, severity: str, words: str) -> None:
    _, findings = lint(read_tree(HERE / f"{case}.dts"))
    assert any(f.code == case[:5] and f.severity.value == severity and words in f.message for f in findings), findings


def test_a_tree_without_modules_is_judged_for_xen_when_a_release_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    path = HERE / "VT912-name.dts"
    assert main(["lint", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: Linux tree: OK\n"
    assert main(["lint", str(path), "--xen-version", "4.20"]) == 1
    assert capsys.readouterr().out == f"{path}: Linux tree, judged for Xen 4.20: 1 error, 0 warnings\n"


def test_the_whole_text(capsys: pytest.CaptureFixture[str]) -> None:
    path = HERE / "VT834-hard-coded.dts"
    assert main(["lint", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == f"{path}: Linux tree: 1 error, 0 warnings\n"
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "VT834" in line)
    buffer = next(n for n, line in enumerate(lines, 1) if "buffer@" in line)
    shown = lines[number - 1].replace("\t", " ")
    assert said.err == (
        f"{path}:{number}:3: error[VT834]: /interrupt-controller@8000000: `interrupt-parent` 0x4 is "
        "'/reserved-memory/buffer@50000000', which is not an interrupt controller\n"
        f"{number:>6} | {shown}\n"
        f"       |   {'^' * len('interrupt-parent = <0x4>;')}\n"
        f"   {path}:{buffer}:{lines[buffer - 1].rindex('buffer@') + 1}: '/reserved-memory/buffer@50000000' is here\n"
        "   hint: refer to the controller's label: phandle numbers change whenever dtc assigns them\n"
    )


def test_a_label_that_nothing_has_is_said_of_any_property(tmp_path: Path) -> None:
    (tmp_path / "board.dts").write_text(
        '/dts-v1/;\n/ { compatible = "x";\n\ta { x,odd = <1 &gone>; x,number = <0xffffffff>; };\n'
        '\tb { status = "disabled"; x,odd = <&gone>; };\n};\n'
    )
    _, (finding,) = lint(read_tree(tmp_path / "board.dts"))
    assert (finding.code, finding.node.path) == ("VT909", "/a") and finding.name == "x,odd"
    assert finding.message == "`x,odd` refers to the label 'gone', which no node has"


def test_json_names_nodes_and_the_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = tmp_path / "tree.dtb"
    blob.write_bytes(compiled(HERE / "VT895-two-owners.dts"))
    assert main(["lint", str(blob), "--xen-version", "4.20", "--format", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["xen_version"]) == ("xen", "4.20")
    assert [(d["code"], d["node"], d["place"]) for d in said["diagnostics"]] == [
        ("VT895", "/chosen/domU2/shm@0", None),
    ]


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(HERE / "clean-shared-memory.dts")]) == 0
    assert f"judged for Xen {NEWEST}: OK" in capsys.readouterr().out
    assert main(["lint", str(tmp_path / "missing.dtb")]) == 1
    with pytest.raises(SystemExit) as caught:
        main(["lint", str(HERE / "clean-linux.dts"), "--xen-version", "4.15"])
    assert caught.value.code == 2
    assert all(str(version) in capsys.readouterr().err for version in VERSIONS[:1])


def qemu_tree(folder: Path, *options: str) -> Path:
    blob = folder / "virt.dtb"
    machine = f"virt,gic-version=3,virtualization=on,dumpdtb={blob}"
    command = ["qemu-system-aarch64", "-M", machine, "-cpu", "cortex-a57", "-m", "3G", "-smp", "2", "-display", "none"]
    subprocess.run([*command, "-nodefaults", *options], check=True, capture_output=True)
    return blob


def test_nothing_is_found_in_qemus_own_tree(tmp_path: Path) -> None:
    assert lint(read_tree(qemu_tree(tmp_path))) == (Kind.LINUX, [])


def test_a_blob_is_read_as_libfdt_reads_it(tmp_path: Path) -> None:
    blob = qemu_tree(tmp_path).read_bytes()
    fdt, nodes = Fdt(blob), list(read_blob(blob).root.walk())
    assert len(nodes) > 20
    for node in nodes:
        offset = fdt.path_offset(node.path)
        assert all(bytes(fdt.getprop(offset, name)) == found.value for name, found in node.properties.items())
        assert fdt.first_property_offset(offset, QUIET_NOTFOUND) >= 0 or not node.properties
        assert [child.name for child in node.children.values()] == list(children(fdt, offset))


def children(fdt: Fdt, offset: int) -> Iterator[str]:
    child = fdt.first_subnode(offset, QUIET_NOTFOUND)
    while child >= 0:
        yield fdt.get_name(child)
        child = fdt.next_subnode(child, QUIET_NOTFOUND)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_is_found_in_what_vtool_renders(example: Path, tmp_path: Path) -> None:
    merged = 0
    for board in prepare(example).plan.boards:
        memory = {f"domains/{g.name}/{g.name}.dts": f"{g.memory_bytes >> 20}M" for g in board.kvm_guests}
        rendered = render(board).artifacts
        artifacts = {artifact.name: artifact.content for artifact in rendered}
        for name in (a.name for a in rendered if a.kind in (ArtifactKind.OVERLAY, ArtifactKind.HOST_OVERLAY)):
            overlay, tree = tmp_path / "overlay.dtbo", tmp_path / "merged.dtb"
            base = qemu_tree(tmp_path, "-m", memory.get(name, "3G"))
            subprocess.run(["dtc", "-q", "-@", "-o", str(overlay)], input=artifacts[name].encode(), check=True)
            subprocess.run(["fdtoverlay", "-i", str(base), "-o", str(tree), str(overlay)], check=True)
            if name == "board.dts":
                tree.write_bytes(complete(tree.read_bytes(), board, read_blob(tree.read_bytes())))
                run_boot_script(artifacts.get("boot.cmd", ""), tree)
            kind, findings = lint(read_tree(tree))
            assert findings == [], [finding.diagnostic() for finding in findings]
            assert kind is (Kind.XEN if "module@" in artifacts.get("boot.cmd", "") else Kind.LINUX)
            merged += 1
    assert merged


def run_boot_script(script: str, tree: Path) -> None:
    """Do to the tree what U-Boot would: `fdt set` and `fdt mknode` of the script that vtool renders."""
    values = {"kernel_size": "0x1000000", "ramdisk_size": "0x800000", "filesize": "1000000"}
    values |= dict(re.findall(r"^setenv (\w+) '([^']*)'", script, re.MULTILINE))
    for verb, path, rest in re.findall(r"^fdt (set|mknode) (\S+) (.+)$", script, re.MULTILINE):
        rest = re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], ""), rest)
        if verb == "mknode":
            subprocess.run(["fdtput", "-c", str(tree), f"{path}/{rest}"], check=True)
            continue
        name, value = re.fullmatch(r"\\?(\S+) (.+)", rest).groups()  # type: ignore[union-attr]
        cells = value.strip("<>").split() if value[0] == "<" else None
        words = cells or re.findall(r'"([^"]*)"', value)
        subprocess.run(["fdtput", "-t", "x" if cells else "s", str(tree), path, name, *words], check=True)


def judge(path: Path) -> int:
    """Lint for some version; return the number of findings. Only VtoolError may be raised."""
    _, findings = lint(read_tree(path), random.Random(path.name).choice(VERSIONS))
    diagnostics = [finding.diagnostic() for finding in findings]
    assert {diagnostic.code for diagnostic in diagnostics} <= set(CODES)
    assert all(diagnostic.message.isprintable() for diagnostic in diagnostics)  # names of a blob need not be text
    "\n".join(map(format_diagnostic, diagnostics)).encode()
    return len(findings)


def test_mutated_blobs(tmp_path: Path) -> None:
    path, refused, found = tmp_path / "tree.dtb", 0, 0
    for case in CASES:
        whole = compiled(case)
        for seed in range(25):
            dice = random.Random(f"{case.stem} {seed}")
            blob = bytearray(whole)
            for _ in range(dice.randint(1, 8)):
                at = dice.randrange(len(blob))
                kind = dice.randrange(20)
                if kind < 6:
                    blob[at] = dice.randrange(256)
                elif kind < 13:
                    blob[at // 4 * 4 : at // 4 * 4 + 4] = dice.choice(
                        [b"\xff" * 4, b"\0" * 4, b"\0\0\0\1", b"\x80\0\0\0"]
                    )
                elif kind < 19:
                    blob[at] ^= 1 << dice.randrange(8)
                else:
                    del blob[at:]
                    blob = blob or bytearray(b"\0")
            path.write_bytes(bytes(blob))
            try:
                found += judge(path)
            except VtoolError as error:
                refused += 1
                assert {d.code for d in error.diagnostics} == {"VT801"}
    assert refused > 100
    assert found > 1000


def test_mutated_sources(tmp_path: Path) -> None:
    words = [
        "0",
        "<>",
        "<0xffffffff 0xffffffff>",
        '""',
        '"\\xff"',
        "[00]",
        "{",
        "};",
        "&x",
        "/include/",
        "#if",
        "(1/0)",
        "\x1b[2J",
    ]
    path, refused = tmp_path / "tree.dts", 0
    for case in CASES:
        lines = case.read_text().splitlines(keepends=True)
        dice = random.Random(case.stem)
        for _ in range(2):
            mutated = list(lines)
            for _ in range(dice.randint(1, 3)):
                at = dice.randrange(len(mutated))
                kind = dice.randrange(4)
                if kind == 0:
                    mutated.pop(at) if len(mutated) > 1 else None
                elif kind == 1:
                    mutated[at] = re.sub(r"<[^>]*>", dice.choice(words).replace("\\", r"\\"), mutated[at])
                elif kind == 2:
                    place = dice.randrange(len(mutated[at]) + 1)
                    mutated[at] = mutated[at][:place] + chr(dice.randrange(1, 256)) + mutated[at][place:]
                else:
                    mutated[at] = dice.choice(lines)
            path.write_text("".join(mutated))
            try:
                judge(path)
            except VtoolError as error:
                refused += 1
                assert {d.code for d in error.diagnostics} == {"VT801"}
    assert refused > 20
