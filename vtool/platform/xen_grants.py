"""Facts of Xen's grants that both who writes QEMU's options and who counts grants ask."""

from __future__ import annotations

GRANTED_REQUESTS = 64
"""The queue that vtool gives a disk of QEMU's that is granted; QEMU's own 256 would be four times the grants."""
