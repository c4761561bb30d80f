"""The recipes: kernel, root file system, hypervisor, firmware, root disk; those of other modules beside.

Each says what goes in (its name in the cache) and how it is made. Data files are in ``recipes/``.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from typing import Any

from vtool.base.units import MIB
from vtool.images import (
    KERNEL_RELEASES,
    bench,
    board_python,
    debian,
    foreign,
    from_source,
    guest,
    kernel_fragment,
    recipe_lines,
    recipe_text,
    ring_build,
)
from vtool.images.guest import extract
from vtool.images.store import Build, Image, Recipe, cache_folder, counted, parallel

KERNEL_SOURCE = "linux-source-6.12"
"""The host's own package, of which ``linux`` is built."""
# Who built it, where and when is part of the file; the same inputs have to give the same bytes.
_KERNEL_STAMP = (
    "KBUILD_BUILD_TIMESTAMP=1970-01-01",
    "KBUILD_BUILD_USER=vtool",
    "KBUILD_BUILD_HOST=vtool",
    "KBUILD_BUILD_VERSION=1",
)
_ROOT_DISK_BYTES = 1536 * MIB


# -- kernel


def _kernel_recipe(image: str) -> Recipe:
    """Return a kernel's recipe: of a source package that the host has, or of one fetched from another suite."""
    fetched = (f"{image}-source",) if image != "linux" else ()

    def inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
        packages = ["gcc-aarch64-linux-gnu"] if fetched else [KERNEL_SOURCE, "gcc-aarch64-linux-gnu"]
        said = {
            "packages": debian.package_versions(*packages),
            "config": kernel_fragment(image),
            "stamp": _KERNEL_STAMP,
        }
        return {**said, "source": needs[fetched[0]].sha256} if fetched else said

    return Recipe(image, "Image", inputs, _build_kernel, fetched)


def _kernel_source_recipe(image: str) -> Recipe:
    """Return the recipe of a kernel's source as trixie-backports has it: a package of its own for each release."""
    package = f"linux-source-{KERNEL_RELEASES[image]}"

    def inputs(_: Mapping[str, Image]) -> dict[str, Any]:
        release = debian.pinned_release(cache_folder() / debian.RELEASE_LOCK, debian.BACKPORTS)
        return {"suite": debian.BACKPORTS, "release": release, "package": package}

    return Recipe(f"{image}-source", "source.deb", inputs, _fetch_package)


def _fetch_package(build: Build) -> None:
    package, folder, printed = build.inputs["package"], build.folder / "apt", list[str]()
    apt = debian.private_apt(folder, "deb", build.inputs["suite"])
    build.run("read the archive's index", ["apt-get", *apt, "update"])
    build.run("find the package", ["apt-get", *apt, "download", "--print-uris", package], on_line=printed.append)
    (file,) = from_source.downloaded(build, debian.listed_files(printed), folder)
    file.rename(build.output)
    build.facts["file"] = file.name
    shutil.rmtree(folder)


def _build_kernel(build: Build) -> None:
    """Compile in a tree kept per source version: a changed option or an interruption costs little."""
    fetched, release = build.inputs.get("source"), KERNEL_RELEASES[build.recipe.name]
    version = f"{release}-{fetched[:16]}" if fetched else build.inputs["packages"][KERNEL_SOURCE]
    archive = f"/usr/src/linux-source-{release}.tar.xz"
    read = f"cat {archive}"
    if fetched:
        package = shlex.quote(str(build.needs[build.recipe.needs[0]].path))
        read = f"dpkg-deb --fsys-tarfile {package} | tar -xO .{archive}"
    with build.work_tree(f"linux-{version}") as source:
        if not (source / "Makefile").is_file():
            partial = source.with_name(source.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            unpack = f"{read} | tar -xJ -C {shlex.quote(str(partial))} --strip-components=1"
            build.run("unpack the source", ["bash", "-o", "pipefail", "-c", unpack])
            partial.rename(source)
        config = build.folder / "kernel.config"
        config.write_text(build.inputs["config"])
        make = ["make", "-C", str(source), "ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", *_KERNEL_STAMP]
        build.run("configure", [*make, f"KCONFIG_ALLCONFIG={config}", "allnoconfig"])
        build.check_configuration(build.inputs["config"], (source / ".config").read_text())
        build.run("compile", [*make, parallel(), "Image"], on_line=counted(r"\s+(CC|AS)\s", "objects compiled", 10))
        shutil.copyfile(source / "arch/arm64/boot/Image", build.output)


# -- root file system


def _rootfs_inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    names = ("packages.txt", "excluded.txt", "configure.sh", "customise.sh")
    return {
        "suite": debian.SUITE,
        "hooks": "extract",
        "release": debian.pinned_release(cache_folder() / debian.RELEASE_LOCK),
        "files": {name: recipe_text(f"rootfs/{name}") for name in names},
    }


def _backports_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    lock = cache_folder() / debian.RELEASE_LOCK
    others = {suite: debian.pinned_release(lock, suite) for suite in (debian.BACKPORTS, debian.TESTING)}
    return {**_rootfs_inputs(needs), "newer": recipe_text("rootfs/newer.pref"), "others": others}


def _build_rootfs(build: Build) -> None:
    files: Mapping[str, str] = build.inputs["files"]
    newer, others = build.inputs.get("newer", ""), build.inputs.get("others", ())
    pins = (
        # What no pin takes from another suite stays this one's.
        f'--aptopt=APT::Default-Release "{debian.SUITE}"',
        '--extract-hook=mkdir -p "$1/etc/apt/preferences.d"; printf %s "$VTOOL_PINS" >"$1/etc/apt/preferences.d/vtool"',
    )
    build.run(
        "install packages",
        debian.mmdebstrap(
            "--include=?essential",
            *(pins if newer else ()),
            # mmdebstrap runs no other kind of hook for a variant that installs nothing itself. Given as
            # text, not as a path: an ordinary user's files may be closed to the user it becomes.
            f"--extract-hook={files['configure.sh']}",
            f"--extract-hook={files['customise.sh']}",
            *(debian.SUITE, str(build.output), debian.archive()),
            *map(debian.archive, others),
        ),
        env={
            "VTOOL_PACKAGES": " ".join(recipe_lines(files["packages.txt"])),
            "VTOOL_PINS": newer,
            "VTOOL_EXCLUDED": " ".join(recipe_lines(files["excluded.txt"])),
        },
        on_line=counted("Setting up ", "packages configured"),
    )


# -- what is taken out of, or made from, the root file system


def _no_more_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    return {name: image.sha256 for name, image in needs.items()}


def _build_debian_xen(build: Build) -> None:
    extract(build.needs["rootfs"].path, "./usr/lib/vtool-images/xen", build.output)


def _firmware_inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    return {"packages": debian.package_versions("u-boot-qemu")}


def _build_firmware(build: Build) -> None:
    shutil.copyfile("/usr/lib/u-boot/qemu_arm64/u-boot.bin", build.output)


def _uefi_inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    return {"packages": debian.package_versions("qemu-efi-aarch64")}


def _build_uefi(build: Build) -> None:
    shutil.copyfile("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", build.output)


def _build_systemd_boot(build: Build) -> None:
    extract(build.needs["rootfs"].path, "./usr/lib/systemd/boot/efi/systemd-bootaa64.efi", build.output)


def _root_disk_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    return {**_no_more_inputs(needs), "size_bytes": _ROOT_DISK_BYTES, "layout": 1}


def _build_root_disk(build: Build) -> None:
    root = build.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    build.output.unlink(missing_ok=True)
    size = f"{_ROOT_DISK_BYTES // MIB}M"
    archive = build.needs[build.recipe.needs[0]].path
    # Under fakeroot, so that owners survive without root privileges.
    line = (
        f"tar -xf '{archive}' -C '{root}' --exclude='./dev/*' && "
        f"mke2fs -q -t ext4 -L root -U 7654001a-0000-4000-8000-000000000001 "
        f"-E hash_seed=7654001a-0000-4000-8000-000000000002,root_owner=0:0 "
        f"-d '{root}' '{build.output}' {size}"
    )
    build.run("make the file system", ["fakeroot", "sh", "-c", line])
    build.run("remove the copy", ["rm", "-rf", str(root)])


CATALOGUE: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _kernel_recipe("linux"),
        _kernel_source_recipe("linux-7.3"),
        _kernel_recipe("linux-7.3"),
        Recipe("rootfs", "rootfs.tar", _rootfs_inputs, _build_rootfs),
        Recipe("rootfs-backports", "rootfs.tar", _backports_inputs, _build_rootfs),
        Recipe("xen-debian", "xen", _no_more_inputs, _build_debian_xen, ("rootfs",)),
        *from_source.RECIPES,
        ring_build.RECIPE,
        *guest.RECIPES,
        *bench.RECIPES,
        Recipe("firmware", "u-boot.bin", _firmware_inputs, _build_firmware),
        Recipe("firmware-uefi", "QEMU_EFI.fd", _uefi_inputs, _build_uefi),
        Recipe("systemd-boot", "BOOTAA64.EFI", _no_more_inputs, _build_systemd_boot, ("rootfs",)),
        Recipe("root-disk", "root.ext4", _root_disk_inputs, _build_root_disk, ("rootfs",)),
        Recipe("root-disk-backports", "root.ext4", _root_disk_inputs, _build_root_disk, ("rootfs-backports",)),
        *foreign.RECIPES,
        board_python.RECIPE,
    )
}
