"""A labgrid coordinator, for as long as one question takes: places, reservations, resources, drivers.

Uses labgrid's own client session, protocol messages and drivers; docs/adr/0007-labgrid.md says why. A
session is opened for each question and closed after it, as labgrid-client does: nothing of gRPC is left
when vtool starts other processes, and a coordinator that restarts in between is not noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vtool.diagnostics import VtoolError, board_failed

Result = TypeVar("Result")

_ONE_AT_A_TIME = threading.Lock()
"""labgrid keeps its resource managers per process, and gRPC does not like an event loop a thread."""

_CONNECT_DEADLINE_S = 15.0
_CALL_DEADLINE_S = 30.0
_POLL_S = 0.5

_POWER_DRIVERS: Mapping[str, str] = {
    "NetworkPowerPort": "NetworkPowerDriver",
    "PDUDaemonPort": "PDUDaemonDriver",
    "NetworkUSBPowerPort": "USBPowerDriver",
    "NetworkSiSPMPowerPort": "SiSPMPowerDriver",
    "TasmotaPowerPort": "TasmotaPowerDriver",
    "NetworkYKUSHPowerPort": "YKUSHPowerDriver",
}
"""As ``labgrid-client power`` chooses them."""
_MEDIA_SWITCHES: Mapping[str, str] = {
    "NetworkUSBSDMuxDevice": "USBSDMuxDriver",
    "NetworkUSBSDWireDevice": "USBSDWireDriver",
    "NetworkUSBSDWire3Device": "USBSDWire3Driver",
}
"""What hands a card to the exporter's host and back to the board; a plain storage device is at the host for good."""
_MEDIA = ("NetworkUSBMassStorage", *_MEDIA_SWITCHES)
SERVICE, SERIAL = "NetworkService", "NetworkSerialPort"


class Coordinator:
    """An open session. ``me`` is how labgrid names this user: host/user."""

    def __init__(self, address: str, session: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._address = address
        self._session = session
        self._loop = loop
        self.me = f"{session.gethostname()}/{session.getuser()}"

    def places(self) -> Mapping[str, Any]:
        """Return the places by name."""
        return dict(sorted(self._session.places.items()))

    def reservations(self) -> list[Any]:
        """Return all reservations, as labgrid's protocol has them."""
        return list(self._call("GetReservations", "GetReservationsRequest").reservations)

    def reserve(self, filters: Mapping[str, str]) -> Any:
        """Ask for a place with these tags."""
        messages = _messages()
        main = messages.Reservation.Filter(filter=dict(filters))
        return self._call("CreateReservation", "CreateReservationRequest", filters={"main": main}, prio=0.0).reservation

    def await_allocation(self, reservation: Any, deadline: float) -> str | None:
        """Return the place that a reservation was given, None past the deadline (``time.monotonic()``)."""
        while True:
            if place := reservation.allocations.get("main"):
                return str(place)
            if time.monotonic() >= deadline:
                return None
            self._loop.run_until_complete(asyncio.sleep(_POLL_S))
            reservation = self._call("PollReservation", "PollReservationRequest", token=reservation.token).reservation

    def cancel(self, token: str) -> None:
        """Give a reservation back."""
        self._call("CancelReservation", "CancelReservationRequest", token=token)

    def acquire(self, place: str) -> None:
        """Take a place; VtoolError VT625 in the coordinator's words, also when a resource of it is missing."""
        from labgrid.remote.client import Error  # noqa: PLC0415

        try:
            self._session.check_matches(self._session.places[place])
        except Error as error:
            hints = ("is the exporter running?",)
            raise board_failed("VT625", f"place '{place}' is not complete: {error.args[0]}", hints=hints) from None
        self._call("AcquirePlace", "AcquirePlaceRequest", placename=place)
        self._wait(self._session.sync_with_coordinator)

    def release(self, place: str) -> None:
        """Give a place back if it is this user's."""
        self._call("ReleasePlace", "ReleasePlaceRequest", placename=place, fromuser=self.me)

    def resources(self, place: str) -> dict[tuple[str, str], Any]:
        """Return the resources of an acquired place by name and class."""
        from labgrid.remote.client import Error  # noqa: PLC0415

        try:
            return dict(self._session.get_target_resources(self._session.places[place]))
        except Error as error:
            raise board_failed("VT625", str(error.args[0])) from None

    def one(self, place: str, *classes: str) -> tuple[str, Any] | None:
        """Return class and entry of the one resource of these classes, None without one. VtoolError VT624 for two."""
        found = [(cls, name, entry) for (name, cls), entry in self.resources(place).items() if cls in classes]
        if len(found) > 1:
            names = ", ".join(f"'{name}' ({cls})" for cls, name, _ in found)
            raise board_failed("VT624", f"place '{place}' has several resources of one kind: {names}")
        return (found[0][0], found[0][2]) if found else None

    def power_class(self, place: str) -> str | None:
        """Return the class of the place's supply, None without one that vtool can switch."""
        found = self.one(place, *_POWER_DRIVERS)
        return found[0] if found else None

    def power(self, place: str, act: Callable[[Any], Result]) -> Result:
        """Do something with the driver of the place's supply. VtoolError VT619 in the driver's words."""
        return self._with_driver(place, _POWER_DRIVERS[self.power_class(place) or ""], act)

    def media_class(self, place: str) -> str | None:
        """Return the class of the place's boot medium, None without one."""
        found = self.one(place, *_MEDIA)
        return found[0] if found else None

    def write_media(self, place: str, image: Path) -> None:
        """Write an image to the place's boot medium. VtoolError VT619, VT627 for one too large."""

        def write(driver: Any) -> None:
            size, room = image.stat().st_size, driver.get_size()
            if size > room:
                raise board_failed("VT627", f"'{image}' has {size} bytes, the medium of place '{place}' has {room}")
            driver.write_image(str(image))

        switch = _MEDIA_SWITCHES.get(self.media_class(place) or "")
        if switch is not None:
            self._with_driver(place, switch, lambda driver: driver.set_mode("host"))
        self._with_driver(place, "USBStorageDriver", write)
        if switch is not None:
            self._with_driver(place, switch, lambda driver: driver.set_mode("dut"))

    def serial(self, place: str) -> Any:
        """Open the place's serial port and return it (pyserial). VtoolError VT619."""
        return self._with_driver(place, "SerialDriver", lambda driver: driver.serial)

    def _with_driver(self, place: str, name: str, act: Callable[[Any], Result]) -> Result:
        from labgrid import Target  # noqa: PLC0415
        from labgrid.factory import target_factory  # noqa: PLC0415
        from labgrid.resource.common import ResourceManager  # noqa: PLC0415
        from labgrid.resource.remote import RemotePlace, RemotePlaceManager  # noqa: PLC0415

        ResourceManager.instances.pop(RemotePlaceManager, None)  # the one of an earlier session
        manager = RemotePlaceManager.get()
        manager.session, manager.loop = self._session, self._loop
        target = Target(place)
        try:
            RemotePlace(target, name=place)
            driver = target_factory.class_from_string(name)(target, name=None)
            target.activate(driver)
            return act(driver)
        except VtoolError:
            raise
        except Exception as error:  # what a driver raises is nowhere listed
            said = without_secrets(str(error) or type(error).__name__).splitlines()
            raise board_failed("VT619", f"place '{place}': labgrid's {name} failed", detail=said[-5:]) from None

    def _call(self, method: str, request: str, **fields: Any) -> Any:
        import grpc  # noqa: PLC0415

        message = getattr(_messages(), request)(**fields)
        try:
            return self._wait(lambda: getattr(self._session.stub, method)(message))
        except grpc.aio.AioRpcError as error:
            raise board_failed("VT625", f"labgrid refuses {method}: {error.details()}") from None

    def _wait(self, call: Callable[[], Any]) -> Any:
        async def answer() -> Any:  # gRPC takes its loop from where it is called
            return await asyncio.wait_for(call(), _CALL_DEADLINE_S)

        try:
            return self._loop.run_until_complete(answer())
        except TimeoutError:
            raise _no_coordinator(self._address, f"no answer within {_CALL_DEADLINE_S:.0f} s") from None


@contextlib.contextmanager
def coordinator(address: str) -> Iterator[Coordinator]:
    """Talk to a coordinator. VtoolError VT621 without labgrid, VT622 when it does not answer."""
    # gRPC would write about every process that vtool starts while it is loaded, and crash some (grpc/grpc#43055).
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc  # noqa: PLC0415
        from labgrid.remote.client import ClientSession, ensure_event_loop  # noqa: PLC0415
        from labgrid.remote.generated import labgrid_coordinator_pb2_grpc  # noqa: PLC0415
        from labgrid.util.proxy import proxymanager  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("labgrid", "grpc"):
            raise
        raise board_failed("VT621", "labgrid is not installed", hints=("pip install 'vtool[lab]'",)) from None

    loop = asyncio.new_event_loop()

    async def start() -> Any:
        session = ClientSession(proxymanager.get_grpc_address(address, default_port=20408), loop)
        await session.close()
        # A connection of its own: gRPC hands on that of the session before, and labgrid's coordinator fails
        # when it has not yet seen that one end.
        session.channel = grpc.aio.insecure_channel(session.address, [("grpc.use_local_subchannel_pool", 1)])
        session.stub = labgrid_coordinator_pb2_grpc.CoordinatorStub(session.channel)
        await asyncio.wait_for(session.start(), _CONNECT_DEADLINE_S)
        return session

    session = None
    with _ONE_AT_A_TIME, _captured_log() as said:
        try:
            ensure_event_loop(loop)
            session = _run(loop, start(), address, said)
            yield Coordinator(address, session, loop)
        finally:
            if session is not None:
                with contextlib.suppress(Exception):  # the coordinator may be gone; there is nothing left to do
                    session.stopping.set()
                    loop.run_until_complete(asyncio.wait_for(session.stop(), _CONNECT_DEADLINE_S))
                    loop.run_until_complete(asyncio.wait_for(session.close(), _CONNECT_DEADLINE_S))
            _end(loop)


def _run(loop: asyncio.AbstractEventLoop, start: Coroutine[Any, Any, Any], address: str, said: list[str]) -> Any:
    from labgrid.remote.client import ServerError  # noqa: PLC0415

    try:
        return loop.run_until_complete(start)
    except (ServerError, TimeoutError, OSError) as error:
        reason = said[-1] if said else str(error) or f"no answer within {_CONNECT_DEADLINE_S:.0f} s"
        raise _no_coordinator(address, reason) from None


def _no_coordinator(address: str, reason: str) -> VtoolError:
    hints = ("start it, or correct `coordinator` in the inventory",)
    return board_failed("VT622", f"labgrid's coordinator at {address} does not answer: {reason}", hints=hints)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            loop.run_until_complete(task)
    loop.close()


@contextlib.contextmanager
def _captured_log() -> Iterator[list[str]]:
    """Keep labgrid's log off the terminal: what matters of it is in the errors."""
    said: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(without_secrets(record.getMessage()))

    keeper, root = Keeper(level=logging.ERROR), logging.getLogger()
    root.addHandler(keeper)
    try:
        yield said
    finally:
        root.removeHandler(keeper)


def without_secrets(text: str) -> str:
    """Return a driver's words without what stands before the @ of a URL."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def _messages() -> Any:
    from labgrid.remote.generated import labgrid_coordinator_pb2  # noqa: PLC0415

    return labgrid_coordinator_pb2
