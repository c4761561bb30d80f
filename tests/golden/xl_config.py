"""Reads xl.cfg as xl does, and nothing more: what xl would warn of or take otherwise is refused.

From Xen's tools: libs/util/libxlu_cfg_l.l and _y.y (assignments), libxlu_disk_l.l (a disk's words),
xl/xl_parse.c parse_virtio_list (virtio), libs/light/libxl_arm.c (places).
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r'(?P<skip>[ \t]+|#[^\n]*)|(?P<word>[a-z_]\w*)|(?P<number>\d+)|"(?P<text>(?:[^"\\\n]|\\.)*)"|(?P<mark>[=\[\],\n])'
    r"|'(?P<other>(?:[^'\\\n]|\\.)*)'"
)
_PARSER = "libxlutil.so.4.17"
"""Of Debian's libxenmisc4.17 (debian-packages-dev.txt)."""
_DISK = {
    "format": {"raw"},
    "access": {"rw", "ro"},
    "backendtype": {"phy", "standalone"},
    "specification": {"virtio"},
    "grant_usage": {"0", "1"},
}
_VIRTIO = {"transport": {"mmio"}, "grant_usage": {"0", "1"}, "backend": {"0"}}
Value = str | int | list[str]


@dataclass(frozen=True)
class Place:
    """Where libxl puts a virtio device of a guest."""

    base: int
    intid: int
    grants: bool


def xl_takes(text: str) -> bool:
    """Ask xl's own parser (Xen tools/libs/util), which says 0 or an error number."""
    parser, libc = ctypes.CDLL(_PARSER), ctypes.CDLL(None)
    libc.fopen.restype = parser.xlu_cfg_init.restype = ctypes.c_void_p
    parser.xlu_cfg_init.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    parser.xlu_cfg_readdata.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    parser.xlu_cfg_destroy.argtypes = libc.fclose.argtypes = [ctypes.c_void_p]
    errors = libc.fopen(b"/dev/null", b"w")
    config = parser.xlu_cfg_init(errors, b"case")
    taken = parser.xlu_cfg_readdata(config, text.encode(), len(text.encode())) == 0
    parser.xlu_cfg_destroy(config)
    libc.fclose(errors)
    return taken


def read(text: str) -> dict[str, Value]:
    """Return the assignments of a file. ValueError where xl would stop, or a name comes twice."""
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"xl cannot read {text[at : at + 20]!r}")
        at = found.end()
        if found.lastgroup != "skip":
            kind = "text" if found.lastgroup == "other" else found.lastgroup
            tokens.append((kind, found[found.lastgroup or 0]))
    settings: dict[str, Value] = {}
    while tokens:
        kind, name = tokens.pop(0)
        if (kind, name) == ("mark", "\n"):
            continue
        if kind != "word" or tokens.pop(0) != ("mark", "=") or name in settings:
            raise ValueError(f"no assignment: {name!r}")
        settings[name] = _value(tokens)
        if tokens.pop(0) != ("mark", "\n"):
            raise ValueError(f"more behind the value of {name!r}")
    return settings


def _value(tokens: list[tuple[str | None, str]]) -> Value:
    kind, value = tokens.pop(0)
    if kind == "number":
        return int(value)
    if kind == "text":
        return re.sub(r"\\(.)", r"\1", value)
    if (kind, value) != ("mark", "["):
        raise ValueError(f"no value: {value!r}")
    found: list[str] = []
    open_for_value = True
    while True:
        kind, value = tokens.pop(0)
        if (kind, value) == ("mark", "]"):
            return found
        if (kind, value) == ("mark", "\n"):
            continue
        is_value = kind in ("text", "number") or value == "["
        if open_for_value != is_value or not (is_value or (kind, value) == ("mark", ",")):
            raise ValueError(f"not in a list: {value!r}")
        if is_value:
            tokens.insert(0, (kind, value))
            found.append(str(_value(tokens)))
        open_for_value = not open_for_value


def disk(text: str) -> dict[str, str]:
    """Return the words of one disk; ``target`` comes last and eats the rest."""
    head, mark, target = text.partition("target=")
    words = dict(word.split("=") for word in head.rstrip(",").split(","))
    vdev = words.pop("vdev", "")
    # libxlu_disk_l.l: the name of the domain that has the target.
    backend = {"backend": words.pop("backend")} if "backend" in words else {}
    if (
        not mark
        or not re.fullmatch(r"xvd[a-z]\d{0,2}", vdev)
        or any(v not in _DISK.get(k, ()) for k, v in words.items())
    ):
        raise ValueError(f"xl does not know the disk {text!r}")
    # libxl_device.c disk_try_backend: the two need each other.
    if (words["backendtype"] == "standalone") != (words.get("specification") == "virtio"):
        raise ValueError(f"standalone and virtio go together: {text!r}")
    return {**words, **backend, "vdev": vdev, "target": target}


def virtio(text: str) -> dict[str, str]:
    """Return the words of one virtio device; a type that begins with virtio has a comma in it."""
    found = re.fullmatch(r"type=(virtio,device[0-9a-f]*),(.*)", text)
    if found is None:
        raise ValueError(f"no type in {text!r}")
    words = dict(word.split("=") for word in found[2].split(","))
    if any(value not in _VIRTIO.get(key, ()) for key, value in words.items()):
        raise ValueError(f"xl does not know the virtio device {text!r}")
    return {**words, "type": found[1]}


def places(settings: dict[str, Value]) -> list[Place]:
    """Return where libxl puts the virtio devices: disks first, then the list; at most eleven."""
    listed = [settings.get(key, []) for key in ("disk", "virtio")]
    assert all(isinstance(found, list) for found in listed)
    disks = [words for text in listed[0] if (words := disk(str(text))).get("specification") == "virtio"]  # type: ignore[union-attr]
    both = [*disks, *(virtio(str(text)) for text in listed[1])]  # type: ignore[union-attr]
    if len(both) > 11:
        raise ValueError("ran out of reserved range for Virtio MMIO")
    # Without grant_usage, libxl takes it from the backend, dom0: no grants.
    return [Place(0x0200_0000 + n * 0x200, 33 + n, words.get("grant_usage") == "1") for n, words in enumerate(both)]
