"""Configurations of kernels and of Xen, as text: what was asked for, and what Kconfig made of it."""

from __future__ import annotations

import re


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
