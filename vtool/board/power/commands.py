"""Power by commands of this machine: whatever switches the board."""

from typing import ClassVar, Literal, final

from pydantic import Field

from vtool.board.inventory_words import CommandLine
from vtool.board.power.base import PowerSettings, run_command
from vtool.board.protocols import Power


@final
class Settings(PowerSettings):
    """Three commands of this machine."""

    example: ClassVar[str] = "{on: [./switch, 'on'], off: [./switch, 'off'], status: [./is-on]}"

    driver: Literal["commands"] = "commands"
    on: CommandLine
    off: CommandLine
    status: CommandLine = Field(description="ends with 0 for on, 1 for off")

    def supply(self, board: str) -> Power:
        """Return the supply that they switch."""
        return _Commands(board, self)


class _Commands:
    can_switch = True

    def __init__(self, board: str, settings: Settings) -> None:
        self._board, self._settings = board, settings

    def on(self) -> None:
        """Run the command for on; VtoolError VT619."""
        run_command(self._board, "on", self._settings.on)

    def off(self) -> None:
        """Run the command for off; VtoolError VT619."""
        run_command(self._board, "off", self._settings.off)

    def is_on(self) -> bool:
        """Whether the command that asks says so: 0 is on, 1 is off, anything else VtoolError VT619."""
        return run_command(self._board, "status", self._settings.status, (0, 1)).returncode == 0
