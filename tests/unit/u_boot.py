"""As much of U-Boot as vtool's scripts need: its shell, its variables, one disk with a FAT, and its environment.

What it writes can be cut off before any write (``PowerCut``), and what it starts ends it (``Started``). Commands that a
board's U-Boot is built without are unknown to it, as to the real one (common/command.c: it says so and fails).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

SECTOR = 512
_WORD = re.compile(r"""[ \t]*(;|\n|#[^\n]*|(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s;'"\\])+)""", re.DOTALL)


class PowerCut(Exception):
    """The power is gone."""


class Started(Exception):
    """A kernel was started; the argument is its command line."""


class UBoot:
    """A board in its boot loader: ``boot`` is a start from power on to a kernel."""

    def __init__(self, boot: Path, disk: Path, lacks: tuple[str, ...] = ()) -> None:
        self.partition, self.disk, self.lacks = boot, disk, lacks
        self.saved: dict[str, str] = {}
        self.unharmed: int | None = None
        self.variables: dict[str, str] = {}
        self.memory: dict[int, bytes] = {}

    def boot(self) -> str:
        """Start as distro_bootcmd and bootstd do; return the command line of the kernel that is started."""
        self.variables = {**self.saved, "devtype": "mmc", "devnum": "0", "distro_bootpart": "1"}
        self.variables |= {"kernel_addr_r": "80000", "ramdisk_addr_r": "5700000", "fdt_addr_r": "5600000"}
        self.memory = {}
        try:
            self.script((self.partition / "boot.scr").read_text())
        except Started as started:
            return str(started)
        return "nothing"

    # -- the shell

    def script(self, text: str) -> bool:
        """Run a script; return how its last command ended."""
        words = [found[1] for found in _WORD.finditer(text) if not found[1].startswith("#")]
        return self._block(iter(["\n" if word == ";" else word for word in words]), runs=True)[0]

    def _block(self, words: Iterator[str], *, runs: bool) -> tuple[bool, str]:
        """Run commands until a word ends the block; return how the last one ended, and that word."""
        ended, command = True, list[str]()
        for word in words:
            if not command and word == "if":
                ended = self._if(words, runs=runs)
            elif not command and word in ("then", "else", "fi"):
                return ended, word
            elif word == "\n":
                ended = self._command(command) if command and runs else ended
                command = []
            else:
                command.append(word)
        return (self._command(command) if command and runs else ended), ""

    def _if(self, words: Iterator[str], *, runs: bool) -> bool:
        true, word = self._block(words, runs=runs)
        assert word == "then"
        ended, word = self._block(words, runs=runs and true)
        if word == "else":
            other, word = self._block(words, runs=runs and not true)
            ended = ended if true else other
        assert word == "fi"
        return ended if runs else True

    def _command(self, words: list[str]) -> bool:
        expanded = [found for word in words for found in self._expand(word)]
        name = expanded[0]
        function: Callable[..., bool] | None = getattr(self, f"_do_{name}", None)
        if function is None or name in self.lacks or " ".join(expanded[:2]) in self.lacks:
            return False
        return function(*expanded[1:])

    def _expand(self, word: str) -> list[str]:
        if word.startswith("'"):
            return [word[1:-1]]
        quoted = '"' in word
        text = re.sub(r"\$\{(\w+)\}", lambda m: self.variables.get(m[1], ""), word.replace('"', ""))
        text = re.sub(r"\\(.)", r"\1", text)
        return [text] if quoted else text.split()

    # -- commands

    def _do_echo(self, *_: str) -> bool:
        return True

    def _do_setenv(self, name: str, *values: str) -> bool:
        self.variables.pop(name, None)
        if values:
            self.variables[name] = " ".join(values)
        return True

    def _do_setexpr(self, name: str, left: str, _: str, right: str) -> bool:
        self.variables[name] = f"{int(left, 16) + int(right, 16):x}"
        return True

    def _do_test(self, *words: str) -> bool:
        match words:
            case ("-n", text):
                return text != ""
            case ("-z", text):
                return text == ""
            case (left, "=", right):
                return left == right
            case (left, "!=", right):
                return left != right
        raise AssertionError(words)

    def _do_itest(self, left: str, operator: str, right: str) -> bool:
        assert operator == "-gt"
        return int(left, 16) > int(right, 16)

    def _do_run(self, name: str) -> bool:
        return self.script(self.variables[name])

    def _do_source(self, address: str) -> bool:
        data = self.memory[int(address, 16)]
        return self.script(data[72:].decode() if data.startswith(b"\x27\x05\x19\x56") else data.decode())

    def _do_load(self, _: str, place: str, address: str, path: str) -> bool:
        assert place == "0:1"
        file = self.partition / path.lstrip("/")
        if not file.exists():
            return False
        self.memory[int(address, 16)] = file.read_bytes()
        self.variables["filesize"] = f"{file.stat().st_size:x}"
        return True

    def _do_save(self, _: str, place: str, address: str, path: str, size: str) -> bool:
        assert place == "0:1"
        self._writes()
        (self.partition / path).write_bytes(self.memory[int(address, 16)][: int(size, 16)])
        return True

    def _do_mmc(self, action: str, address: str, sector: str, count: str) -> bool:
        assert count == "1"
        with self.disk.open("r+b") as stream:
            stream.seek(int(sector, 16) * SECTOR)
            if action == "read":
                self.memory[int(address, 16)] = stream.read(SECTOR)
            else:
                self._writes()
                stream.write(self.memory[int(address, 16)])
        return True

    def _do_env(self, action: str, *words: str) -> bool:
        if action == "export":
            _, _, size, address, *names = words
            text = "".join(f"{name}={self.variables[name]}\n" for name in names if name in self.variables)
            self.memory[int(address, 16)] = text.encode().ljust(int(size, 16), b"\0")
            return True
        _, address, size, *names = words
        length = int(size, 16) if re.fullmatch("[0-9a-f]+", size) else 0  # no ${filesize}: a name stands there
        text = self.memory.get(int(address, 16), b"")[:length].split(b"\0")[0].decode(errors="replace")
        pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        self.variables |= {name: pairs[name] for name in names if name in pairs}
        return True

    def _do_saveenv(self) -> bool:
        self._writes()
        self.saved = dict(self.variables)
        return True

    def _do_sysboot(self, _: str, place: str, kind: str, address: str, path: str) -> bool:
        if not (self.partition / path.lstrip("/")).exists():
            return False
        raise Started(f"sysboot {path}")

    def _do_booti(self, *_: str) -> bool:
        raise Started(self.variables["bootargs"])

    def _writes(self) -> None:
        if self.unharmed is not None:
            if self.unharmed == 0:
                raise PowerCut
            self.unharmed -= 1
