"""The recipes of a disk that nobody made for vtool: Debian with its own kernel and initramfs, booted by extlinux.conf.

An emulated board boots it where its inventory says so (`disk: vtool:foreign-disk`). Of what vtool's own boards have it
lacks Python, a way in for root, Debian's units for Xen, and a boot partition of FAT. The partition `guest` is nobody's.
``recipes`` has it of any suite of Debian; one that is not that of vtool's boards has no Xen.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from functools import partial
from typing import Any

from vtool.base.units import MIB
from vtool.board.disk import Partition, write_partitions
from vtool.images import debian, recipe_lines, recipe_text
from vtool.images.store import Build, Image, Recipe, cache_folder, counted

USER = "admin"
"""Who may log in, and become root by sudo."""
_KERNEL = "linux-image-arm64"
_ROOT_BYTES, _BOOT_BYTES, _GUEST_BYTES = 2048 * MIB, 768 * MIB, 64 * MIB
_OF_ONE_SUITE = {debian.SUITE: ("virtiofsd",)}
"""What only some suites have a package of."""
_UUIDS = {"root": "7654002a-0000-4000-8000-000000000001", "boot": "7654002a-0000-4000-8000-000000000002"}
_PATIENCE = "etc/systemd/system.conf.d/patience.conf"
_SLOW = "[Manager]\nDefaultTimeoutStartSec=900\nDefaultDeviceTimeoutSec=900\n"
"""Within 90 s a board that is emulated on a busy machine does not find its own /boot, and ends in emergency mode."""
_UNITS = ("proc-xen.mount", "xenstored.service", "xenconsoled.service", "xen-init-dom0.service")
_LINKS = {
    "usr/lib/xen": "xen-4.20",
    **{f"usr/sbin/{name}": f"../lib/xen/bin/{name}" for name in ("xl", "xenconsoled", "xenstored")},
    **{f"etc/systemd/system/multi-user.target.wants/{unit}": f"/usr/lib/systemd/system/{unit}" for unit in _UNITS},
}
"""Where Xen's tools and units are found, as upstream's `make install` has it."""


def _rootfs_inputs(suite: str, _: Mapping[str, Image]) -> dict[str, Any]:
    names = ("foreign/packages.txt", "foreign/customise.sh", "rootfs/configure.sh", "rootfs/excluded.txt")
    return {
        "suite": suite,
        "hooks": "extract",
        "release": debian.pinned_release(cache_folder() / debian.RELEASE_LOCK, suite),
        "files": {name: recipe_text(name) for name in names},
        "more": _OF_ONE_SUITE.get(suite, ()),
        "kernel": _KERNEL,
    }


def _build_rootfs(build: Build) -> None:
    files: Mapping[str, str] = build.inputs["files"]
    suite: str = build.inputs["suite"]
    # There is no Python in it, whose compiling would have to be kept out of the way.
    configure = files["rootfs/configure.sh"].replace('stubbed="usr/bin/python3.13 usr/bin/py3compile ', 'stubbed="')
    # The kernel comes when all is there that makes its initramfs: dpkg is told not to mind dependencies.
    kernel = f'VTOOL_PACKAGES={build.inputs["kernel"]}; rm "$1"/var/cache/apt/archives/*.deb\n{configure}'
    build.run(
        "install packages",
        debian.mmdebstrap(
            "--include=?essential",
            # trixie's packages have the links from /lib to /usr/lib, an older suite's want them to be there.
            "--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
            f"--extract-hook={configure}",
            f"--extract-hook={kernel}",
            f"--extract-hook={files['foreign/customise.sh']}",
            *(suite, str(build.output), debian.archive(suite)),
        ),
        env={
            "VTOOL_PACKAGES": " ".join([*recipe_lines(files["foreign/packages.txt"]), *build.inputs["more"]]),
            "VTOOL_EXCLUDED": " ".join(recipe_lines(files["rootfs/excluded.txt"])),
        },
        on_line=counted("Setting up ", "packages configured"),
    )


def _disk_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    files, links = {"etc/hosts": "127.0.0.1 localhost\n127.0.1.1 foreign\n", _PATIENCE: _SLOW}, dict[str, str]()
    if "rootfs" in needs:
        files |= {f"usr/lib/systemd/system/{unit}": recipe_text(f"foreign/units/{unit}") for unit in _UNITS}
        files["etc/default/xencommons"] = recipe_text("foreign/xencommons")
        files["usr/lib/modules-load.d/xen.conf"] = recipe_text("foreign/modules.conf")
        links = _LINKS
    return {
        **{name: image.sha256 for name, image in needs.items()},
        "files": files,
        "links": links,
        "taken": recipe_lines(recipe_text("foreign/xen-files.txt")) if links else [],
        "bytes": [_BOOT_BYTES, _ROOT_BYTES, _GUEST_BYTES],
        "layout": 3,
    }


def _build_disk(build: Build) -> None:
    root, boot, added = (build.folder / name for name in ("root", "boot", "added"))
    for folder in (root, boot, added):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for name, content in build.inputs["files"].items():
        (added / name).parent.mkdir(parents=True, exist_ok=True)
        (added / name).write_text(content)
    for name, target in build.inputs["links"].items():
        (added / name).parent.mkdir(parents=True, exist_ok=True)
        (added / name).symlink_to(target)
    images = {"boot": build.folder / "boot.ext2", "root": build.folder / "root.ext4", "guest": build.folder / "guest"}
    own = build.needs[build.recipe.needs[0]].path
    taken = f"tar -xf {build.needs['rootfs'].path} -C {root} --wildcards {shlex.join(build.inputs['taken'])}"
    format_ = "mke2fs -q -U {uuid} -E hash_seed={uuid},root_owner=0:0"
    lines = [
        f"tar -xf {own} -C {root} --exclude='./dev/*'",
        *([taken] if build.inputs["taken"] else []),
        # tar keeps links to folders, such as /lib.
        f"tar -c -C {added} --owner=0 --group=0 . | tar -x -C {root} --keep-directory-symlink",
        f"mv {root}/boot/* {boot}/",
        # As one that has been booted before: what is to be done once after an installation has been (systemd.unit(5),
        # ConditionNeedsUpdate=).
        f"touch -r {root}/usr {root}/etc/.updated {root}/var/.updated",
        *(
            f"{format_.format(uuid=_UUIDS[name])} -t {kind} -L {name} -d {folder} {images[name]} {size // MIB}M"
            for name, kind, folder, size in (("boot", "ext2", boot, _BOOT_BYTES), ("root", "ext4", root, _ROOT_BYTES))
        ),
    ]
    build.run("make the file systems", ["fakeroot", "bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)])
    build.progress.update(build.task, "make the disk")
    with images["guest"].open("wb") as stream:
        stream.truncate(_GUEST_BYTES)
    words = {"boot": 'type=linux, attrs="LegacyBIOSBootable"'}
    partitions = [Partition(name, image, words.get(name, "type=linux")) for name, image in images.items()]
    write_partitions(build.output, partitions)
    build.run("remove the copies", ["rm", "-rf", *map(str, (root, boot, added, *images.values()))])


def recipes(suite: str) -> tuple[Recipe, Recipe]:
    """Return root file system and disk of a suite of Debian; with Xen's tools if it is that of vtool's boards."""
    name = "foreign" if suite == debian.SUITE else f"foreign-{suite}"
    needs = (f"{name}-rootfs", *(("rootfs",) if suite == debian.SUITE else ()))
    return (
        Recipe(f"{name}-rootfs", "rootfs.tar", partial(_rootfs_inputs, suite), _build_rootfs),
        Recipe(f"{name}-disk", "disk.img", _disk_inputs, _build_disk, needs),
    )


RECIPES = recipes(debian.SUITE)
