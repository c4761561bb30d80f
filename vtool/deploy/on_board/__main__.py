"""The start of vtool-board, which goes to the top of its one file.

Python keeps nothing of what it compiles out of such a file. So the modules go into a folder first, where they are
compiled once a boot, not once a start.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path


def unpacked(archive: Path) -> Path:
    """Return the folder with the modules, made whole or not at all; the file itself where it cannot be made."""
    folder = Path("/run", f"vtool-board-{hashlib.sha256(archive.read_bytes()).hexdigest()[:16]}")
    if not folder.is_dir():
        import shutil
        from zipimport import zipimporter

        read = zipimporter(str(archive)).get_data
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        try:
            (new / "on_board").mkdir(parents=True)
            for name in read("modules").decode().split():
                (new / name).write_bytes(read(name))
            new.rename(folder)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
    return folder if folder.is_dir() else archive  # another may have been first


sys.path[0] = str(unpacked(Path(sys.path[0])))

from on_board.program import main  # type: ignore[import-not-found]  # noqa: E402

sys.exit(main())
