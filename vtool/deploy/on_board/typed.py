"""What annotations name: nothing reads those on a board, and importing ``typing`` is a tenth of a start there."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, BinaryIO
else:
    IO = Any = BinaryIO = object

__all__ = ["IO", "Any", "BinaryIO"]
