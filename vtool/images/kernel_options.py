"""How a kernel was built, read from the image itself (CONFIG_IKCONFIG). Bytes in, mapping out."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping

_START, _END = b"IKCFG_ST", b"IKCFG_ED"


def kernel_options(image: bytes) -> Mapping[str, str] | None:
    r"""Return option -> ``y``, ``m`` or a value; unset options are absent.

    None when the image carries no configuration. Raises ValueError when it is not an arm64 kernel
    (Linux Documentation/arch/arm64/booting.rst: magic ``ARM\x64`` at offset 56).
    """
    if image[:2] == b"\x1f\x8b":
        try:
            image = gzip.decompress(image)
        except (OSError, EOFError, zlib.error):
            raise ValueError("not a kernel: a damaged gzip file") from None
    if image[56:60] != b"ARM\x64":
        raise ValueError("not an arm64 kernel image (no magic at offset 56)")
    start, end = image.find(_START), image.find(_END)
    if start < 0 or end < start:
        return None
    try:
        text = gzip.decompress(image[start + len(_START) : end]).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None
    return options_in(text)


def options_in(text: str) -> Mapping[str, str]:
    """Return the options a configuration text sets."""
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name.removeprefix("CONFIG_"): value.strip('"') for name, value in pairs}


def dropped_options(wanted: str, resulting: str) -> list[str]:
    """Return what a configuration text asks for and the resulting one does not have, as ``CONFIG_X=value``."""
    asked: dict[str, str] = {}
    for line in wanted.splitlines():
        if match := re.match(r"(CONFIG_\w+)=(.+)", line):
            asked[match[1]] = match[2]
        elif match := re.match(r"# (CONFIG_\w+) is not set", line):
            asked[match[1]] = "n"
    got = dict(re.findall(r"^(CONFIG_\w+)=(.+)$", resulting, re.MULTILINE))
    return [f"{name}={value}" for name, value in asked.items() if got.get(name, "n") != value]
