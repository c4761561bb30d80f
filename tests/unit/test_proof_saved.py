"""A proof as data: what a generation keeps judges as what was planned, and what nobody can judge says so."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vtool.cli.common import prepare
from vtool.deploy.proof import Proof, Row, proofs, steps_of
from vtool.deploy.proof.judges import Judge
from vtool.deploy.proof.saved import from_json, none_kept, to_json

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "topology" / "examples").glob("*.yaml"))
NAMES = ("kvm-queues", "foreign-guests", "kvm-own-kernel", "xen-disks", "xen-networks")
MORE = [ROOT / "tests" / "topologies" / f"{name}.yaml" for name in NAMES]
POOL = ROOT / "topology" / "examples" / "kvm-pool.yaml"
MIB = 1 << 20
WORDS = ("active", "alive", "0", "537", "DMA-FQ", "", "a" * 64, f"{'a' * 64}\n{'a' * 64}", "0" * 32 + "11" + "0" * 30)


def of(path: Path) -> list[Proof]:
    return [proof for board in prepare(path, keep=False).plan.boards for proof in proofs(board)]


def changed(change: Any) -> list[Proof]:
    """Read a proof back whose file a change was made to."""
    said = json.loads(to_json(of(POOL)))
    change(said)
    return from_json(json.dumps(said))


def results(found: list[Proof], chance: random.Random) -> Iterator[tuple[str, Any]]:
    """Yield for most steps what a board may say of it."""
    for step in steps_of(found):
        number, yes = chance.choice((0, 1, 16 * MIB)), chance.random() < 0.5
        name = chance.choice(("/memfd:memory", "/dev/xen/gntdev", "/dev/xen/privcmd"))
        look = {"gntdev": number, "privcmd": 2, "secret": 0, "control": number, "mapped": 1, "refused": 0, "frame": ""}
        kinds: dict[str, dict[str, Any]] = {
            "qmp": {"answers": [[{"id": "private", "size": number, "share": yes}]]},
            "maps": {"shared": [{"name": name, "identity": "0:1", "size_bytes": number}]},
            "offers": {"VIRTIO_F_VERSION_1": True, "VIRTIO_F_IOMMU_PLATFORM": yes},
            "kernel-option": {"value": "y"},
            "granted": {"granted": number, "pages": 9, "secret": 0, "control": number, "complete": yes},
            "beside": {"code": 0, "output": f"{json.dumps(look)}\n{json.dumps(look)}"},
            "reach": {
                "secret_shared": 0,
                "secret_own": int(not yes),
                "control_shared": number,
                "control_own": 0,
                "searched_bytes": number,
                "objects": [{"size_bytes": number}],
                "unread": [],
            },
        }
        kind = "beside" if step["id"].startswith("beside-") else step["op"]
        if step.get("commands") == [{"execute": "query-version"}]:
            yield step["id"], {"answers": [{"qemu": {"major": 10, "minor": 0, "micro": number}}]}
        elif chance.random() < 0.9:
            yield step["id"], kinds.get(kind, {"code": 0, "output": chance.choice(WORDS), "digest": "a" * 64})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_a_generation_keeps_judges_as_what_was_planned(path: Path) -> None:
    planned = of(path)
    kept = from_json(to_json(planned))
    assert kept == planned and steps_of(kept) == steps_of(planned) and to_json(kept) == to_json(planned)
    proven: set[bool] = set()
    for seed in range(20):
        said = dict(results(planned, random.Random(seed)))
        rows = [proof.read(said) for proof in kept]
        assert rows == [proof.read(said) for proof in planned]
        proven |= {row.proven for row in rows}
    assert proven == {True, False}


def test_every_judge_is_one_of_an_example_and_on_the_page() -> None:
    used = {proof.judge.name for path in (*EXAMPLES, *MORE) for proof in of(path)}
    closed = prepare(ROOT / "topology/examples/xen-grant.yaml", settings=["domains.fe0.access=none"], keep=False)
    used |= {proof.judge.name for proof in proofs(closed.plan.boards[0])}
    assert used == set(Judge.known)
    page = (ROOT / "docs" / "reference" / "proof-format.md").read_text()
    rows = [
        [cell.strip(" ") for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")
    ][2:]
    told = [
        [f"`{name}`", ", ".join(f"`{field}`" for field in judge.model_fields), _first_line(judge)]
        for name, judge in sorted(Judge.known.items())
    ]
    assert rows == told


def _first_line(judge: type[Judge]) -> str:
    return " ".join((judge.__doc__ or "").partition("\n\n")[0].split()).replace("``", "`")


def one_row(found: list[Proof], what: str) -> Row:
    (proof,) = (proof for proof in found if proof.what == what)
    return proof.read({})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"judge": "of-tomorrow", "step": "unit-fe0"}, "it has no judge 'of-tomorrow'"),
        (
            {"judge": "one-of", "step": "unit-fe0", "expected": "", "values": [], "within_s": 3},
            "its judge 'one-of' has other parameters (within_s)",
        ),
        ({"judge": "one-of"}, "its judge 'one-of' has other parameters (step, expected, values)"),
    ],
)
def test_a_row_that_this_vtool_cannot_judge_says_so(change: dict[str, Any], why: str) -> None:
    def put(said: dict[str, Any]) -> None:
        row = next(row for row in said["rows"] if row["what"] == "its unit is active")
        row["judge"] = change

    found = changed(put)
    row = one_row(found, "its unit is active")
    assert row.failed and row.seen == f"cannot be judged by this vtool: {why}"
    assert [p for p in found if p.what != row.what] == [p for p in of(POOL) if p.what != row.what]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda said: said.update(format=2), "its format is 2"),
        (lambda said: said.pop("rows"), "it is not what vtool writes (ValidationError)"),
        (lambda said: said["steps"].clear(), "it is not what vtool writes (KeyError)"),
    ],
)
def test_a_proof_of_another_format_is_one_row_that_is_not_proven(change: Any, why: str) -> None:
    (proof,) = changed(change)
    row = proof.read({})
    assert row.failed and row.seen == f"cannot be judged by this vtool: {why}" and proof.steps == ()


def test_what_is_no_json_is_no_traceback() -> None:
    assert [proof.read({}).failed for text in ("", "[]", "null", "{") for proof in from_json(text)] == [True] * 4


def test_a_generation_without_a_proof_says_so() -> None:
    (proof,) = none_kept("0123")
    assert proof.read({}).failed and proof.read({}).subject == "generation 0123"
    noted, *others = none_kept("0123", of(POOL))
    assert noted.read({}).noted and not noted.read({}).failed and others == of(POOL)


def test_steps_come_in_order_and_once() -> None:
    first, second = of(POOL)[:2]
    both = dataclasses.replace(first, steps=(*second.steps, *first.steps))
    assert [step["id"] for step in json.loads(to_json([both, second]))["steps"]] == [
        step["id"] for step in (*second.steps, *first.steps)
    ]
