"""Looking on the board: who says nothing is waited for once, and what a VMM offers is read of its properties."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import socket
from typing import Any

import pytest

from vtool.deploy.on_board import observe
from vtool.deploy.on_board.base import BoardError
from vtool.deploy.on_board.talk import SilentError

DEVICE = "/machine/peripheral/device-disk0"
MMIO, PCI = "/machine/unattached/device[39]", "/machine/unattached/device[5]"
PROPERTIES: dict[str, dict[tuple[str, str], Any]] = {
    "mmio": {
        (DEVICE, "parent_bus"): f"{MMIO}/virtio-mmio-bus.31",
        (MMIO, "force-legacy"): False,
        (DEVICE, "iommu_platform"): True,
    },
    "legacy": {
        (DEVICE, "parent_bus"): f"{MMIO}/virtio-mmio-bus.0",
        (MMIO, "force-legacy"): True,
        (DEVICE, "iommu_platform"): False,
    },
    "pci": {
        (DEVICE, "parent_bus"): f"{PCI}/pcie.0",
        (DEVICE, "disable-modern"): False,
        (DEVICE, "iommu_platform"): True,
    },
    "another QEMU": {},
}


def seen(monkeypatch: pytest.MonkeyPatch, steps: list[dict[str, Any]]) -> dict[str, Any]:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"steps": steps})))
    results: dict[str, Any] = observe.verb_observe(argparse.Namespace())["results"]
    return results


@pytest.mark.parametrize("fault", [TimeoutError("timed out"), BoardError("VT710", "no answer")])
def test_a_domain_and_its_vmm_are_each_waited_for_once(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    asked: list[str] = []

    def silent(step: dict[str, Any]) -> dict[str, Any]:
        asked.append(step["id"])
        raise fault

    for operation in ("qmp", "offers"):
        monkeypatch.setitem(observe.OPERATIONS, operation, silent)
    monkeypatch.setitem(observe.OPERATIONS, "domain", lambda step: {"code": 0, "output": "alive"})
    steps = [
        {"id": f"{operation}-{domain}", "op": operation, "domain": domain}
        for domain in ("fe0", "fe1")
        for operation in ("qmp", "offers", "qmp", "domain")
    ]
    results = seen(monkeypatch, steps)
    assert asked == ["qmp-fe0", "qmp-fe1"]
    assert results["offers-fe0"]["error"]["message"] == "QEMU of domain 'fe0' had not answered before"
    assert results["domain-fe0"]["output"] == results["domain-fe1"]["output"] == "alive"


@pytest.mark.parametrize(
    ("device", "offered"),
    [("mmio", (True, True)), ("legacy", (False, False)), ("pci", (True, True)), ("another QEMU", (False, False))],
)
def test_what_is_offered_is_read_of_the_device_and_its_transport(
    monkeypatch: pytest.MonkeyPatch, device: str, offered: tuple[bool, bool]
) -> None:
    def answer(_: str, commands: list[dict[str, Any]]) -> list[Any]:
        (command,) = commands
        assert command["execute"] == "qom-get"
        asked = command["arguments"]
        return [PROPERTIES[device].get((asked["path"], asked["property"]), {"class": "GenericError"})]

    monkeypatch.setattr(observe, "qmp", answer)
    monkeypatch.setattr(observe, "manifest", lambda: {"domains": {"fe0": {"qmp": "socket"}}})
    found = seen(monkeypatch, [{"id": "offers", "op": "offers", "domain": "fe0", "device": "device-disk0"}])["offers"]
    assert (found["VIRTIO_F_VERSION_1"], found["VIRTIO_F_IOMMU_PLATFORM"]) == offered


def test_what_a_domains_silence_cost_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([SilentError("domain 'fe0' did not answer 'true' in time"), BoardError("VT709", "in use")])

    def fail(_: dict[str, Any]) -> dict[str, Any]:
        raise next(said)

    monkeypatch.setitem(observe.OPERATIONS, "domain", fail)
    steps = [{"id": f"{name}{n}", "op": "domain", "domain": name} for name in ("fe0", "fe1") for n in (1, 2)]
    results = seen(monkeypatch, steps)
    assert {name: result["silent"] for name, result in results.items()} == {
        "fe01": True, "fe02": True, "fe11": False, "fe12": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "waited"), [(errno.ECONNREFUSED, True), (errno.EHOSTUNREACH, True), (errno.ENETUNREACH, False)]
)
def test_a_domain_that_is_about_to_have_its_address_is_waited_for(
    said: int, waited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = list[int]()

    def create_connection(*_: object, **__: object) -> socket.socket:
        tries.append(said)
        if len(tries) < 3:
            raise OSError(said, os.strerror(said))
        return socket.socket()

    monkeypatch.setattr(observe.socket, "create_connection", create_connection)
    step = {"id": "s", "address": "192.0.2.2", "port": 7003}
    if waited:
        observe.connect(step).close()
        assert len(tries) == 3
    else:
        with pytest.raises(OSError, match=os.strerror(said)):
            observe.connect(step)
        assert len(tries) == 1
