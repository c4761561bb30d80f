"""A board that stands in a lab: a place of a labgrid coordinator, with the power, console and sshd it has there.

The place is this user's while it is held; whatever ends the block gives it back. A place that the user
took before (``vtool board reserve``, ``labgrid-client acquire``) is used and stays taken.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vtool.board.inventory_file import LabgridEntry
from vtool.board.labgrid_session import SERIAL, SERVICE, Coordinator, coordinator
from vtool.board.patience import OnTime
from vtool.board.protocols import (
    BoardClock,
    Commands,
    Console,
    Media,
    NoConsole,
    NoMedia,
    NoPower,
    Power,
    SshTarget,
    Standing,
)
from vtool.board.serial_pump import SerialPump
from vtool.board.ssh_only import Identity, base_tree, wait_for_end
from vtool.diagnostics import VtoolError, board_failed, nearest
from vtool.files.own_folders import state_folder
from vtool.model.board_facts import BoardFacts

Result = TypeVar("Result")


class LabgridBoard(OnTime):
    """A board in a lab. Power, console and ssh are known while it is held."""

    driver = "labgrid"
    clock = BoardClock.REAL

    def __init__(
        self, name: str, facts: BoardFacts, entry: LabgridEntry, identity: Identity, device_tree: Path | None
    ) -> None:
        self.name = self.words = name
        self.facts = facts
        self.power: Power = NoPower()
        self.console: Console = NoConsole()
        self.media: Media = NoMedia()
        self._entry = entry
        self._identity = identity
        self._device_tree = device_tree
        self._address: tuple[str, int, str] | None = None

    @property
    def identity(self) -> str:
        """The place, or the tags by which one is chosen."""
        entry = self._entry
        return f"{entry.coordinator}/{entry.place or json.dumps(entry.tags, sort_keys=True)}"

    def exists(self) -> bool:
        """Whether the board is there: always, nobody has to make it."""
        return True

    def standing(self) -> Standing:
        """Tell which place it is and who holds it."""
        try:
            with coordinator(self._entry.coordinator) as lab:
                places = self._candidates(lab)
        except VtoolError as error:
            return Standing("unknown", None, error.diagnostics[0].message)
        told = (f"{place.name} ({_holder(place) if place.acquired else 'free'})" for place in places)
        return Standing("unknown", None, ", ".join(told))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Take the place, and give it back however the block ends; VtoolError VT605 says who else has it."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_terminated_like_ctrl_c())
            place = stack.enter_context(self._taken())
            self._learn(place, stack)
            try:
                yield
            finally:
                self.power, self.console, self.media, self._address = NoPower(), NoConsole(), NoMedia(), None

    def reserve(self) -> str:
        """Take the place and keep it after this process; returns its name. VtoolError VT605."""
        with coordinator(self._entry.coordinator) as lab:
            mine = [place.name for place in self._candidates(lab) if place.acquired == lab.me]
            return mine[0] if mine else self._take(lab)[0]

    def release(self) -> tuple[str, ...]:
        """Give back every place of this board that this user has; returns their names."""
        with coordinator(self._entry.coordinator) as lab:
            mine = [place.name for place in self._candidates(lab) if place.acquired == lab.me]
            for name in mine:
                lab.release(name)
            for reservation in lab.reservations():
                if reservation.owner == lab.me and reservation.allocations.get("main") in mine:
                    lab.cancel(reservation.token)  # or the place would wait for this user a while
        return tuple(mine)

    def ssh(self) -> SshTarget:
        """Return where to reach sshd; VtoolError VT624 when the place does not say."""
        if self._address is None:
            raise board_failed(
                "VT624", f"the place of board '{self.name}' has no {SERVICE}: nobody says where its sshd is"
            )
        return self._identity.target(self.name, *self._address)

    def base_device_tree(self, commands: Commands | None = None) -> bytes:
        """Return the file of the inventory, else what the running system was booted with. VtoolError VT620."""
        return base_tree(self, self._device_tree, commands)

    def shut_down(self, deadline_s: float) -> bool:
        """Wait until sshd has ended, and then a moment for the disks; return whether it did."""
        return wait_for_end(self.ssh(), deadline_s)

    # -- places

    def places_to_have(self) -> tuple[str, ...]:
        """Return the names of the places that it may be and nobody else has; all of them where one may be waited for.

        VtoolError VT622, VT623.
        """
        with coordinator(self._entry.coordinator) as lab:
            places = self._candidates(lab)
            free = [place.name for place in places if place.acquired in (None, "", lab.me)]
        every = tuple(place.name for place in places)
        return every if self._entry.wait_s or not free else tuple(free)

    def _candidates(self, lab: Coordinator) -> list[Any]:
        """Return the places that this board may be. VtoolError VT623 when there is none."""
        entry, places = self._entry, lab.places()
        if entry.place is not None:
            if entry.place in places:
                return [places[entry.place]]
            hints = nearest(entry.place, places) or (f"there are: {', '.join(places) or 'none'}",)
            raise board_failed("VT623", f"there is no place '{entry.place}' at {entry.coordinator}", hints=hints)
        wanted = set((entry.tags or {}).items())
        found = [place for place in places.values() if wanted <= set(place.tags.items())]
        if not found:
            tags = ", ".join(f"{key}={value}" for key, value in sorted(wanted))
            told = "; ".join(
                f"{p.name}: {', '.join(f'{k}={v}' for k, v in sorted(p.tags.items()))}" for p in places.values()
            )
            hints = (f"there are: {told or 'no places'}",)
            raise board_failed("VT623", f"no place at {entry.coordinator} has the tags {tags}", hints=hints)
        return found

    @contextlib.contextmanager
    def _taken(self) -> Iterator[str]:
        with coordinator(self._entry.coordinator) as lab:
            mine = [place.name for place in self._candidates(lab) if place.acquired == lab.me]
        if mine:
            yield mine[0]
            return
        with coordinator(self._entry.coordinator) as lab:
            place, token = self._take(lab)
        try:
            yield place
        except BaseException:
            try:
                self._give_back(place, token)
            except VtoolError as error:  # what ended the block matters more
                print(f"place '{place}' could not be released: {error}", file=sys.stderr)  # noqa: T201
            raise
        self._give_back(place, token)

    def _give_back(self, place: str, token: str | None) -> None:
        with _uninterrupted(), coordinator(self._entry.coordinator) as lab:
            lab.release(place)
            if token is not None:
                lab.cancel(token)

    def _take(self, lab: Coordinator) -> tuple[str, str | None]:
        """Reserve a place, wait for it as long as the inventory says, acquire it. VtoolError VT605, VT625.

        Returns the place, and the reservation's token unless the user had made one with labgrid-client.
        """
        entry = self._entry
        names = {place.name for place in self._candidates(lab)}
        for reservation in lab.reservations():  # made with labgrid-client: the user's own, to be used
            if reservation.owner == lab.me and (place := reservation.allocations.get("main")) in names:
                lab.acquire(place)
                return str(place), None
        reservation = lab.reserve({"name": entry.place} if entry.place else dict(entry.tags or {}))
        taken: str | None = None
        try:
            place = lab.await_allocation(reservation, time.monotonic())
            if place is None:
                if entry.wait_s:
                    print(f"waiting for {self._held_by(lab)}", file=sys.stderr)  # noqa: T201
                    place = lab.await_allocation(reservation, time.monotonic() + entry.wait_s)
                if place is None:
                    raise self._not_free(lab)
            taken = place
            lab.acquire(place)
        except BaseException:
            with _uninterrupted(), contextlib.suppress(VtoolError):
                if taken is not None:  # the answer may have been on its way
                    lab.release(taken)
            with _uninterrupted(), contextlib.suppress(VtoolError):
                lab.cancel(reservation.token)
            raise
        return taken, str(reservation.token)

    def _held_by(self, lab: Coordinator) -> str:
        owners = {reservation.allocations.get("main"): reservation.owner for reservation in lab.reservations()}
        return ", ".join(
            f"place '{place.name}', {_holder(place) if place.acquired else f'reserved for {_user(owners[place.name])}'}"
            for place in self._candidates(lab)
            if place.acquired or place.name in owners
        )

    def _not_free(self, lab: Coordinator) -> VtoolError:
        waited = f" after {self._entry.wait_s} s" if self._entry.wait_s else ""
        return board_failed(
            "VT605",
            f"board '{self.name}' is not free{waited}: {self._held_by(lab)}",
            hints=("ask for it, or say in the inventory how long to wait: `wait_s: 600`",),
        )

    # -- what the place has

    def _learn(self, place: str, stack: contextlib.ExitStack) -> None:
        with coordinator(self._entry.coordinator) as lab:
            service, serial = lab.one(place, SERVICE), lab.one(place, SERIAL)
            if service is not None:
                args = service[1].args
                if args.get("extra", {}).get("proxy_required"):
                    raise board_failed("VT624", f"the {SERVICE} of place '{place}' is behind an isolated exporter")
                self._address = (str(args["address"]), int(args.get("port", 22)), str(args["username"]))
            if lab.power_class(place) is not None:
                self.power = _LabgridPower(self._entry.coordinator, place)
            if lab.media_class(place) is not None:
                self.media = _LabgridMedia(self._entry.coordinator, place)
            if serial is not None:
                log = state_folder() / "consoles" / f"{self.name}.log"
                try:
                    self.console = stack.enter_context(SerialPump(self.name, lab.serial(place), log))
                except VtoolError as error:
                    self.console = _DeafConsole(error)


class _LabgridPower:
    """The supply of a place, through the driver that labgrid has for it."""

    can_switch = True

    def __init__(self, address: str, place: str) -> None:
        self._address = address
        self._place = place

    def on(self) -> None:
        """Switch on; VtoolError VT619."""
        self._act(lambda driver: driver.on())

    def off(self) -> None:
        """Switch off; VtoolError VT619."""
        self._act(lambda driver: driver.off())

    def is_on(self) -> bool:
        """Whether the supply is on; true where it cannot tell."""

        def get(driver: Any) -> bool:
            try:
                return bool(driver.get())
            except NotImplementedError:
                return True

        return self._act(get)

    def _act(self, act: Callable[[Any], Result]) -> Result:
        with coordinator(self._address) as lab:
            return lab.power(self._place, act)


class _LabgridMedia:
    """The boot medium of a place, through the drivers that labgrid has for it."""

    can_write = True

    def __init__(self, address: str, place: str) -> None:
        self._address = address
        self._place = place

    def write(self, image: Path) -> None:
        """Write an image; VtoolError VT619 in the driver's words, VT627 when it does not fit."""
        with coordinator(self._address) as lab:
            lab.write_media(self._place, image)


class _DeafConsole(NoConsole):
    """A console that is there and could not be opened: says why where a tail is asked for."""

    can_join = True

    def __init__(self, error: VtoolError) -> None:
        self._error = error

    def tail(self, lines: int) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        """Return why there is none."""
        found = self._error.diagnostics[0]
        return (f"no console: {found.message}", *found.detail)

    def interact(self) -> int:
        """Raise what stood in the way."""
        raise self._error


def _user(name: str) -> str:
    host, _, user = name.partition("/")
    return f"'{user}' on '{host}'"


def _holder(place: Any) -> str:
    return f"held by {_user(place.acquired)} since {time.strftime('%Y-%m-%d %H:%M', time.localtime(place.changed))}"


@contextlib.contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: with what has to be given back."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with _handling(signal.SIGTERM, end):
        yield


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off for calls that have deadlines of their own."""
    with _handling(signal.SIGTERM, signal.SIG_IGN), _handling(signal.SIGINT, signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(number: signal.Signals, handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
