"""The start of vtool-board, which goes to the top of its one file.

Python keeps nothing of what it compiles out of such a file. Where another Python compiled what is in it, or none did,
the modules go into a folder first, where this one compiles each once a boot, not once a start.
"""

from __future__ import annotations

import os
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from zipimport import zipimporter

COMPILED_FOR, FOLDER, MODULES = b"", "", [""]  # filled in as it is packed


def unpacked(archive: str) -> list[str]:
    """Return the folder with the modules, made whole or not at all; none where it cannot be made."""
    folder = Path(FOLDER)
    new = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        if not folder.is_dir():
            (new / "on_board").mkdir(parents=True)
            read = zipimporter(archive).get_data
            for name in MODULES:
                (new / name).write_bytes(read(name))
            new.rename(folder)
    except OSError:
        import shutil

        shutil.rmtree(new, ignore_errors=True)
    return [str(folder)] if folder.is_dir() else []  # another may have been first


if COMPILED_FOR != MAGIC_NUMBER:
    sys.path[:0] = unpacked(sys.path[0])

from on_board.program import main  # type: ignore[import-not-found]  # noqa: E402

sys.exit(main())
