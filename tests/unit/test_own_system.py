"""What a board runs now: found on it, staged without being sent, copied there, and proven to be what runs."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import shlex
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vtool.board.own_system import OwnFile, OwnSystem, own_system
from vtool.board.protocols import CommandResult
from vtool.board.qemu_process import Machine, dump_device_tree
from vtool.cli.common import prepare
from vtool.deploy.on_board import generations, own_files, started, surroundings
from vtool.deploy.on_board.base import BoardError
from vtool.deploy.proof import proofs
from vtool.deploy.stage import Staged, stage_on
from vtool.diagnostics import VtoolError
from vtool.plan.types import BoardPlan

TOPOLOGIES = Path(__file__).resolve().parents[1] / "topologies"
RELEASE = "6.12.48+deb13-arm64"
BANNER = f"Linux version {RELEASE} (debian-kernel@lists.debian.org) (aarch64-linux-gnu-gcc-14) #1 SMP Debian 6.12.48-1"
RAMDISK = b"070701 and so on" * 100


def kernel(banner: str = BANNER, image_size: int = 1 << 20) -> bytes:
    head = b"MZ" + bytes(6) + struct.pack("<QQ", 0, image_size) + bytes(32) + b"ARM\x64" + bytes(4)
    without_number = banner.replace("#1 ", "# ").encode()
    return head + bytes(1000) + without_number + b"\n\0" + banner.encode() + b"\n\0" + bytes(1000)


class Board:
    """A board's commands, run here on a copy of its folders."""

    def __init__(self, folder: Path, files: dict[str, bytes], *, words: str = "quiet", ramdisk: bool = True) -> None:
        self.folder = folder
        for name, content in {"proc/version": f"{BANNER}\n".encode(), "proc/cmdline": words.encode(), **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if ramdisk:
            (folder / "sys/firmware/devicetree/base/chosen").mkdir(parents=True)
            (folder / "sys/firmware/devicetree/base/chosen/linux,initrd-start").write_bytes(bytes(8))

    def as_root(self, *words: str) -> str:
        return shlex.join(words)

    def run(self, command: str, *, timeout_s: float = 60.0) -> CommandResult:
        for place in ("/boot/", "/proc/", "/sys/"):
            command = command.replace(place, f"{self.folder}{place}")
        command = command.replace("$(uname -r)", RELEASE)
        done = subprocess.run(
            ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)


def test_the_kernel_that_runs_is_found_by_its_banner_and_its_ramdisk_by_its_name(tmp_path: Path) -> None:
    image = kernel()
    board = Board(
        tmp_path,
        {
            "boot/Image": kernel("Linux version 7.0 (of vtool's)"),
            f"boot/vmlinuz-{RELEASE}": image,
            f"boot/initrd.img-{RELEASE}": RAMDISK,
            f"boot/config-{RELEASE}": b"CONFIG_KVM=y\n# CONFIG_XEN is not set\n",
        },
    )
    found = own_system("b", board)
    assert found.options == {"KVM": "y"}
    assert found.release == RELEASE
    assert (found.kernel.path, found.kernel.sha256) == (
        f"{tmp_path}/boot/vmlinuz-{RELEASE}",
        hashlib.sha256(image).hexdigest(),
    )
    assert (found.kernel.size_bytes, found.kernel.packed, found.kernel.header) == (len(image), False, (0, 1 << 20))
    assert found.ramdisk is not None
    assert (found.ramdisk.sha256, found.ramdisk.size_bytes) == (hashlib.sha256(RAMDISK).hexdigest(), len(RAMDISK))


def test_of_a_packed_kernel_counts_what_is_in_it(tmp_path: Path) -> None:
    image = kernel()
    board = Board(tmp_path, {f"boot/vmlinuz-{RELEASE}": gzip.compress(image)}, ramdisk=False)
    found = own_system("b", board)
    assert found.kernel.packed and found.kernel.sha256 == hashlib.sha256(image).hexdigest()
    assert found.kernel.header == (0, 1 << 20) and found.ramdisk is None and found.options is None


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({f"boot/vmlinuz-{RELEASE}": kernel(BANNER.replace("48-1", "48-2"))}, "", "is another build"),
        ({"boot/vmlinuz-6.1": kernel("Linux version 6.1 (x)")}, "", "no file in /boot is the kernel that runs"),
        ({f"boot/vmlinuz-{RELEASE}": kernel()}, "", "was started with a ramdisk that is not in /boot"),
    ],
)
def test_what_is_not_there_is_not_guessed(files: dict[str, bytes], words: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(VtoolError) as caught:
        own_system("b", Board(tmp_path, files, words=words))
    (found,) = caught.value.diagnostics
    assert found.code == "VT455" and said in found.message and found.hints


def test_the_ramdisk_that_vtool_gave_it_is_not_the_boards(tmp_path: Path) -> None:
    board = Board(tmp_path, {f"boot/vmlinuz-{RELEASE}": kernel()}, words="root=/dev/vda2 vtool.boot=0123456789abcdef")
    assert own_system("b", board).ramdisk is None


def test_a_board_that_does_not_tell() -> None:
    class Broken:
        def as_root(self, *words: str) -> str:
            return shlex.join(words)

        def run(self, command: str, *, timeout_s: float = 60.0) -> CommandResult:
            return CommandResult(127, "", "sh: uname: not found")

    with pytest.raises(VtoolError) as caught:
        own_system("b", Broken())
    assert caught.value.diagnostics[0].detail == ("sh: uname: not found",)


# -- staging


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return dump_device_tree(Machine(2, 3 << 30), tmp_path_factory.mktemp("tree") / "base.dtb")


def system(kernel_bytes: int = 30 << 20, ramdisk_bytes: int | None = 40 << 20) -> OwnSystem:
    head = kernel(image_size=kernel_bytes)[:64]
    ramdisk = OwnFile(f"/boot/initrd.img-{RELEASE}", "2" * 64, ramdisk_bytes) if ramdisk_bytes else None
    return OwnSystem(RELEASE, OwnFile(f"/boot/vmlinuz-{RELEASE}", "1" * 64, kernel_bytes, head=head), ramdisk)


def staged(name: str, base: bytes, folder: Path, own: OwnSystem) -> tuple[Staged, BoardPlan]:
    board = prepare(TOPOLOGIES / f"{name}.yaml").plan.boards[0]
    (folder / "image").write_bytes(b"image")
    (folder / "work").mkdir()
    return stage_on("t", board, base, lambda _: folder / "image", folder / "work", own=own), board


def test_what_the_board_has_is_named_and_not_sent(base: bytes, tmp_path: Path) -> None:
    generation = staged("dom0less-own-kernel", base, tmp_path, system())[0].generation
    files = {file["name"]: file for file in generation["files"] if file["place"] == "boot"}
    assert files["Image"]["own"] == {"path": f"/boot/vmlinuz-{RELEASE}", "packed": False}
    assert (files["initrd"]["sha256"], files["initrd"]["size_bytes"]) == ("2" * 64, 40 << 20)
    assert "own" not in files["xen"]
    assert own_files.digests(generation) == {"1" * 64, "2" * 64}


def test_a_board_that_runs_without_a_ramdisk_boots_without_one(base: bytes, tmp_path: Path) -> None:
    found = staged("kvm-own-kernel", base, tmp_path, system(ramdisk_bytes=None))[0]
    script = next(file for file in found.files if file.name == "boot.scr")
    assert b"booti 0x4a000000 - 0x46000000" in script.content
    assert not [file for file in found.files if file.name == "initrd"]
    assert "it was started with the ramdisk deployed" not in {proof.what for proof in found.proofs}


def test_a_ramdisk_that_the_user_asked_for_and_the_board_lacks(base: bytes, tmp_path: Path) -> None:
    with pytest.raises(VtoolError) as caught:
        staged("dom0less-own-kernel", base, tmp_path, system(ramdisk_bytes=None))
    assert caught.value.diagnostics[0].code == "VT455"


@pytest.mark.parametrize(
    ("name", "own", "said"),
    [
        ("kvm-own-kernel", system(97 << 20), "'/boot/vmlinuz-"),
        ("kvm-own-kernel", system(ramdisk_bytes=257 << 20), "'/boot/initrd.img-"),
        # A guest's two modules are loaded before it.
        ("dom0less-own-kernel", system(ramdisk_bytes=193 << 20), "'/boot/initrd.img-"),
    ],
)
def test_what_has_no_room_is_refused(name: str, own: OwnSystem, said: str, base: bytes, tmp_path: Path) -> None:
    with pytest.raises(VtoolError) as caught:
        staged(name, base, tmp_path, own)
    (found,) = caught.value.diagnostics
    assert found.code == "VT713" and found.message.startswith(said)


def test_a_ramdisk_of_the_users_is_a_file_like_others(tmp_path: Path) -> None:
    text = (TOPOLOGIES / "kvm-own-kernel.yaml").read_text().replace("kernel: board", "kernel: k\n    ramdisk: r")
    (tmp_path / "t.yaml").write_text(text)
    (tmp_path / "k").write_bytes(kernel())
    with (tmp_path / "r").open("wb") as stream:
        stream.write(b"070701")
        stream.truncate(257 << 20)
    with pytest.raises(VtoolError) as caught:
        prepare(tmp_path / "t.yaml")
    (found,) = (found for found in caught.value.diagnostics if found.code == "VT713")
    assert found.message.startswith("the ramdisk of 'host' ends at 0x60100000, 1MiB beyond the 256MiB")
    (tmp_path / "r").write_bytes(RAMDISK)
    control = prepare(tmp_path / "t.yaml").plan.boards[0].control
    assert control.images == {"Image": "k", "initrd": "r"} and not control.takes_the_boards_own


@pytest.mark.parametrize("option", ["VIRTIO_BLK", "EXT4_FS"])
def test_a_kernel_whose_root_is_on_a_module_needs_a_ramdisk(option: str, tmp_path: Path) -> None:
    text = (TOPOLOGIES / "kvm-own-kernel.yaml").read_text()
    options = "CONFIG_KVM=y\nCONFIG_I6300ESB_WDT=m\nCONFIG_BLK_DEV_INITRD=y\n" + f"CONFIG_{option}=m\n"
    (tmp_path / "k").write_bytes(kernel() + b"IKCFG_ST" + gzip.compress(options.encode()) + b"IKCFG_ED")
    (tmp_path / "r").write_bytes(RAMDISK)
    (tmp_path / "t.yaml").write_text(text.replace("kernel: board", "kernel: k\n    ramdisk: r"))
    prepare(tmp_path / "t.yaml")
    (tmp_path / "t.yaml").write_text(text.replace("kernel: board", "kernel: k"))
    with pytest.raises(VtoolError) as caught:
        prepare(tmp_path / "t.yaml")
    (found,) = (found for found in caught.value.diagnostics if found.code == "VT454")
    assert f"CONFIG_{option} is a module of {tmp_path}/k" in found.message
    assert found.span is not None and found.span.line == 14


def test_beside_many_guests_the_ramdisk_keeps_half_of_the_room(tmp_path: Path) -> None:
    text = (TOPOLOGIES / "dom0less-own-kernel.yaml").read_text()
    more = "".join(text[text.index("  fe0:") :].replace("fe0", f"fe{number}") for number in (1, 2))
    (tmp_path / "t.yaml").write_text(text + more)
    board = prepare(tmp_path / "t.yaml").plan.boards[0]
    windows = [module.window for guest in board.xen_boot.guests for module in guest.modules]
    own = board.control.ramdisk_window
    assert own is not None and (own.base, own.end) == (0x5800_0000, 0x6000_0000)
    assert len(set(windows)) == 6 and not any(own.overlaps(window) for window in windows)


def test_the_boards_kernel_has_what_a_control_domain_needs(base: bytes, tmp_path: Path) -> None:
    options = dict.fromkeys(("KVM", "I6300ESB_WDT"), "m")
    for number, (lacking, said) in enumerate((("KVM", "control domain of kvm"), ("I6300ESB_WDT", "watchdog"))):
        (tmp_path / str(number)).mkdir()
        own = dataclasses.replace(system(), options={key: "y" for key in options if key != lacking})
        with pytest.raises(VtoolError) as caught:
            staged("kvm-own-kernel", base, tmp_path / str(number), own)
        (found,) = caught.value.diagnostics
        assert found.code == "VT510" and f"CONFIG_{lacking}" in found.message and said in found.message
    (tmp_path / "has").mkdir()
    staged("kvm-own-kernel", base, tmp_path / "has", dataclasses.replace(system(), options=options))


# -- on the board


def generation_of(file: Path, content: bytes, *, packed: bool) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    own = {"path": str(file), "packed": packed}
    return {"files": [{"place": "boot", "name": "Image", "sha256": digest, "mode": 0o644, "own": own}]}


@pytest.mark.parametrize("packed", [False, True])
def test_the_boards_files_are_taken_into_the_store(packed: bool, tmp_path: Path) -> None:
    image, store = kernel(), tmp_path / "store"
    (tmp_path / "vmlinuz").write_bytes(gzip.compress(image) if packed else image)
    generation = generation_of(tmp_path / "vmlinuz", image, packed=packed)
    own_files.take(generation, store)
    (found,) = store.iterdir()
    assert (found.name, found.read_bytes()) == (generation["files"][0]["sha256"], image)
    (tmp_path / "vmlinuz").unlink()
    own_files.take(generation, store)  # it is there


@pytest.mark.parametrize("packed", [False, True])
def test_one_that_changed_meanwhile_is_not_taken(packed: bool, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(gzip.compress(b"another")[:-3] if packed else b"another")
    with pytest.raises(BoardError) as caught:
        own_files.take(generation_of(tmp_path / "vmlinuz", kernel(), packed=packed), tmp_path / "store")
    assert caught.value.code == "VT455"
    assert not list((tmp_path / "store").iterdir())


def test_nobody_sends_what_the_board_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("make_sound", "check_writable", "collect_garbage", "refuse_networks"):
        monkeypatch.setattr(generations, name, lambda *_: None)
    monkeypatch.setattr(surroundings, "require", lambda _, **__: None)
    asked: list[int] = []
    monkeypatch.setattr(generations, "check_space", lambda _, size, **__: asked.append(size))
    monkeypatch.setattr(generations, "STORE", tmp_path)
    monkeypatch.setattr(generations, "BOARD", tmp_path / "board.json")
    files = [
        {"place": "boot", "name": "Image", "sha256": "1" * 64, "size_bytes": 1000, "own": {"path": "/boot/k"}},
        {"place": "boot", "name": "xen", "sha256": "2" * 64, "size_bytes": 100},
    ]
    generation = {
        "generation": "g",
        "boot_set": "s",
        "boot": {"mount": "/boot"},
        "files": files,
        "units": {},
        "disks": [],
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(generation)))
    said = generations.verb_compare(generations.argparse.Namespace(look_only=True))
    assert (said["missing"], said["missing_bytes"], asked) == (["2" * 64], 100, [1100])


# -- proof


def rows(name: str, results: dict[str, Any]) -> dict[str, tuple[str, str, bool]]:
    found = [proof.read(results) for proof in proofs(prepare(TOPOLOGIES / f"{name}.yaml").plan.boards[0])]
    about = ("the kernel that runs is the one deployed", "it was started with the ramdisk deployed")
    return {row.what: (row.expected, row.seen, row.proven) for row in found if row.what in about}


def test_the_kernel_that_runs_is_compared_with_the_file() -> None:
    told = {"running": BANNER, "deployed": BANNER}
    shown = f"{RELEASE} #1 SMP Debian 6.12.48-1"
    what = "the kernel that runs is the one deployed"
    assert rows("kvm-own-kernel", {"started-kernel": told})[what] == (shown, shown, True)
    told["running"] = BANNER.replace("48-1", "48-2")
    assert rows("kvm-own-kernel", {"started-kernel": told})[what] == (
        shown,
        f"{RELEASE} #1 SMP Debian 6.12.48-2",
        False,
    )
    assert rows("kvm-own-kernel", {})[what][2] is False


@pytest.mark.parametrize(
    ("given", "freed", "proven"),
    [(5000, None, True), (5001, None, False), (None, 4, True), (None, 400, False), (None, None, False)],
)
def test_the_ramdisk_is_compared_by_its_size(given: int | None, freed: int | None, proven: bool) -> None:
    told = {"given_bytes": given, "freed_kib": freed, "size_bytes": 5000, "sha256": "a" * 64}
    expected, _, found = rows("dom0less-own-kernel", {"started-ramdisk": told})[
        "it was started with the ramdisk deployed"
    ]
    assert (expected, found) == (f"5000 bytes ({'a' * 16}…)", proven)


def test_vtools_own_kernel_needs_no_such_row() -> None:
    plan = prepare(TOPOLOGIES / "kvm-own-kernel.yaml").plan.boards[0]
    own = dataclasses.replace(plan.control, kernel_image="vtool:linux", ramdisk_image=None)
    about = {proof.what for proof in proofs(dataclasses.replace(plan, control=own))}
    assert "the kernel that runs is the one deployed" not in about


def test_the_board_reads_banner_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = kernel()
    for name, content in (("Image", image), ("initrd", RAMDISK), ("version", f"{BANNER}\n".encode())):
        (tmp_path / name).write_bytes(content)
    files = [
        {"place": "boot", "name": name, "sha256": hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}
        for name in ("Image", "initrd")
    ]
    monkeypatch.setattr(started, "running_generation", lambda: {"files": files})
    monkeypatch.setattr(started, "placed_path", lambda _, file: tmp_path / file["name"])
    monkeypatch.setattr(started, "VERSION", tmp_path / "version")
    monkeypatch.setattr(started, "CHOSEN", tmp_path)
    monkeypatch.setattr(
        started, "run", lambda *_: subprocess.CompletedProcess((), 0, "[ 1.0] Freeing initrd memory: 4K\n", "")
    )
    assert started.kernel({"file": "Image"}) == {"running": BANNER, "deployed": BANNER}
    (tmp_path / "version").write_bytes(b"Linux version 7.0 (somebody) #1\n")
    assert started.kernel({"file": "Image"}) == {"running": "Linux version 7.0 (somebody) #1", "deployed": BANNER}
    told = {"freed_kib": 4, "size_bytes": len(RAMDISK), "sha256": files[1]["sha256"]}
    assert started.ramdisk({"file": "initrd"}) == {"given_bytes": None, **told}
    for end, address in (("start", 0x5000_0000), ("end", 0x5000_0000 + len(RAMDISK))):
        (tmp_path / f"linux,initrd-{end}").write_bytes(address.to_bytes(8, "big"))
    assert started.ramdisk({"file": "initrd"}) == {"given_bytes": len(RAMDISK), **told}
    (tmp_path / "initrd").write_bytes(b"changed by hand")
    with pytest.raises(BoardError) as caught:
        started.ramdisk({"file": "initrd"})
    assert caught.value.code == "VT717"
    with pytest.raises(BoardError):
        started.kernel({"file": "vmlinux"})
