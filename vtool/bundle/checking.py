"""Whether what is in a bundle follows from its topologies, and its results are of them. Enter at ``check_bundle``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from vtool.bench.cells import Prepare, Ready
from vtool.bench.matrix import digest_of
from vtool.bundle.derived import Derived, derived, facts_digest, files_in, name_in_bundle
from vtool.bundle.failures import refused
from vtool.bundle.manifest import LABS, RESULTS, Lab
from vtool.bundle.opened import Opened, lay_out
from vtool.diagnostics import VtoolError
from vtool.diagnostics.codes import declare
from vtool.files.json_text import from_json
from vtool.files.regular import read_text, reason_of
from vtool.results.run_folder import RECORDS, read_run

declare(
    "VT967",
    what="a bundle does not follow from its topologies",
    why="What is in it is not what this vtool makes of them: another vtool made it, or it was put together by hand.",
    example="a plan with another address than the topology leads to",
    fix="Check it with the vtool that made it, which the message names.",
)


def not_following(bundle: Opened, lab: Lab, ready: Ready, follows: Derived) -> list[str]:
    """Return what of a lab's members is not what ``follows`` from its topology by this vtool, in words."""
    made = {f"{lab.folder}/{name}": data for name, data in follows.files.items()}
    members = {member.path: member for member in bundle.manifest.members}
    there = {name for name in members if name.startswith(f"{lab.folder}/")}
    there -= {_generation(lab, board) for board in lab.boards}
    found = []
    if digest_of(ready.document.value) != lab.digest:
        found.append(f"{lab.topology} is another topology than the manifest says")
    planned = {board.name: board for board in ready.plan.boards}
    for name, part in lab.boards.items():
        if name not in planned:
            found.append(f"there is no board '{name}' in the topology")
        elif facts_digest(planned[name]) != part.facts_digest:
            found.append(f"the facts '{part.facts}' of board '{name}' are others")
    for name, part in lab.boards.items():
        if part.generation is not None:
            found += _not_its_generation(bundle, lab, name, part.generation)
        elif _generation(lab, name) in members:
            found.append(f"{_generation(lab, name)} follows from nothing")
        images = (name_in_bundle(lab.topology, reference) for reference in follows.images.get(name, ()))
        if name in planned and tuple(sorted(images)) != part.images:
            found.append(f"the images of board '{name}' are others")
    found += [f"board '{name}' is missing" for name in planned if name not in lab.boards]
    found += [f"{name} is missing" for name in sorted(made.keys() - there)]
    found += [f"{name} follows from nothing" for name in sorted(there - made.keys())]
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}
    return found + [f"{n} is another one" for n in sorted(made.keys() & there) if members[n].digest != digests[n]]


def _generation(lab: Lab, board: str) -> str:
    return f"{lab.folder}/{board}/generation.json"


def files_of(bundle: Opened, lab: Lab, board: str, generation: str) -> dict[str, str]:
    """Return the files that a board was to get, by ``place/name``. ValueError where the bundle does not tell."""
    try:
        said = from_json(read_text(bundle.folder / _generation(lab, board)))
    except OSError as error:
        raise ValueError(reason_of(error)) from None
    files = files_in(said)
    if said["generation"] != generation:
        raise ValueError("it is another generation than the manifest says")
    return files


def _not_its_generation(bundle: Opened, lab: Lab, board: str, generation: str) -> Iterator[str]:
    try:
        files_of(bundle, lab, board, generation)
    except ValueError as error:
        yield f"{_generation(lab, board)} cannot be used: {error}"


def check_bundle(bundle: Opened, prepare: Prepare, vtool: str) -> None:
    """Check that everything follows from the topologies, and results from their run.

    VtoolError VT967, VT965, of the topologies, and VT930, VT932 of the results; nothing is built or asked.
    """
    for lab in bundle.manifest.labs:
        topology = lay_out(bundle, lab)
        ready = prepare(topology, [bundle.folder / name for name in lab.overlays], lab.settings)
        if wrong := not_following(bundle, lab, ready, derived(ready, bundle.folder)):
            raise _does_not_follow(bundle, f"lab '{lab.id}' does not follow from its topology", vtool, wrong)
    known = {f"{lab.folder}/" for lab in bundle.manifest.labs}
    members = [member.path for member in bundle.manifest.members]
    stray = [name for name in members if name.startswith(f"{LABS}/") and not name.startswith(tuple(known))]
    if stray:
        raise _does_not_follow(bundle, f"'{stray[0]}' is of no lab", vtool, ())
    _check_results(bundle, vtool)


def _check_results(bundle: Opened, vtool: str) -> None:
    """Check that what was measured is all there, and was measured with these topologies."""
    members = {m.path: m for m in bundle.manifest.members if m.path.startswith(f"{RESULTS}/")}
    if bundle.manifest.of == "topology":
        if members:
            raise _does_not_follow(bundle, "it has results and is of no run", vtool, ())
        return
    run = read_run(bundle.folder / RESULTS)
    digests = {lab.id: lab.digest for lab in bundle.manifest.labs}
    wrong = [f"variant '{v.id}' was another topology" for v in run.run.variants if v.digest != digests.get(v.id)]
    raws = {f"{RESULTS}/{raw.path}": raw for one in run.repetitions for raw in one.raw}
    for name, raw in raws.items():
        member = members.get(name)
        if member is None or (member.digest, member.bytes) != (raw.digest, raw.bytes):
            wrong.append(f"{name} is not what was measured")
    wrong += [f"{name} is named by no record" for name in members if name not in {*raws, f"{RESULTS}/{RECORDS}"}]
    if wrong:
        raise _does_not_follow(bundle, "its results are not of its labs", vtool, wrong)


def _does_not_follow(bundle: Opened, what: str, vtool: str, detail: Sequence[str]) -> VtoolError:
    hint = f"vtool {bundle.manifest.vtool} made it, this is vtool {vtool}"
    return refused("VT967", bundle.path, what, hints=(hint,), detail=detail[:20])
