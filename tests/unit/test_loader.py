"""Ways into a board: what boots first, next and at last, and that nothing stays when vtool goes."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from vtool.deploy.on_board import loader, systemd_boot
from vtool.render.uboot import STARTS

A, B, C = ("a" * 16, "b" * 16, "c" * 16)
FACTORY = "factory"


class Uefi:
    """A board with systemd-boot; ``boot`` is systemd-boot's own rule: boot_entry_compare and bump of its boot.c."""

    def __init__(self, mount: Path) -> None:
        self.boot_facts = {"loader": "systemd-boot", "mount": str(mount)}
        self.entries = mount / "loader" / "entries"
        self.entries.mkdir(parents=True)
        (self.entries / "factory.conf").write_text("title factory\nlinux /factory/Image\n")
        for name in (A, B, C):
            boot_set = mount / "vtool" / name[:8]
            boot_set.mkdir(parents=True)
            (boot_set / "entry.conf").write_text("sort-key 0-vtool\nversion @NUMBER@\noptions g=@GENERATION@ s=@SET@\n")
            (boot_set / "xen.cfg").write_text("kernel=Image g=@GENERATION@\n")

    def state(self, **roles: str) -> dict[str, str]:
        sets = {f"{role}_set": name[:8] for role, name in roles.items() if role != "count"}
        return {**dict.fromkeys(loader.KEYS, ""), **roles, **sets}

    def write(self, **roles: str) -> None:
        systemd_boot.write_state(self.boot_facts, self.state(**roles))

    def read(self) -> dict[str, str]:
        return systemd_boot.read_state(self.boot_facts)

    def boot(self) -> str:
        """Start what systemd-boot would, count the try, return the generation in its options."""

        def rank(path: Path) -> tuple[bool, str, int]:
            words = dict(line.split(" ", 1) for line in path.read_text().splitlines())
            left = re.search(r"\+([0-9]+)", path.name)
            return (left is not None and int(left[1]) == 0, words.get("sort-key", "~"), -int(words.get("version", "0")))

        first = min(self.entries.glob("*.conf"), key=rank)
        text = first.read_text()
        if tries := re.fullmatch(r"(.*)\+([0-9]+)(?:-([0-9]+))?\.conf", first.name):
            left, done = int(tries[2]), int(tries[3] or 0)
            first.rename(first.with_name(f"{tries[1]}+{max(left - 1, 0)}-{done + 1}.conf"))
        found = re.search(r"options g=(\w+)", text)
        return found[1] if found else FACTORY


@pytest.fixture
def board(tmp_path: Path) -> Uefi:
    return Uefi(tmp_path)


def test_nothing_is_known_of_a_board_that_vtool_never_saw(board: Uefi) -> None:
    assert board.read() == dict.fromkeys(loader.KEYS, "")
    assert board.boot() == FACTORY


def test_a_trial_boots_once_and_then_what_was_there(board: Uefi) -> None:
    board.write(trial=A)
    assert board.read() == board.state(trial=A)
    assert [board.boot(), board.boot()] == [A, FACTORY]
    assert board.read()["trial"] == ""


def test_a_confirmed_one_boots_on_and_a_new_trial_once(board: Uefi) -> None:
    board.write(trial=A)
    board.boot()
    board.write(good=A)
    board.write(good=A, trial=B)
    assert [board.boot(), board.boot()] == [B, A]
    board.write(good=B, last=A)
    assert board.read() == board.state(good=B, last=A)
    assert board.boot() == B


def test_the_same_again_on_trial_and_back(board: Uefi) -> None:
    board.write(good=B, last=A)
    board.write(good=B, last=A, trial=A)
    assert board.boot() == A
    board.write(good=A, last=B)
    assert board.read() == board.state(good=A, last=B)
    assert board.boot() == A


def test_a_good_one_that_never_comes_up_gives_way_to_the_one_before_and_that_to_the_factory(board: Uefi) -> None:
    board.write(good=B, last=A)
    assert [board.boot() for _ in range(7)] == [B, B, B, A, A, A, FACTORY]


def test_every_loader_tries_as_often() -> None:
    assert systemd_boot.TRIES == STARTS


def test_starts_are_counted_until_linux_is_up(board: Uefi) -> None:
    board.write(good=B, last=A)
    board.boot()
    board.boot()
    assert board.read()["count"] == "2"
    board.write(good=B, last=A, trial=C, count="2")
    assert board.read() == board.state(good=B, last=A, trial=C, count="2")
    board.write(good=B, last=A)
    assert board.read()["count"] == ""


def test_names_and_numbers_are_filled_in(board: Uefi) -> None:
    board.write(good=B, last=A)
    (path,) = board.entries.glob(f"vtool-*-{B}-*")
    assert path.read_text() == f"sort-key 0-vtool\nversion 2\noptions g={B} s={B[:8]}\n"
    assert (board.entries.parents[1] / "vtool" / B[:8] / f"{B}.cfg").read_text() == f"kernel=Image g={B}\n"


def test_after_a_power_cut_at_any_step_the_one_or_the_other_boots(board: Uefi, monkeypatch: Any) -> None:
    """Every write, rename and removal of a confirmation, and of a return, is the last one once."""

    class PowerCut(Exception):
        pass

    for before, after, may in (
        ({"good": B, "last": A, "trial": C}, {"good": C, "last": B}, {B, C}),
        ({"good": B, "last": A, "trial": C}, {"good": B, "last": A}, {B, C}),
        ({"good": B, "last": A}, {"good": A}, {A, B}),
        ({"good": A}, {"good": A, "last": "", "trial": B}, {A, B}),
    ):
        for steps in itertools.count():
            board.write(**before)
            left = [steps]

            def one_step(step: Any, left: list[int] = left) -> Any:
                def done(*arguments: Any) -> Any:
                    if left[0] == 0:
                        raise PowerCut
                    left[0] -= 1
                    return step(*arguments)

                return done

            with monkeypatch.context() as patched:
                patched.setattr(systemd_boot, "replace_file", one_step(systemd_boot.replace_file))
                patched.setattr(Path, "replace", one_step(Path.replace))
                patched.setattr(Path, "unlink", one_step(Path.unlink))
                try:
                    board.write(**after)
                    through = True
                except PowerCut:
                    through = False
            assert board.boot() in may, (before, after, steps)
            board.write(**after)
            assert board.read() == board.state(**after)
            systemd_boot.forget_state(board.boot_facts)
            if through:
                break
        assert steps > 1


def board_with(tmp_path: Path, name: str, files: dict[str, str]) -> tuple[dict[str, Any], Path]:
    mount = tmp_path / "boot"
    for path, text in {**files, "set/entry.scr": "vtool's", "set/loader.conf": "vtool's"}.items():
        (mount / path).parent.mkdir(parents=True, exist_ok=True)
        (mount / path).write_text(text)
    device = tmp_path / "disk"
    device.write_bytes(bytes(4096))
    return {"loader": name, "mount": str(mount), "state_device": str(device), "state_sector": 3}, mount


def text_of(mount: Path) -> dict[str, str]:
    return {
        str(path.relative_to(mount)): path.read_text()
        for path in mount.rglob("*")
        if path.is_file() and path.parent.name != "set"
    }


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("u-boot", {"boot.scr": "factory"}),
        ("u-boot", {}),
        ("u-boot", {"extlinux/extlinux.conf": "factory"}),
        ("u-boot", {"boot.scr": "factory", "boot/extlinux/extlinux.conf": "factory"}),
        ("systemd-boot", {"loader/loader.conf": "timeout 3\n", "loader/entries/f.conf": "title f\n"}),
        ("systemd-boot", {"loader/entries/f.conf": "title f\n"}),
    ],
)
def test_what_the_board_came_with_is_there_again_when_vtool_goes(
    tmp_path: Path, name: str, files: dict[str, str]
) -> None:
    boot, mount = board_with(tmp_path, name, files)
    entry = loader.of(boot).entry_path(boot)
    for _ in range(2):
        loader.install(boot, mount / "set")
        assert entry.read_text() == "vtool's"
        assert not list(mount.rglob("extlinux.conf"))
    loader.uninstall(boot)
    assert text_of(mount) == files


def test_what_comes_between_loader_and_vtool_is_named(tmp_path: Path) -> None:
    boot, mount = board_with(tmp_path, "u-boot", {"boot.scr": "factory"})
    loader.install(boot, mount / "set")
    wanted = loader.sha256_of(mount / "boot.scr")
    assert loader.changed(boot, wanted) == []
    (mount / "extlinux").mkdir()
    (mount / "extlinux/extlinux.conf").write_text("a package wrote it")
    assert loader.changed(boot, wanted) == [str(mount / "extlinux/extlinux.conf")]
    (mount / "boot.scr").write_text("somebody's")
    assert len(loader.changed(boot, wanted)) == 2
