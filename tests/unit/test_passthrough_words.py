"""What is said of nodes that are passed through is true of clocks and UARTs, too, which do no DMA."""

from __future__ import annotations

from tests.errors.test_errors import HERE, found_in
from vtool.diagnostics import Severity


def test_consent_is_to_the_dma_that_there_is() -> None:
    hints = {hint for found in found_in(HERE / "VT360-no-iommu.yaml") for hint in found.hints}
    assert any("if it does DMA, 'be0' then reaches all memory by it" in hint for hint in hints), hints


def test_what_is_no_device_and_what_the_board_needs() -> None:
    found = {one.message.split("'")[1]: one for one in found_in(HERE / "VT416-no-devices.yaml")}
    assert found["/apb-pclk"].severity is Severity.WARNING
    assert "has no unit address" in found["/apb-pclk"].message
    assert "holds the board's watchdog" in found["/pcie@10000000"].message
    assert "a table of names of the tree" in found["/__symbols__"].message
    assert "how the firmware is called" in found["/firmware/optee"].message
