"""A guest that is Debian's, as an image of its root file system: root logs in at the console with a password."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtool.base.progress import Silent
from vtool.images import debian, recipe_lines, recipe_text
from vtool.images.build import ensure
from vtool.images.store import Build, Image, Recipe, cache_folder

from .foreign import PASSWORD, hashed

PACKAGES = "iproute2 kmod login passwd procps systemd systemd-sysv udev dbus"
SIZE = "400M"
_UUID = "7654003a-0000-4000-8000-000000000001"
# A getty on whichever console the kernel was given, as systemd has it; DHCP on what is named like a network card.
_CUSTOMISE = """
set -eu
root=$1
printf '/dev/root / ext4 defaults 0 1\\n' > "$root/etc/fstab"
printf 'debian\\n' > "$root/etc/hostname"
printf '127.0.0.1 localhost debian\\n' > "$root/etc/hosts"
: > "$root/etc/machine-id"
sed -i 's|^root:[^:]*:|root:{hashed}:|' "$root/etc/shadow"
printf '[Match]\\nName=en* eth*\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n' > "$root/etc/systemd/network/10-lan.network"
chroot "$root" systemctl enable systemd-networkd
chroot "$root" systemctl mask systemd-networkd-wait-online.service e2scrub_reap.service apt-daily.timer \\
    apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer systemd-firstboot.service systemd-pcrlock.socket
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/zoneinfo
"""  # noqa: E501 - a script's


def _inputs(_: Mapping[str, Image]) -> dict[str, Any]:
    return {
        "release": debian.pinned_release(cache_folder() / debian.RELEASE_LOCK),
        "files": {name: recipe_text(f"rootfs/{name}") for name in ("configure.sh", "excluded.txt")},
        "packages": PACKAGES,
        "customise": _CUSTOMISE.replace("{hashed}", hashed(PASSWORD, "vtool")),
        "size": SIZE,
    }


def _build(build: Build) -> None:
    files: Mapping[str, str] = build.inputs["files"]
    configure = files["configure.sh"].replace('stubbed="usr/bin/python3.13 usr/bin/py3compile ', 'stubbed="')
    archive, root = build.folder / "root.tar", build.folder / "root"
    build.run(
        "install packages",
        debian.mmdebstrap(
            "--include=?essential",
            f"--extract-hook={configure}",
            f"--extract-hook={build.inputs['customise']}",
            *(debian.SUITE, str(archive), debian.archive()),
        ),
        env={
            "VTOOL_PACKAGES": build.inputs["packages"],
            "VTOOL_EXCLUDED": " ".join(recipe_lines(files["excluded.txt"])),
        },
    )
    root.mkdir()
    line = (
        f"tar -xf '{archive}' -C '{root}' --exclude='./dev/*' && "
        f"mke2fs -q -t ext4 -L root -U {_UUID} -E hash_seed={_UUID},root_owner=0:0 "
        f"-d '{root}' '{build.output}' {build.inputs['size']}"
    )
    build.run("make the file system", ["fakeroot", "sh", "-c", line])
    archive.unlink()
    shutil.rmtree(root)


RECIPE = Recipe("debian-guest", "root.ext4", _inputs, _build)


def debian_guest() -> Path:
    """Return the image, an ext4 file system; built once, in some minutes."""
    return ensure([RECIPE.name], Silent(), {RECIPE.name: RECIPE})[RECIPE.name].path
