"""The boot state of U-Boot in each place that it can have, through power cuts before any write of U-Boot or Linux."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit import u_boot as emulated
from vtool.deploy.on_board import loader, u_boot, u_boot_factory
from vtool.deploy.on_board.base import BoardError
from vtool.model import board_facts
from vtool.model.validate import load_facts
from vtool.render.templating import fill
from vtool.render.uboot import STARTS

SHIPPED = load_facts("rpi4").facts.boot
assert SHIPPED is not None
A, B, C = ("a" * 16, "b" * 16, "c" * 16)
FACTORY = "console=ttyS0 root=/dev/mmcblk0p2"
EXTLINUX = f"""
DEFAULT l0
LABEL other
  KERNEL /other
LABEL l0
  LINUX /vmlinuz
  INITRD /initrd.img
  FDTDIR /dtbs/
  APPEND {FACTORY}
"""
SECTOR = board_facts.BootState(device="/dev/mmcblk0", sector=3, read_command="mmc read", write_command="mmc write")
KINDS: Mapping[str, Any] = {"sector": SECTOR, "file": "file", "environment": "environment"}


class Board:
    """A board with U-Boot and vtool's script: what Linux writes on it, and what it starts."""

    def __init__(self, folder: Path, kind: str, lacks: tuple[Any, ...], patch: pytest.MonkeyPatch) -> None:
        self.mount, disk = folder / "boot", folder / "disk"
        disk.write_bytes(bytes(4096))
        self.boot = {"loader": "u-boot", "mount": str(self.mount)}
        self.boot |= {"state_device": str(disk), "state_sector": 3} if kind == "sector" else {"state": kind}  # type: ignore[dict-item]
        self.u_boot = emulated.UBoot(self.mount, disk, (*lacks, *(["env import"] if kind == "environment" else [])))
        facts = SHIPPED.model_copy(update={"state": KINDS[kind], "lacks": lacks})
        for name in (A, B, C):
            (self.mount / "vtool" / name[:8]).mkdir(parents=True)
            (self.mount / "vtool" / name[:8] / "boot.scr").write_text(f"setenv bootargs {name}\nbooti\n")
        self.put("set/entry.scr", fill("uboot/entry.cmd.j2", boot=facts, fit=False, starts=STARTS))
        self.put("extlinux/extlinux.conf", EXTLINUX)
        self.put("vmlinuz", "")
        self.put("initrd.img", "")
        loader.install(self.boot, self.mount / "set")
        patch.setattr(u_boot, "run", self._fw_tools)

    def put(self, name: str, text: str) -> None:
        (self.mount / name).parent.mkdir(parents=True, exist_ok=True)
        (self.mount / name).write_text(text)

    def _fw_tools(self, *argv: str, check: bool = True) -> Any:
        if argv[0] == "fw_printenv":
            text = "".join(f"{name}={value}\n" for name, value in self.u_boot.saved.items())
            return subprocess.CompletedProcess(argv, 0, text, "")
        assert argv[:2] == ("fw_setenv", "--script")
        for line in Path(argv[2]).read_text().splitlines():
            name, _, value = line.partition(" ")
            self.u_boot.saved.pop(name, None)
            if value:
                self.u_boot.saved[name] = value
        return subprocess.CompletedProcess(argv, 0, "", "")

    def state(self, **roles: str) -> dict[str, str]:
        sets = {f"{role}_set": name[:8] for role, name in roles.items() if role != "count"}
        return {**dict.fromkeys(loader.KEYS, ""), **roles, **sets}

    def write(self, **roles: str) -> None:
        u_boot.write_state(self.boot, self.state(**roles))

    def read(self) -> dict[str, str]:
        return u_boot.read_state(self.boot)

    def starts(self, times: int = 1) -> list[str]:
        return [self.u_boot.boot() for _ in range(times)]


@pytest.fixture(params=[(), ("setexpr", "sysboot")], ids=["whole", "lacking"])
def lacks(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=KINDS)
def board(request: pytest.FixtureRequest, lacks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(tmp_path, request.param, lacks, monkeypatch)


def factory(lacks: tuple[str, ...]) -> str:
    return FACTORY if lacks else "sysboot /extlinux/extlinux.conf.before-vtool"


def test_a_board_without_a_state_starts_what_it_came_with(board: Board, lacks: Any) -> None:
    assert board.read() == dict.fromkeys(loader.KEYS, "")
    assert board.starts() == [factory(lacks)]


def test_a_trial_boots_once_and_what_is_confirmed_boots_on(board: Board, lacks: Any) -> None:
    board.write(trial=A)
    assert board.read() == board.state(trial=A)
    assert board.starts(2) == [A, factory(lacks)]
    board.write(good=A, trial=B)
    assert board.starts(2) == [B, A]
    assert {**board.read(), "count": ""} == board.state(good=A)
    board.write(good=B, last=A)
    assert board.starts() == [B]


def test_a_good_one_that_never_comes_up_gives_way(board: Board) -> None:
    board.write(good=B, last=A)
    assert board.starts(5) == [B] * STARTS + [A, A]
    assert int(board.read()["count"], 16) > STARTS
    board.write(good=B, last=A)
    assert board.starts() == [B]


def test_it_is_gone_when_vtool_goes(board: Board, lacks: Any) -> None:
    board.write(good=B, last=A)
    board.starts()
    u_boot.forget_state(board.boot)
    assert board.read() == dict.fromkeys(loader.KEYS, "")
    assert board.starts() == [factory(lacks)]
    assert not [name for name in board.u_boot.saved if name.startswith("vtool_") and name != "vtool_ramdisk"] or lacks
    loader.uninstall(board.boot)
    assert (board.mount / "extlinux/extlinux.conf").read_text() == EXTLINUX
    assert not (board.mount / "boot.scr").exists()


CHANGES: tuple[tuple[dict[str, str], dict[str, str], set[str]], ...] = (
    ({"good": B, "last": A}, {"good": B, "last": A, "trial": C}, {B, C}),
    ({"good": B, "last": A, "trial": C}, {"good": C, "last": B}, {B, C}),
    ({"good": B, "last": A}, {"good": A}, {A, B}),
)


def test_a_power_cut_while_linux_writes_leaves_the_old_or_the_new(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    for before, after, may in CHANGES:
        for unharmed in itertools.count():
            board.write(**before)
            left = [unharmed]

            def counted(step: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
                def done(*arguments: Any, **more: Any) -> Any:
                    if left[0] == 0:
                        raise emulated.PowerCut
                    left[0] -= 1
                    return step(*arguments, **more)

                return done

            with monkeypatch.context() as patched:
                patched.setattr(u_boot, "_write_in_place", counted(u_boot._write_in_place))
                patched.setattr(u_boot, "replace_file", counted(u_boot.replace_file))
                patched.setattr(u_boot, "run", counted(u_boot.run))
                try:
                    board.write(**after)
                    through = True
                except emulated.PowerCut:
                    through = False
            (started,) = board.starts()
            assert started in may, (before, after, unharmed)
            board.write(**after)
            assert board.read() == board.state(**after)
            if through:
                break
        assert unharmed > 1


def test_a_power_cut_while_u_boot_writes_costs_nothing_but_that_start(board: Board) -> None:
    for before, may in (({"good": B, "last": A}, {B}), ({"good": B, "last": A, "trial": C}, {B, C})):
        for unharmed in range(3):
            board.write(**before)
            board.u_boot.unharmed = unharmed
            try:
                first = board.u_boot.boot()
            except emulated.PowerCut:
                first = None
            board.u_boot.unharmed = None
            assert first in {None, *may}
            (second,) = board.starts()
            assert second in may and (first, second) != (C, C)


@pytest.mark.parametrize("kind", ["sector", "file"])
@pytest.mark.parametrize("spoilt", [b"\xff" * 512, bytes(512), b"vtool_state=1\nvtool_good=zz\n" + bytes(480)])
def test_a_state_that_somebody_wrote_over_is_read_from_its_copy(
    kind: str, spoilt: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path, kind, (), monkeypatch)
    board.write(good=B, last=A, trial=C)
    u_boot._write(board.boot, spoilt)
    assert board.read() == board.state(good=B, last=A)
    if b"zz" not in spoilt:
        assert board.starts() == [B]


def test_a_file_keeps_its_place_on_the_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, "file", (), monkeypatch)
    board.write(good=A)
    file = u_boot.file_path(board.boot)
    number = file.stat().st_ino
    board.write(good=B, last=A)
    board.starts()
    assert (file.stat().st_ino, file.stat().st_size) == (number, 512)
    file.write_bytes(b"short")
    board.write(good=B)
    assert (file.stat().st_size, board.starts()) == (512, [B])


def test_an_environment_that_linux_does_not_reach_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def without(*argv: str, **_: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory", argv[0])

    boot = {"mount": str(tmp_path), "state": "environment"}
    monkeypatch.setattr(u_boot, "run", without)
    with pytest.raises(BoardError, match="cannot be written") as caught:
        u_boot.write_state(boot, dict.fromkeys(loader.KEYS, ""))
    assert caught.value.code == "VT716" and "libubootenv-tool" in caught.value.hints[0]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", []),
        ("DEFAULT x\n", []),
        (
            "label a\nkernel Image\nfdt /b.dtb\nappend root=/dev/a;b quiet $x\n",
            [
                r"setenv bootargs root=/dev/a\;b quiet \$x",
                "setenv vtool_ramdisk -",
                "load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} /b.dtb",
                "load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /Image",
                "booti ${kernel_addr_r} ${vtool_ramdisk} ${fdt_addr_r}",
            ],
        ),
    ],
)
def test_what_an_extlinux_conf_boots_by_default_as_commands(text: str, commands: list[str]) -> None:
    assert list(u_boot_factory.commands_of(text)) == commands


def test_a_script_is_one_that_u_boot_takes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("echo\n")
    words = ["mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-n", "factory", "-d", str(tmp_path / "a")]
    subprocess.run([*words, str(tmp_path / "b")], check=True, capture_output=True)
    (tmp_path / "c").write_bytes(u_boot_factory.script_image("echo\n"))
    listed = [subprocess.run(["mkimage", "-l", str(tmp_path / n)], check=True, capture_output=True, text=True).stdout
              for n in ("b", "c")]  # fmt: skip
    told = [[line for line in text.splitlines() if "Created" not in line] for text in listed]
    assert told[0] == told[1] and "Script" in listed[1]
