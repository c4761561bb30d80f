"""The recipes of ramdisks for guests: vtool's reference guest, and the driver domain of Xen, which is that and more.

Made out of the root file system: busybox, and for the driver domain Xen's tools with the libraries they need.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from vtool.diagnostics import board_failed
from vtool.images import debian, recipe_lines, recipe_text
from vtool.images.store import Build, Image, Recipe

_LIBRARIES = "usr/lib/aarch64-linux-gnu"


def extract(archive: Path, member: str, target: Path) -> None:
    """Write a member of a tar file; VtoolError VT502 when it is no file in there."""
    with tarfile.open(archive) as tar:
        stream = tar.extractfile(member)
        if stream is None:
            raise board_failed("VT502", f"'{member}' is not a file in {archive}")
        with target.open("wb") as out:
            shutil.copyfileobj(stream, out)


# -- the reference guest


def guest_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    """Return everything that goes into the reference guest."""
    files = {name: recipe_text(f"guest/{name}") for name in ("init", "poweroff", "dhcp-event")}
    digests = {name: image.sha256 for name, image in needs.items()}
    return {**digests, "files": files, "applets": recipe_text("guest/applets.txt")}


def _build_guest(build: Build) -> None:
    root = guest_root(build)
    add_program(root, "vtool-ring", build.needs["ring"].path)
    pack(build, root)


def add_program(root: Path, name: str, program: Path) -> None:
    """Put a program into a guest's root file system."""
    shutil.copyfile(program, root / "bin" / name)
    (root / "bin" / name).chmod(0o755)


def guest_root(build: Build) -> Path:
    """Make the guest's root file system as a folder."""
    root = build.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "sbin", "proc", "sys", "dev", "tmp", "root", "etc/acpi"):
        (root / folder).mkdir(parents=True)
    busybox = root / "bin/busybox"
    extract(build.needs["rootfs"].path, "./usr/bin/busybox", busybox)
    busybox.chmod(0o755)
    for applet in build.inputs["applets"].split():
        (root / "bin" / applet).symlink_to("busybox")
    for name, content in build.inputs["files"].items():
        target = root / ("init" if name == "init" else f"sbin/{name}")
        target.write_text(content)
        target.chmod(0o755)
    (root / "sbin/reboot").symlink_to("/bin/busybox")
    (root / "etc/acpi.map").write_text("EV_KEY 0x01 KEY_POWER 116 1 power-button\n")
    (root / "etc/acpi/power-button").symlink_to("/sbin/poweroff")
    return root


def pack(build: Build, root: Path) -> None:
    """Pack a folder as a ramdisk, whose bytes its files alone decide."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    for path in (root, *root.rglob("*")):
        os.utime(path, (0, 0), follow_symlinks=False)
    listing = build.folder / "files.txt"
    listing.write_text("\n".join([".", *names]) + "\n")
    line = f"cpio --quiet -o -H newc --reproducible -R 0:0 < {listing} | gzip -9n > {build.output}"
    build.run("pack", ["bash", "-o", "pipefail", "-c", line], cwd=root)


# -- the driver domain


def _driver_inputs(needs: Mapping[str, Image]) -> dict[str, Any]:
    inputs = guest_inputs(needs)
    return {
        **inputs,
        "files": {**inputs["files"], **{name: recipe_text(f"driver-domain/{name}") for name in ("logger", "serve")}},
        "applets": inputs["applets"] + recipe_text("driver-domain/applets.txt"),
        "taken": recipe_lines(recipe_text("driver-domain/files.txt")),
        "probe": recipe_text("driver-domain/take-page.c"),
        "packages": debian.package_versions("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    }


def _build_driver_domain(build: Build) -> None:
    root = guest_root(build)
    # Where Debian's programs and Xen's scripts look for things.
    for link, place in (("lib", "usr/lib"), ("var/run", "/run"), ("var/lock", "/run/lock")):
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(place)
    for folder in ("run/lock", "run/xen", "var/lib/xen", "var/log/xen"):
        (root / folder).mkdir(parents=True)
    with tarfile.open(build.needs["rootfs"].path) as tar:
        archive = Archive(tar, root)
        for pattern in build.inputs["taken"]:
            archive.take_all(pattern)
        take_libraries(build, archive)
    (root / "bin/bash").symlink_to("/usr/bin/bash")
    source = build.folder / "take-page.c"
    source.write_text(build.inputs["probe"])
    compiler = ("aarch64-linux-gnu-gcc", "-Os", "-s", "-static", "-Wall", "-Wextra", "-Werror")
    build.run("compile", [*compiler, "-o", str(root / "sbin/take-page"), str(source)])
    pack(build, root)


class Archive:
    """The root file system's archive, and the folder that files are taken into."""

    def __init__(self, tar: tarfile.TarFile, root: Path) -> None:
        self._tar, self._root = tar, root
        self._members = {normpath(member.name): member for member in tar}
        self.programs: set[Path] = set()
        """The ELF files among what was taken."""

    def take_all(self, pattern: str) -> None:
        """Take what matches a pattern; VtoolError VT502 when nothing does."""
        found = [name for name in sorted(self._members) if fnmatch(name, pattern)]
        if not found:
            raise board_failed("VT502", f"nothing in the root file system is named '{pattern}'")
        for name in found:
            self._take(name)

    def has(self, name: str) -> bool:
        """Whether a file of this name was taken."""
        return os.path.lexists(self._root / name)

    def _take(self, name: str) -> None:
        """Take a file and what it links to; a hard link becomes a symbolic one."""
        target, member = self._root / name, self._members[name]
        if os.path.lexists(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if member.issym() or member.islnk():
            other = normpath(join(dirname(name) if member.issym() else "", member.linkname)).lstrip("/")
            target.symlink_to(f"/{other}")
            self._take(other)
            return
        stream = self._tar.extractfile(member)
        if stream is None:
            raise board_failed("VT502", f"'{name}' is not a file in the root file system")
        content = stream.read()
        target.write_bytes(content)
        target.chmod(member.mode)
        if content.startswith(b"\x7fELF"):
            self.programs.add(target)


def take_libraries(build: Build, archive: Archive) -> None:
    """Take the shared libraries that are needed, those that these need, and so on."""
    read: set[Path] = set()
    while new := sorted(archive.programs - read):
        for name in _needed_by(build, new):
            if not archive.has(f"{_LIBRARIES}/{name}"):
                archive.take_all(f"{_LIBRARIES}/{name}")
        read |= {*new}


def _needed_by(build: Build, programs: Iterable[Path]) -> list[str]:
    names: set[str] = set()

    def on_line(line: str) -> None:
        if "(NEEDED)" in line:
            names.add(line.partition("[")[2].partition("]")[0])

    build.run(
        "read which libraries are needed", ["aarch64-linux-gnu-readelf", "-d", *map(str, programs)], on_line=on_line
    )
    return sorted(names)


RECIPES = (
    Recipe("guest-initramfs", "initramfs.gz", guest_inputs, _build_guest, ("rootfs", "ring")),
    Recipe("driver-domain", "initramfs.gz", _driver_inputs, _build_driver_domain, ("rootfs",)),
)
