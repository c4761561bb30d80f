"""Arguments of QEMU: one option and its value a line, split into words as a shell would.

QEMU system/vl.c and qemu-options.hx (7.2 to 11.1); a value of keys is util/keyval.c's, or JSON.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

from vtool.platform.extra import Format

_VTOOLS = "vtool writes it"
WRITTEN = {
    **dict.fromkeys(("name", "display", "qmp", "accel", "cpu", "numa", "serial"), _VTOOLS),
    **dict.fromkeys(("nodefaults", "no-user-config"), _VTOOLS),
    "smp": "`cpus` says it",
    "machine": "`machine` of the hypervisor says it",
    "m": "`memory` says it",
    "kernel": "`kernel` says it",
    "initrd": "`ramdisk` says it",
    "append": "`bootargs` says it",
    "bios": "`kernel` and `firmware` say it",
    "dtb": "vtool makes the tree of a guest with pools",
}
"""Options that vtool writes, and what of a topology says them; not those that may be repeated."""
REPEATED = ("object", "chardev", "global", "blockdev", "device", "netdev", "drive")
"""Options that vtool writes and that may be written again, for other things."""
_AGAINST = {
    "M": "`machine` of the hypervisor says it",
    "enable-kvm": _VTOOLS,
    "mem-path": "`memory` says it",
    "pflash": "`kernel` and `firmware` say it",
    **dict.fromkeys(("nographic", "curses", "sdl"), "the guest has no display, and its console is a socket"),
    **dict.fromkeys(("daemonize", "runas", "user", "chroot", "run-with"), "systemd starts it, in a sandbox"),
    **dict.fromkeys(("S", "preconfig", "incoming", "loadvm"), "the guest would not start from its kernel"),
    **dict.fromkeys(("readconfig", "set"), "it can change what vtool writes"),
    **dict.fromkeys(("h", "help", "version", "?"), "QEMU would print something and end"),
}
"""Options that take the place of what vtool writes, or of what its units rely on."""
_IDENTITIES = re.compile(
    r"(?:device|backend|net|disk|file-disk|random|port|region|pool|trace|pci)-.+|console|private|shared|[0-9]+"
)
"""What vtool gives for `id` and `node-name`, whatever the topology."""


def read(line: str) -> tuple[str, ...]:
    """Return an option without its hyphen, and what its value says of ids, places and properties as `key=value`.

    ValueError where it is not one option with at most one value.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"{str(error).lower()}, as a shell reads it") from None
    if not words or not re.fullmatch(r"--?[A-Za-z?][A-Za-z0-9_-]*", words[0]):
        raise ValueError("it does not begin with an option such as -device")
    if len(words) > 2:
        raise ValueError(f"`{words[2]}` stands behind the value of `{words[0]}`: one option a line, quotes keep spaces")
    option = words[0].lstrip("-")
    return (option, *_pairs(option, words[1])) if len(words) == 2 else (option,)


def _pairs(option: str, value: str) -> Iterator[str]:
    if value.startswith("{"):
        try:
            said = json.loads(value)
        except ValueError:
            raise ValueError("its value is no JSON") from None
        yield from (f"{option} {key}={text}" for key, text in said.items())
        return
    for word in re.split(r"(?<!,),(?!,)", value):
        yield f"{option} {word.replace(',,', ',')}"


def decided(said: str) -> str | None:
    """Return why an option is vtool's to write, or what of its value is taken already."""
    option, _, pair = said.partition(" ")
    if not pair:
        return WRITTEN.get(option) or _AGAINST.get(option)
    key, _, value = pair.partition("=")
    if key in ("id", "node-name") and _IDENTITIES.fullmatch(value):
        return "names like this one are vtool's own"
    if option == "drive" and (key, value) == ("if", "pflash"):
        return _AGAINST["pflash"]
    if option == "global" and key == "virtio-mmio.force-legacy":
        return _VTOOLS
    return None


OF_QEMU = Format("arguments of QEMU", "-device virtio-tablet-pci,id=pen", read, decided)
