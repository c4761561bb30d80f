"""vtool as a user installs it: its wheel by pipx, as an ordinary user of a Debian that has no systemd running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.fleet import MOUNTS, Fleet
from vtool.images import debian

from .machine import sshd_folder, why_not
from .racks import OWN_LOG, ROOT, OneBoard, Racks

pytestmark = pytest.mark.long
USER = 1000
TOOLS = {"ssh": "openssh-client", "dtc": "device-tree-compiler", "mkimage": "u-boot-tools"}
COMPILER = ("gcc", "libc6-dev", "python3-dev")
"""What pylibfdt is compiled with while it is installed."""
ENTER = """
set -e
root=$1; hidden=$2; binds=$3; shm=$4; shift 4
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for name in null zero random urandom; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
ln -s /proc/self/fd "$root/dev/fd"
if test -n "$shm"; then mkdir "$root/dev/shm"; mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"; fi
for path in $binds; do
    if test -d "$path"; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}"; touch "$root$path"; fi
    mount --rbind "$path" "$root$path"
done
for name in $hidden; do mount --bind /dev/null "$root/usr/bin/$name"; done
exec /usr/sbin/chroot --userspec="$USER_ID:$USER_ID" "$root" sh -c 'cd && exec "$@"' sh "$@"
"""


def registry() -> dict[str, str]:
    """Return how this machine's pip reaches its registry, as variables."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    rows = re.findall(r"^(?:global|install|user|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    found = {f"PIP_{key.upper().replace('-', '_')}": value.replace("\\n", " ") for key, value in rows}
    return found | {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}


class Installed:
    """A Debian in a folder, in which a user has vtool. ``binds`` are places of this machine that it sees."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = registry()
        named = re.findall(r"(?:(?<=file://)|(?<![:/\w]))(/[^\s/:]+/[^\s:]*)", " ".join(self.registry.values()))
        # An index that is a folder links to files beside it.
        named = [path.removesuffix("/simple") for path in named if Path(path).exists()]
        self.binds = ["/etc/resolv.conf", "/etc/hosts", *named]

    def run(
        self, *words: str, hidden: Sequence[str] = (), binds: Sequence[str] = (), shm: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the user; there is no /dev/pts, no terminal and no locale."""
        seen = " ".join(dict.fromkeys((*self.binds, *binds)))
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", str(self.root)]
        environment = {
            **self.registry,
            "HOME": "/home/user",
            "PATH": "/home/user/.local/bin:/usr/bin:/bin",
            "USER_ID": str(USER),
        }
        command = [*enter, " ".join(hidden), seen, "1" if shm else "", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
        assert "Traceback" not in done.stderr and "a bug in vtool" not in done.stderr, done.stderr
        return done

    def vtool(self, *words: str, code: int = 0, **options: Sequence[str] | bool) -> str:
        done = self.run("vtool", *words, **options)  # type: ignore[arg-type]
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def installed(request: pytest.FixtureRequest) -> Iterator[Installed]:
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="vtool-installed-", dir="/var/tmp") as text:
        folder = Path(text)
        folder.chmod(0o755)
        root = folder / "root"
        packages = ("pipx", *TOOLS.values(), *COMPILER)
        options = [f"--aptopt={option}" for option in debian.apt_options()]
        making = ["mmdebstrap", "--variant=minbase", "--components=main", *options]
        making += ['--aptopt=Apt::Install-Recommends "false"', f"--include={','.join(packages)}"]
        subprocess.run([*making, request.param, str(root), debian.archive(request.param)], check=True)
        with (root / "etc/passwd").open("a") as users:
            users.write(f"user:x:{USER}:{USER}::/home/user:/bin/sh\n")
        (root / "home/user").mkdir()
        os.chown(root / "home/user", USER, USER)
        wheels = folder / "wheel"
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = wheels.glob("*.whl")
        found = Installed(root)
        done = found.run("pipx", "install", str(wheel), binds=[str(wheels)])
        assert done.returncode == 0, done.stdout + done.stderr
        yield found


def test_what_needs_no_board_needs_nothing_more(installed: Installed) -> None:
    assert installed.vtool("--version").startswith("vtool ")
    new = ("new", "--board", "rpi4", "--hypervisor", "xen", "--disk", "pool", "--net", "pv", "-o", "lab.yaml")
    assert "next:    vtool plan lab.yaml" in installed.vtool(*new)
    everything = {"hidden": tuple(TOOLS), "shm": False}
    assert "fe0" in installed.vtool("validate", "lab.yaml", **everything) + installed.vtool(
        "plan", "lab.yaml", **everything
    )
    installed.vtool("render", "lab.yaml", "-o", "files", **everything)
    assert (installed.root / "home/user/files/board0/generation").is_dir()
    installed.vtool("dt", "lab.yaml", "-o", "trees")
    tree = installed.root / "home/user/board.dts"
    tree.write_text('/dts-v1/;\n/ { #address-cells = <2>; #size-cells = <2>; compatible = "a,b"; };\n')
    assert "OK" in installed.vtool("lint", "board.dts")
    assert "complete -" in installed.vtool("completion", "bash", **everything)
    assert ".TH VTOOL" in installed.vtool("man", **everything)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_that_is_missing_is_named_before_anything_begins(tool: str, installed: Installed) -> None:
    installed.vtool("new", "--board", "qemu-virt", "--hypervisor", "kvm", "--force", "-o", "emulated.yaml")
    said = installed.vtool("deploy", "emulated.yaml", code=3, hidden=[tool])
    assert f"error[VT501]: '{tool}' is not installed" in said and f"apt install {TOOLS[tool]}" in said
    assert not (installed.root / "home/user/.cache/vtool").exists(), "no image was begun"


def test_a_machine_without_shared_memory_is_told(installed: Installed) -> None:
    installed.vtool("new", "--board", "qemu-virt", "--hypervisor", "kvm", "--force", "-o", "emulated.yaml")
    assert "error[VT152]" in installed.vtool("deploy", "emulated.yaml", code=3, shm=False)


def test_it_deploys_over_ssh(installed: Installed) -> None:
    with sshd_folder() as (folder, stack):
        source = OneBoard(folder, 1)
        source.names = ["rack1"]
        source.write()
        lab = Racks(Fleet(folder, source, stack, MOUNTS + OWN_LOG))
        machine = lab.fleet.machines["rack1"]
        words = [sys.executable, "-m", "tests.integration.guest_of_shell", "fe0", str(machine.folder)]
        guest = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)
        stack.callback(guest.wait)
        stack.callback(guest.kill)
        assert guest.stdout is not None
        stack.callback(guest.stdout.close)
        assert guest.stdout.readline() == b"ready\n"
        os.chown(machine.identity, USER, USER)
        reached = ("--inventory", str(lab.folder / "vtool.yaml"), "--use", "board0=rack1")
        for verb in ("deploy", "verify"):
            said = installed.vtool(verb, str(lab.folder / "topology.yaml"), *reached, binds=[str(folder)])
            assert "rows proven" in said
