"""What users add in the words of xl, Xen, QEMU and systemd, where a topology has no word: one module a format.

Each reads one line as its own program would, and knows which of what it names vtool writes itself. What a line does is
not known here: plans show it as not checked. The readers are vtool's own and take less than the programs do, since
rules start no processes, and xl's parser is only where Xen's tools are; the tests ask the programs themselves. Enter at
``Format``; ``OF_XL``, ``OF_NODE``, ``OF_QEMU`` are those of a domain's ``extra``, ``OF_UNITS`` that of ``unit_extra``.
"""

from __future__ import annotations

from collections.abc import Callable

from vtool.base.records import record


@record
class Format:
    """A format of lines: what they are, how one is read, and why what it names is decided already.

    ``read`` returns what a line names, the things to ask ``decided`` about; ValueError says why its program would not
    take it. ``decided`` returns what stands in the way, None where nothing does. ``once``: nothing is named twice.
    """

    what: str
    example: str
    read: Callable[[str], tuple[str, ...]]
    decided: Callable[[str], str | None]
    once: bool = False
