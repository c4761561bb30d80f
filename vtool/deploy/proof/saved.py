"""``proof.json``: a proof as a generation keeps it, so that whoever looks later asks what this generation has to show.

    {"format": 1, "steps": [{"id", "op", ...}], "rows": [{"subject", "what", "steps": [id], "judge": {"judge", ...}}]}

Steps are what vtool-board runs, in order, each once. A row's judge has its name and its parameters
(``vtool.deploy.proof.judges``). What this vtool has no judge for is a row that is not proven, and says why.
Enter at ``to_json`` and ``from_json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vtool.data_paths import modules
from vtool.deploy.proof.judges import Judge, Results, Verdict
from vtool.deploy.proof.steps import Proof, Step, steps_of

NAME = "proof.json"
FORMAT = 1


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)
    subject: str
    what: str
    steps: tuple[str, ...]
    judge: dict[str, Any]
    required: bool = False
    if_used: bool = False


class _Saved(BaseModel):
    model_config = ConfigDict(frozen=True)
    steps: tuple[Step, ...]
    rows: tuple[_Row, ...]


class Unjudged(Judge):
    """Stands for a judge that this vtool does not have: nothing is proven."""

    why: str

    def judge(self, _: Results) -> Verdict:
        """Say why nothing was judged."""
        return Verdict("what the vtool that deployed it expects", f"cannot be judged by this vtool: {self.why}", False)


class NoneKept(Judge):
    """Tells that a generation keeps no proof; ``instead`` is what is asked of it then, nothing if it is empty."""

    instead: str

    def judge(self, _: Results) -> Verdict:
        """Note what is asked instead; without anything, nothing is proven."""
        return Verdict("steps and what they have to show", f"none{self.instead}", False, noted=bool(self.instead))


def none_kept(generation: str, instead: Sequence[Proof] = ()) -> list[Proof]:
    """Return what is asked of a generation without a proof, as older vtools deployed them: what is given ``instead``.

    A row before it says so. It notes something, or, where nothing is given, fails.
    """
    words = ": this is what the topology asks now" if instead else ""
    return [Proof(f"generation {generation}", "the proof that it keeps", (), NoneKept(instead=words)), *instead]


def to_json(found: Sequence[Proof]) -> str:
    """Write a proof as a generation keeps it; the same proof gives the same text."""
    rows = [
        {
            "subject": proof.subject,
            "what": proof.what,
            "steps": [step["id"] for step in proof.steps],
            "judge": {"judge": proof.judge.name, **proof.judge.model_dump(mode="json")},
            **{key: True for key in ("required", "if_used") if getattr(proof, key)},
        }
        for proof in found
    ]
    return json.dumps({"format": FORMAT, "steps": steps_of(found), "rows": rows}, indent=1) + "\n"


def from_json(text: str) -> list[Proof]:
    """Read a proof that this vtool, or another one, wrote; what it cannot judge are rows, never an error."""
    try:
        said = json.loads(text)
        if said["format"] != FORMAT:
            return [_unreadable(f"its format is {said['format']}")]
        saved = _Saved.model_validate(said)
        steps = {step["id"]: step for step in saved.steps}
        return list(_rows(saved.rows, steps))
    except (ValueError, KeyError, TypeError) as error:
        return [_unreadable(f"it is not what vtool writes ({type(error).__name__})")]


def _rows(rows: Sequence[_Row], steps: Mapping[str, Step]) -> Iterator[Proof]:
    for row in rows:
        asked = tuple(steps[identity] for identity in row.steps)
        yield Proof(row.subject, row.what, asked, _judge(row.judge), required=row.required, if_used=row.if_used)


def _judge(said: Mapping[str, Any]) -> Judge:
    modules("proof")  # the judges of their own
    name, parameters = said.get("judge"), {key: value for key, value in said.items() if key != "judge"}
    known = Judge.known.get(str(name))
    if known is None:
        return Unjudged(why=f"it has no judge '{name}'")
    try:
        return known.model_validate(parameters)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        return Unjudged(why=f"its judge '{name}' has other parameters ({wrong})")


def _unreadable(why: str) -> Proof:
    return Proof("proof", "its steps and what they have to show", (), Unjudged(why=why))
