"""Xen and QEMU from Debian's source packages: what goes into them, and what is read of them. Nothing is compiled."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vtool.base.progress import Silent
from vtool.cli.common import prepare
from vtool.diagnostics import Severity, VtoolError
from vtool.files.kernel_image import options_in
from vtool.images import XEN_OPTIONS, debian, from_source, recipe_lines, recipe_text
from vtool.images.catalogue import CATALOGUE
from vtool.images.kernel_options import dropped_options
from vtool.images.store import Build, ChildProcesses, Image, Recipe, Store, key_of
from vtool.images.xen_build import configuration_in, release_in
from vtool.platform.layouts import XEN_POOL_PHANDLE
from vtool.render import render

URIS = """\
Reading package lists...
'http://mirror/pool/main/t/toy/toy_1%2b2-3.dsc' toy_1+2-3.dsc 4054 SHA256:{}
'http://mirror/pool/main/t/toy/toy_1%2b2-3.debian.tar.xz' toy_1+2-3.debian.tar.xz 139888 SHA256:{}
'http://mirror/pool/main/t/toy/toy_1%2b2.orig.tar.xz' toy_1+2.orig.tar.xz 4964620 SHA256:{}
""".format("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the answers of the host's Debian known ones."""
    monkeypatch.setattr(debian, "package_versions", lambda *names: dict.fromkeys(names, "1"))
    monkeypatch.setattr(debian, "pinned_release", lambda *_: "release")
    monkeypatch.setattr(debian, "mirror", lambda: "http://mirror")
    monkeypatch.setenv("VTOOL_CACHE", str(tmp_path / "cache"))


def needs_of(recipe: Recipe) -> dict[str, Image]:
    return {need: Image(Path(need), {"sha256": f"of {need}"}) for need in recipe.needs}


def key(name: str) -> str:
    recipe = CATALOGUE[name]
    return key_of(recipe, recipe.inputs(needs_of(recipe)))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("xen", "xen/pool-node.patch"),
        ("xen", XEN_OPTIONS),
        ("qemu-xenpvh", "qemu/options.txt"),
        ("qemu-xenpvh", "qemu/devices.mak"),
        ("qemu-sysroot", "qemu/sysroot.txt"),
        ("xen-source", "sources.txt"),
    ],
)
def test_another_data_file_is_another_image(monkeypatch: pytest.MonkeyPatch, name: str, file: str) -> None:
    before, others = key(name), {other: key(other) for other in ("linux", "firmware", "guest-initramfs")}

    def changed(asked: str) -> str:
        return recipe_text(asked) + ("xen another 0\n" if asked == file else "")

    monkeypatch.setattr(from_source, "recipe_text", changed)
    assert key(name) != before
    assert {other: key(other) for other in others} == others


def test_the_source_counts_by_its_content() -> None:
    recipe = CATALOGUE["xen"]
    other = {"xen-source": Image(Path(), {"sha256": "of another source"})}
    assert recipe.inputs(other) != recipe.inputs(needs_of(recipe))
    assert "release" not in recipe.inputs(other), "a refresh that brings the same source compiles nothing"


# -- what Xen is


def test_xen_is_what_the_issue_asks_for() -> None:
    options = options_in(recipe_text(XEN_OPTIONS))
    wanted = "EXPERT UNSUPPORTED STATIC_MEMORY STATIC_SHM IOREQ_SERVER ARGO STATIC_EVTCHN DOM0LESS_BOOT HYPFS_CONFIG"
    assert [name for name in wanted.split() if options.get(name) != "y"] == []
    assert release_in(recipe_text(XEN_OPTIONS)) == release_in(recipe_text("xen-debian-4.20.config"))


def test_a_topology_that_names_our_own_images_needs_no_more_words() -> None:
    path = Path(__file__).parents[1] / "topologies" / "dom0less-pool.yaml"
    assert not {"config:", "patches:", "qemu_version:"} & set(path.read_text().split())
    prepared = prepare(path, keep=False)
    (board,) = prepared.plan.boards
    assert board.xen_image == "vtool:xen"
    assert {guest.qemu.image for guest in board.guests if guest.qemu} == {"vtool:qemu-xenpvh"}
    program = render(board).get("domains/fe0/qemu-system-aarch64")
    assert (program.content, program.mode, program.used_by) == ("vtool:qemu-xenpvh", 0o755, ("vtool-qemu-fe0.service",))
    with pytest.raises(VtoolError) as raised:
        prepare(path, settings=["boards.board0.hypervisor.image=vtool:xen-debian"], keep=False)
    assert {d.code for d in raised.value.diagnostics if d.severity is Severity.ERROR} == {"VT371", "VT387"}


def test_the_patch_numbers_pools_as_the_plan_does() -> None:
    added = [line for line in recipe_text("xen/pool-node.patch").splitlines() if line.startswith("+")]
    assert any(f'"phandle", {XEN_POOL_PHANDLE} + ' in line for line in added)
    assert any("\\0restricted-dma-pool" in line for line in added)


def built(text: str) -> bytes:
    return b"code" * 100 + gzip.compress(text.encode()) + b"more code"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace("CONFIG_STATIC_SHM=y\n", "# CONFIG_STATIC_SHM is not set\n"), "VT504"),
        (lambda text: text.replace("# CONFIG_DEBUG is not set", "CONFIG_DEBUG=y"), "VT504"),
        (lambda text: text.replace("Xen/arm 4.20", "Xen/arm 4.21.1"), "VT506"),
        (lambda _: "", "VT504"),
    ],
)
def test_a_xen_that_is_not_what_checks_take_it_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[str], str], code: str
) -> None:
    """The compiler is played: configuring leaves what was asked, the binary says something else inside."""
    options = recipe_text(XEN_OPTIONS)

    def run(build: Build, step: str, *_: object, **__: object) -> None:
        if step == "compile":
            (build.folder / "tree/xen/xen").write_bytes(built(change(options)))

    def tree(build: Build, *_: object) -> Iterator[Path]:
        (build.folder / "tree/xen").mkdir(parents=True)
        yield build.folder / "tree"

    monkeypatch.setattr(Build, "run", run)
    monkeypatch.setattr(from_source, "source_tree", from_source.contextmanager(tree))
    recipe = CATALOGUE["xen"]
    with pytest.raises(VtoolError) as raised:
        Store(tmp_path).get(recipe, needs_of(recipe), Silent(), ChildProcesses())
    assert [d.code for d in raised.value.diagnostics] == [code]
    assert Store(tmp_path).find(recipe, recipe.inputs(needs_of(recipe))) is None


def test_what_kconfig_dropped() -> None:
    wanted = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n"
    assert dropped_options(wanted, "CONFIG_A=y\nCONFIG_C=y\n") == []
    assert dropped_options(wanted, "CONFIG_B=y\nCONFIG_C=m\n") == ["CONFIG_A=y", "CONFIG_B=n", "CONFIG_C=y"]


# -- source packages


def test_the_tar_files_of_a_source_upstreams_first() -> None:
    files = debian.listed_files(URIS.splitlines())
    assert [(file.name, file.sha256[0]) for file in files] == [
        ("toy_1+2.orig.tar.xz", "c"),
        ("toy_1+2-3.debian.tar.xz", "b"),
    ]
    command = files[0].download(Path("/here"))
    assert command[-3:] == ["http://mirror/pool/main/t/toy/toy_1%2b2.orig.tar.xz", "/here", f"SHA256:{'c' * 64}"]


@pytest.mark.parametrize("package", ["xen", "qemu"])
def test_a_known_version_is_both_tar_files(package: str) -> None:
    files = debian.known_source(package, recipe_lines(recipe_text("sources.txt")))
    assert [".orig.tar." in file.name for file in files] == [True, False]
    assert all(len(bytes.fromhex(file.sha256)) == 32 and f"/{package}/{package}_" in file.uri for file in files)


def test_the_known_version_is_taken_when_mirrors_lack_the_listed_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = iter(URIS.splitlines())

    def run(build: Build, step: str, argv: list[str], **more: object) -> None:
        if step == "find the source":
            on_line = more["on_line"]
            assert callable(on_line)
            for line in lines:
                on_line(line)
        elif "download-file" in argv:
            if "/toy_" in argv[2]:
                raise VtoolError(from_source.board_failed("VT502", "404").diagnostics[0])
            Path(argv[3]).write_text(argv[2])

    monkeypatch.setattr(Build, "run", run)
    image = Store(tmp_path).get(CATALOGUE["xen-source"], {}, Silent(), ChildProcesses())
    known = [line.split()[1] for line in recipe_lines(recipe_text("sources.txt")) if line.startswith("xen ")]
    assert image.manifest["facts"] == {"files": known}
    with tarfile.open(image.path) as tar:
        assert tar.getnames() == known
        assert {member.mtime for member in tar} == {0}, "the same files give the same image"


def test_a_source_gets_debians_patches_and_ours(tmp_path: Path) -> None:
    def packed(*files: tuple[str, str]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:xz") as tar:
            for name, text in files:
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        return out.getvalue()

    def patch(old: str, new: str) -> str:
        return f"--- a/file\n+++ b/file\n@@ -1 +1 @@\n-{old}\n+{new}\n"

    series = "# not this one\n0001.patch\n\n"
    upstream = packed(("toy-1/file", "upstream\n"))
    packaging = packed(("debian/patches/series", series), ("debian/patches/0001.patch", patch("upstream", "debian")))
    with tarfile.open(tmp_path / "source.tar", "w") as tar:
        for name, content in (("toy_1.orig.tar.xz", upstream), ("toy_1-1.debian.tar.xz", packaging)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    own = tmp_path / "own.patch"

    def build(build: Build) -> None:
        with from_source.source_tree(build, "toy-source", own) as tree:
            build.output.write_text((tree / "file").read_text())

    recipe = Recipe("toy", "toy", lambda _: {}, build, ("toy-source",))
    needs = {"toy-source": Image(tmp_path / "source.tar", {"sha256": "0"})}
    own.write_text(patch("elsewhere", "vtool"))
    with pytest.raises(VtoolError, match=r"'apply own.patch'"):
        Store(tmp_path).get(recipe, needs, Silent(), ChildProcesses())
    own.write_text(patch("debian", "vtool"))
    image = Store(tmp_path).get(recipe, needs, Silent(), ChildProcesses())
    assert image.path.read_text() == "vtool\n"
    assert sorted(path.name for path in image.path.parent.iterdir()) == ["build.log", "manifest.json", "toy"]


def test_the_configuration_is_found_in_a_binary() -> None:
    text = recipe_text(XEN_OPTIONS)
    assert configuration_in(built(text)) == text
    assert configuration_in(built("something else")) is None
