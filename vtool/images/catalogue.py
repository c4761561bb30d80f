"""The recipes: kernel, root file system, hypervisor, firmware, root disk; those of other modules beside.

Each says what goes in (its name in the cache) and how it is made. Data files are in ``recipes/``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from vtool.images import debian, from_source, guest, kernel_fragment, recipe_lines, recipe_text, ring_build
from vtool.images.guest import extract
from vtool.images.store import Build, Image, Recipe, cache_folder, counted, parallel
from vtool.units import MIB

KERNEL_SOURCE = "linux-source-6.12"
# Who built it, where and when is part of the file; the same inputs have to give the same bytes.
_KERNEL_STAMP = (
    "KBUILD_BUILD_TIMESTAMP=1970-01-01",
    "KBUILD_BUILD_USER=vtool",
    "KBUILD_BUILD_HOST=vtool",
    "KBUILD_BUILD_VERSION=1",
)
_ROOT_DISK_BYTES = 1536 * MIB


# -- kernel


def kernel_recipe() -> Recipe:
    """Return the kernel's recipe."""

    def inputs(_: Mapping[str, Image]) -> dict[str, Any]:
        versions = debian.package_versions(KERNEL_SOURCE, "gcc-aarch64-linux-gnu")
        return {"packages": versions, "config": kernel_fragment(), "stamp": _KERNEL_STAMP}

    return Recipe("linux", "Image", inputs, _build_kernel)


def _build_kernel(build: Build) -> None:
    """Compile in a tree kept per source version: a changed option or an interruption costs little."""
    with build.work_tree(f"linux-{build.inputs['packages'][KERNEL_SOURCE]}") as source:
        if not (source / "Makefile").is_file():
            partial = source.with_name(source.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            archive = f"/usr/src/{KERNEL_SOURCE}.tar.xz"
            unpack = ["tar", "xf", archive, "-C", str(partial), "--strip-components=1"]
            build.run("unpack the source", unpack)
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


def _build_rootfs(build: Build) -> None:
    files: Mapping[str, str] = build.inputs["files"]
    build.run(
        "install packages",
        debian.mmdebstrap(
            "--include=?essential",
            # mmdebstrap runs no other kind of hook for a variant that installs nothing itself. Given as
            # text, not as a path: an ordinary user's files may be closed to the user it becomes.
            f"--extract-hook={files['configure.sh']}",
            f"--extract-hook={files['customise.sh']}",
            *(debian.SUITE, str(build.output), debian.archive()),
        ),
        env={
            "VTOOL_PACKAGES": " ".join(recipe_lines(files["packages.txt"])),
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
    archive = build.needs["rootfs"].path
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
        kernel_recipe(),
        Recipe("rootfs", "rootfs.tar", _rootfs_inputs, _build_rootfs),
        Recipe("xen-debian", "xen", _no_more_inputs, _build_debian_xen, ("rootfs",)),
        *from_source.RECIPES,
        ring_build.RECIPE,
        *guest.RECIPES,
        Recipe("firmware", "u-boot.bin", _firmware_inputs, _build_firmware),
        Recipe("firmware-uefi", "QEMU_EFI.fd", _uefi_inputs, _build_uefi),
        Recipe("systemd-boot", "BOOTAA64.EFI", _no_more_inputs, _build_systemd_boot, ("rootfs",)),
        Recipe("root-disk", "root.ext4", _root_disk_inputs, _build_root_disk, ("rootfs",)),
    )
}
