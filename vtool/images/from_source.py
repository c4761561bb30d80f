"""The recipes of what Debian does not build: Xen and QEMU from Debian's source packages, compiled for arm64.

A source package is an image of its own, named by the pinned state of the archive; what is compiled of it is
named by its content. So a refresh that brings the same source compiles nothing again.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vtool.diagnostics import VtoolError, board_failed
from vtool.images import XEN_OPTIONS, debian, recipe_lines, recipe_text
from vtool.images.store import Build, Image, Recipe, cache_folder, counted, parallel
from vtool.images.xen_build import configuration_in, release_in
from vtool.model.combinations import QEMU_OF_SUITE, Suite

_CROSS = "aarch64-linux-gnu-"
_COMPILER = "gcc-aarch64-linux-gnu"
# Who built it, where and when is part of the file; the same inputs have to give the same bytes.
_XEN_STAMP = (
    "XEN_WHOAMI=vtool",
    "XEN_DOMAIN=vtool",
    "XEN_BUILD_HOST=vtool",
    "XEN_BUILD_DATE=1970-01-01",
    "XEN_BUILD_TIME=00:00:00",
    "XEN_VENDORVERSION=-vtool",
)


# -- source packages


def source_recipe(package: str) -> Recipe:
    """Return the recipe of a source package: the tar files of what Debian has, upstream's first."""

    def inputs(_: Mapping[str, Image]) -> dict[str, Any]:
        known = [line for line in recipe_lines(recipe_text("sources.txt")) if line.split()[0] == package]
        release = debian.pinned_release(cache_folder() / debian.RELEASE_LOCK)
        return {"suite": debian.SUITE, "release": release, "package": package, "known": known}

    return Recipe(f"{package}-source", "source.tar", inputs, _build_source)


def _build_source(build: Build) -> None:
    """Pack the tar files of the version that the archive lists, or of the known one when mirrors lack that."""
    package, folder = build.inputs["package"], build.folder / "apt"
    apt = debian.private_apt(folder)
    printed: list[str] = []
    build.run("read the archive's index", ["apt-get", *apt, "update"])
    build.run("find the source", ["apt-get", *apt, "source", "--print-uris", package], on_line=printed.append)
    try:
        files = downloaded(build, debian.listed_files(printed), folder)
    except VtoolError as missing:
        try:
            files = downloaded(build, debian.known_source(package, build.inputs["known"]), folder)
        except VtoolError:
            raise missing from None
    with tarfile.open(build.output, "w") as tar:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size = file.stat().st_size
            with file.open("rb") as stream:
                tar.addfile(entry, stream)
    build.facts["files"] = [file.name for file in files]
    shutil.rmtree(folder)


def downloaded(build: Build, files: list[debian.ArchiveFile], folder: Path) -> list[Path]:
    """Fetch files of Debian's archive. VtoolError VT502: one is not there; VT503: there is none to fetch."""
    if not files:
        raise board_failed("VT503", f"Debian's archive lists nothing for image '{build.recipe.name}'")
    for file in files:
        build.run(f"fetch {file.name}", file.download(folder / file.name))
    return [folder / file.name for file in files]


@contextmanager
def source_tree(build: Build, source: str, *patches: Path) -> Iterator[Path]:
    """Yield the unpacked source with Debian's patches and ``patches``; it stays until a build is complete."""
    tree = build.folder / "tree"
    if not tree.is_dir():
        partial = build.folder / "tree.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        both = build.needs[source].path
        with tarfile.open(both) as tar:
            upstream, packaging = tar.getnames()
        build.run("take both parts out", ["tar", "xf", str(both), "-C", str(build.folder)])
        unpack = ["tar", "xf", str(build.folder / upstream), "-C", str(partial), "--strip-components=1"]
        build.run("unpack the source", unpack)
        build.run("unpack Debian's part", ["tar", "xf", str(build.folder / packaging), "-C", str(partial)])
        series = partial / "debian/patches"
        names = [line.split()[0] for line in recipe_lines((series / "series").read_text()) if line.split()]
        for patch in (*(series / name for name in names), *patches):
            patching = ["patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-i", str(patch)]
            build.run(f"apply {patch.name}", patching, cwd=partial)
        for archive in (upstream, packaging):
            (build.folder / archive).unlink()
        partial.rename(tree)
    yield tree
    shutil.rmtree(tree)


def _expect_release(build: Build, what: str, expected: str, found: str) -> None:
    """Refuse a source of another release than checks and patches are made for (VT506)."""
    if found != expected:
        raise board_failed(
            "VT506",
            f"image '{build.recipe.name}' would become {what} {found}, vtool's checks and patches are for {expected}",
            hints=("a newer vtool may know it",),
        )


# -- Xen


def _xen_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    return {
        "source": needs["xen-source"].sha256,
        "packages": debian.package_versions(_COMPILER),
        "options": recipe_text(XEN_OPTIONS),
        "patches": {name: recipe_text(f"xen/{name}") for name in ("pool-node.patch", "virtio-waits.patch")},
        "stamp": _XEN_STAMP,
    }


def _build_xen(build: Build) -> None:
    options = build.inputs["options"]
    patches = [build.folder / name for name in build.inputs["patches"]]
    for patch in patches:
        patch.write_text(build.inputs["patches"][patch.name])
    with source_tree(build, "xen-source", *patches) as tree:
        config = tree / "xen/.config"
        config.write_text(options)
        make = ["make", "-C", str(tree / "xen"), "XEN_TARGET_ARCH=arm64", f"CROSS_COMPILE={_CROSS}", *_XEN_STAMP]
        build.run("configure", [*make, "olddefconfig"])
        build.check_configuration(options, config.read_text())
        build.run("compile", [*make, parallel()], on_line=counted(r"\s+(CC|AS)\s", "objects compiled", 10))
        shutil.copyfile(config, build.folder / "xen.config")
        shutil.copyfile(tree / "xen/xen", build.output)
    # What counts is what the binary itself says.
    inside = configuration_in(build.output.read_bytes()) or ""
    build.check_configuration(options, inside)
    _expect_release(build, "Xen", release_in(options) or "", release_in(inside) or "?")
    build.facts["version"] = release_in(inside)


# -- QEMU


def _sysroot_inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    return {
        "suite": debian.SUITE,
        "release": debian.pinned_release(cache_folder() / debian.RELEASE_LOCK),
        "packages": recipe_lines(recipe_text("qemu/sysroot.txt")),
    }


def _build_sysroot(build: Build) -> None:
    command = debian.mmdebstrap(f"--include={','.join(build.inputs['packages'])}")
    target = (debian.SUITE, str(build.output), debian.archive())
    build.run("extract packages", [*command, *target], env={"SOURCE_DATE_EPOCH": "0"})


def _qemu_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    return {
        "source": needs["qemu-source"].sha256,
        "sysroot": needs["qemu-sysroot"].sha256,
        "packages": debian.package_versions(_COMPILER, "ninja-build"),
        "options": recipe_lines(recipe_text("qemu/options.txt")),
        "devices": recipe_text("qemu/devices.mak"),
    }


def _build_qemu(build: Build) -> None:
    sysroot, objects = build.folder / "sysroot", build.folder / "objects"
    shutil.rmtree(sysroot, ignore_errors=True)
    sysroot.mkdir()
    archive = str(build.needs["qemu-sysroot"].path)
    build.run("unpack the sysroot", ["tar", "xf", archive, "-C", str(sysroot), "--exclude=./dev/*"])
    # Debian's base-files, whose script makes it, is not configured there.
    if not (sysroot / "lib").exists():
        (sysroot / "lib").symlink_to("usr/lib")
    libraries, headers = sysroot / "usr/lib/aarch64-linux-gnu", sysroot / "usr/include"
    environment = {
        # Meson comes with the sysroot: the host's release may have one that is too old for QEMU.
        "PYTHONPATH": str(sysroot / "usr/lib/python3/dist-packages"),
        "PKG_CONFIG": "pkg-config",
        "PKG_CONFIG_SYSROOT_DIR": str(sysroot),
        "PKG_CONFIG_LIBDIR": f"{libraries}/pkgconfig:{sysroot}/usr/share/pkgconfig",
    }
    with source_tree(build, "qemu-source") as tree:
        version = (tree / "VERSION").read_text().strip()
        expected = ".".join(map(str, QEMU_OF_SUITE[Suite(debian.SUITE)]))
        _expect_release(build, "QEMU", expected, version.rpartition(".")[0])
        build.facts["version"] = version
        (tree / "configs/devices/aarch64-softmmu/vtool.mak").write_text(build.inputs["devices"])
        objects.mkdir(exist_ok=True)
        configure = [
            str(tree / "configure"),
            f"--cross-prefix={_CROSS}",
            "--cpu=aarch64",
            "--python=/usr/bin/python3",
            # By name, too: the cross compiler has headers and libraries of the host's release, and takes them first.
            f"--extra-cflags=--sysroot={sysroot} -isystem {headers}/aarch64-linux-gnu -isystem {headers}",
            f"--extra-ldflags=--sysroot={sysroot} -L{libraries} -B{libraries}/",
            *build.inputs["options"],
        ]
        build.run("configure", configure, cwd=objects, env=environment)
        build.run(
            "compile",
            ["ninja", parallel(), build.recipe.output],
            cwd=objects,
            env=environment,
            on_line=_ninja_steps(),
        )
        built = objects / build.recipe.output
        build.run("strip", [f"{_CROSS}strip", "-o", str(build.output), str(built)])
        for folder in (sysroot, objects):
            shutil.rmtree(folder)


def _ninja_steps() -> Callable[[str], str | None]:
    """Return a reader of ninja's lines, ``[12/345] ...``, that tells every 25th."""

    def on_line(line: str) -> str | None:
        head, _, _ = line.partition("]")
        done, slash, whole = head.removeprefix("[").partition("/")
        return f"{done} of {whole} steps" if slash and done.isdigit() and int(done) % 25 == 0 else None

    return on_line


RECIPES = (
    source_recipe("xen"),
    Recipe("xen", "xen", _xen_inputs, _build_xen, ("xen-source",)),
    source_recipe("qemu"),
    Recipe("qemu-sysroot", "sysroot.tar", _sysroot_inputs, _build_sysroot),
    Recipe("qemu-xenpvh", "qemu-system-aarch64", _qemu_inputs, _build_qemu, ("qemu-source", "qemu-sysroot")),
)
