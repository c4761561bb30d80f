"""What the names of a board's cores say of it."""

from __future__ import annotations

import pytest

from tests.errors.test_errors import HERE, found_in
from vtool.model.board_facts import BoardFacts
from vtool.model.cores import CORES, kinds, physical_address_bits, vector_bits
from vtool.model.validate import known_facts, load_facts


def facts_with(*cores: str, base: int = 0x4000_0000) -> BoardFacts:
    return BoardFacts.model_validate_json(
        load_facts("qemu-virt")
        .facts.model_copy(
            update={
                "cpus": len(cores) or 2,
                "cpu_nodes": tuple(
                    load_facts("rpi4").facts.cpu_nodes[0].model_copy(update={"path": f"/cpus/cpu@{n}", "compatible": c})
                    for n, c in enumerate(cores)
                ),
                "ram": (load_facts("qemu-virt").facts.ram[0].model_copy(update={"base": base}),),
            }
        )
        .model_dump_json()
    )


@pytest.mark.parametrize(
    ("cores", "base", "bits"),
    [
        (("arm,cortex-a72",), 0, 44),
        (("arm,cortex-a72", "arm,cortex-a53"), 0, 40),
        (("arm,cortex-a53", "arm,cortex-a72"), 0, 40),
        (("arm,neoverse-n1",), 0, 48),
        ((), 0, 40),
        (("qcom,kryo485",), 0, 40),
        (("qcom,kryo485",), 1 << 42, 43),
        (("qcom,kryo485", "arm,neoverse-n1"), 0, 40),
        (("arm,cortex-a78",), 5 << 40, 43),
        (("qcom,kryo485", "arm,cortex-a53"), 0, 40),
    ],
)
def test_the_least_of_the_cores_counts(cores: tuple[str, ...], base: int, bits: int) -> None:
    assert physical_address_bits(facts_with(*cores, base=base))[0] == bits


def test_vectors_are_those_that_all_cores_have() -> None:
    assert vector_bits(facts_with("arm,neoverse-v1")) == (256, "arm,neoverse-v1")
    assert vector_bits(facts_with("arm,cortex-x3", "arm,cortex-a78")) == (0, "arm,cortex-a78")
    assert vector_bits(facts_with("qcom,kryo485")) is None
    assert vector_bits(facts_with()) is None


def test_no_board_has_ram_that_its_cores_cannot_reach() -> None:
    for name in known_facts():
        facts = load_facts(name).facts
        assert all(bank.range.end <= 1 << physical_address_bits(facts)[0] for bank in facts.ram), name
        assert len(kinds(facts)) in (0, facts.cpus)


def test_numbers_are_ones_that_the_architecture_has() -> None:
    assert {bits for bits, _ in CORES.values()} <= {32, 36, 40, 42, 44, 48, 52}
    assert all(vector % 128 == 0 and vector <= 2048 for _, vector in CORES.values())


def test_what_is_written_already_is_not_advised() -> None:
    for case, advised in (("VT357-kept-on-both-kinds", True), ("VT357-moves-between-kinds", False)):
        (hints,) = {found.hints for found in found_in(HERE / f"{case}.yaml") if "`host_cpus` of 'fe0'" in found.message}
        assert any("of one kind with CPU 0 are 0-1" in hint for hint in hints)
        assert any("`hmp-unsafe=1`" in hint for hint in hints) == advised
