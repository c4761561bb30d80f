"""The recipes of what benchmarks run: their tools, for a board, and a guest that has them.

fio is compiled from Debian's source: Debian's own program is linked with 80 MB of libraries for storage that is not
measured here. All others are Debian's programs.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtool.images import debian, recipe_lines, recipe_text
from vtool.images.from_source import source_recipe, source_tree
from vtool.images.guest import Archive, add_program, guest_inputs, guest_root, pack, take_libraries
from vtool.images.store import Build, Image, Recipe, cache_folder, counted, parallel

PROGRAMS = ("iperf3", "mbw", "sockperf")
_CROSS = "aarch64-linux-gnu-"
_LOADER = "usr/lib/ld-linux-aarch64.so.1"
_LIBRARIES = "usr/lib/aarch64-linux-gnu"
# On a board of another release the programs need their own libraries, and the loader that goes with those.
_WRAPPER = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")/..
exec "$here/lib/ld-linux-aarch64.so.1" --library-path "$here/lib" "$here/libexec/${0##*/}" "$@"
"""


def _sysroot_inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    return {
        "suite": debian.SUITE,
        "release": debian.pinned_release(cache_folder() / debian.RELEASE_LOCK),
        "packages": recipe_lines(recipe_text("bench/packages.txt")),
    }


def _build_sysroot(build: Build) -> None:
    command = debian.mmdebstrap(f"--include={','.join(build.inputs['packages'])}")
    target = (debian.SUITE, str(build.output), debian.archive())
    build.run("extract packages", [*command, *target], env={"SOURCE_DATE_EPOCH": "0"})


def _fio_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    return {
        "source": needs["fio-source"].sha256,
        "sysroot": needs["bench-sysroot"].sha256,
        "packages": debian.package_versions("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
        "options": recipe_lines(recipe_text("bench/fio-options.txt")),
    }


def _build_fio(build: Build) -> None:
    sysroot = build.folder / "sysroot"
    shutil.rmtree(sysroot, ignore_errors=True)
    sysroot.mkdir()
    wanted = ["./usr/include/libaio.h", f"./{_LIBRARIES}/libaio.a"]
    build.run("take libaio", ["tar", "xf", str(build.needs["bench-sysroot"].path), "-C", str(sysroot), *wanted])
    with source_tree(build, "fio-source") as tree:
        configure = [
            *("./configure", "--cpu=aarch64", f"--cc={_CROSS}gcc"),
            f"--extra-cflags=-isystem {sysroot}/usr/include",
            *build.inputs["options"],
        ]
        environment = {"LDFLAGS": f"-L{sysroot}/{_LIBRARIES}"}
        build.run("configure", configure, cwd=tree, env=environment)
        make = ["make", parallel(), "fio", f"CROSS_COMPILE={_CROSS}"]
        build.run("compile", make, cwd=tree, env=environment, on_line=counted(r"\s+CC\s", "objects compiled", 10))
        build.run("strip", [f"{_CROSS}strip", "-o", str(build.output), str(tree / "fio")])
    shutil.rmtree(sysroot)


def _tools_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    return {**{name: image.sha256 for name, image in needs.items()}, "programs": PROGRAMS, "wrapper": _WRAPPER}


def _build_tools(build: Build) -> None:
    """Pack bin/, libexec/ and lib/: what runs from any folder of any arm64 Linux."""
    taken, root = build.folder / "taken", build.folder / "root"
    for folder in (taken, root):
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "libexec", "lib"):
        (root / name).mkdir(parents=True)
    _take(build, taken)
    for library in (*(taken / _LIBRARIES).iterdir(), taken / _LOADER):
        shutil.copyfile(_content(taken, library), root / "lib" / library.name)
    for name in PROGRAMS:
        shutil.copyfile(taken / "usr/bin" / name, root / "libexec" / name)
        (root / "bin" / name).write_text(_WRAPPER)
    shutil.copyfile(build.needs["fio"].path, root / "bin/fio")
    for path in (root / "lib/ld-linux-aarch64.so.1", *(root / "bin").iterdir(), *(root / "libexec").iterdir()):
        path.chmod(0o755)
    order = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
    line = ["tar", *order, "--use-compress-program=gzip -9n", "-cf", str(build.output), "-C", str(root), "."]
    build.run("pack", line)
    for folder in (taken, root):
        shutil.rmtree(folder)


def _content(root: Path, file: Path) -> Path:
    """Return the file that a link inside a root file system leads to."""
    while file.is_symlink():
        file = root / str(file.readlink()).lstrip("/")
    return file


def _take(build: Build, root: Path) -> None:
    """Take the programs, the libraries that they need, and the loader."""
    with tarfile.open(build.needs["bench-sysroot"].path) as tar:
        archive = Archive(tar, root)
        for name in PROGRAMS:
            archive.take_all(f"usr/bin/{name}")
        archive.take_all(_LOADER)
        take_libraries(build, archive)


def _bench_guest_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    return {**guest_inputs(needs), "programs": PROGRAMS}


def _build_bench_guest(build: Build) -> None:
    """Make vtool's reference guest with the tools, where its kernel and Debian's programs look for them."""
    root = guest_root(build)
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    add_program(root, "vtool-ring", build.needs["ring"].path)
    add_program(root, "fio", build.needs["fio"].path)
    _take(build, root)
    pack(build, root)


RECIPES = (
    source_recipe("fio"),
    Recipe("bench-sysroot", "sysroot.tar", _sysroot_inputs, _build_sysroot),
    Recipe("fio", "fio", _fio_inputs, _build_fio, ("fio-source", "bench-sysroot")),
    Recipe("bench-tools", "tools.tar.gz", _tools_inputs, _build_tools, ("bench-sysroot", "fio")),
    Recipe(
        "bench-initramfs",
        "initramfs.gz",
        _bench_guest_inputs,
        _build_bench_guest,
        ("rootfs", "ring", "bench-sysroot", "fio"),
    ),
)
