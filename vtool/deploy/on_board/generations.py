"""Generations on the board: laid out beside the running one, tried, confirmed, taken back, forgotten.

A generation is complete and named by its content. ``/var/lib/vtool/generations/ID`` holds its files, a
folder on the boot partition its boot set, ``store/`` every object by digest. What runs is a link in /run
that a systemd generator makes at boot from the kernel's command line: nothing on a disk has to be changed
to switch, and a power cut at any moment boots the last confirmed generation. ``loader`` says which.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from . import delta, disks, interpreters, loader, own_files, surroundings
from .base import (
    BOARD,
    CURRENT,
    FOLDER,
    STORE,
    BoardError,
    boot_id,
    free_bytes,
    kernel_word,
    read_json,
    replace_file,
    replace_link,
    run,
    sha256_of,
)
from .boot_partition import make_sound
from .networks import refuse_networks
from .typed import IO, Any

GENERATIONS = FOLDER / "generations"
PENDING = FOLDER / "pending.json"
HISTORY = FOLDER / "history.jsonl"
HISTORY_LINES = 100
RUNNING = Path("/run/vtool-current")
PROGRAM = Path("/usr/local/sbin/vtool-board")
UNIT_GENERATOR = Path("/etc/systemd/system-generators/vtool-generator")
LINKED_BYTES = 1 << 20
"""Files of at least this size are links to their object in the store, smaller ones are copies."""


# ---------------------------------------------------------------- what is there


def load_generation(identity: str) -> dict[str, Any] | None:
    """Return a generation file that is on the board, or None."""
    return read_json(GENERATIONS / identity / "generation.json") if identity else None


def running_id() -> str:
    """Return the generation that runs: the one switched to, else the one booted; empty for none."""
    return os.readlink(RUNNING).rsplit("/", 1)[-1] if RUNNING.is_symlink() else ""


def running_generation() -> dict[str, Any] | None:
    """Return the generation file of what runs, or None."""
    return load_generation(running_id())


def booted_set() -> str:
    """Return the boot set the running kernel came from."""
    return kernel_word("vtool.boot")


def current_state() -> dict[str, str]:
    """Return the boot state, empty when vtool never deployed here."""
    boot = read_json(BOARD)
    return loader.of(boot).read_state(boot) if boot else dict.fromkeys(loader.KEYS, "")


def summary() -> dict[str, Any]:
    """Return what runs, what would boot, and what is not as it was deployed."""
    running, state = running_generation(), current_state()
    identity = running_id()
    deployed = {"topology": "?", "generation": identity, "boot_set": booted_set()} if identity else None
    drift = ["generation.json"] if identity and not running else []
    if running:
        deployed = {key: running[key] for key in ("topology", "generation", "boot_set")}
        drift += damaged_files(running) + changed_entry(running) + disks.lost(running)
    if state["good"] not in ("", identity):
        good = load_generation(state["good"])
        names = damaged_files(good) if good else ["generation.json"]
        drift += [f"last good generation: {name}" for name in names]
    return {
        "deployed": deployed,
        "confirmed": identity != "" and state["good"] == identity,
        "good": state["good"],
        "last": state["last"],
        "trial": state["trial"],
        "booted_set": booted_set(),
        "damaged": drift,
    }


def placed_path(generation: dict[str, Any], file: dict[str, Any]) -> Path:
    """Return where a file of a generation lies on the board."""
    if file["place"] == "boot":
        return boot_folder(generation) / str(generation["boot_set"]) / str(file["name"])
    return GENERATIONS / str(generation["generation"]) / str(file["name"])


def boot_folder(generation: dict[str, Any]) -> Path:
    """Return vtool's folder on the boot partition."""
    return Path(generation["boot"]["mount"]) / "vtool"


def damaged_files(generation: dict[str, Any]) -> list[str]:
    """Return files of a generation whose content is not what was deployed."""
    return [file["name"] for file in generation["files"] if sha256_of(placed_path(generation, file)) != file["sha256"]]


def changed_entry(generation: dict[str, Any]) -> list[str]:
    """Return what keeps the loader from vtool's way in."""
    boot = generation["boot"]
    name = loader.of(boot).ENTRY
    return loader.changed(boot, next(file["sha256"] for file in generation["files"] if file["name"] == name))


# ---------------------------------------------------------------- asking


def verb_compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read a generation file from stdin; say what the board lacks of it and what making it run would change.

    Changes nothing of any generation. Raises VT705, VT706, VT716, or what ``refuse_networks`` does.
    """
    generation = json.load(sys.stdin)
    running = running_generation()
    same = running is not None and running["generation"] == generation["generation"]
    damaged = damaged_files(running) + changed_entry(running) + disks.lost(running) if running and same else []
    answer = {
        "running": running_id(),
        "current": same and booted_set() == generation["boot_set"] and not damaged,
        "confirmed": current_state()["good"] == generation["generation"],
        "damaged": damaged,
        "reboot": booted_set() != generation["boot_set"],
        "restart": units_to_restart(running, generation, damaged),
        "changes": list(changes(running, generation)),
        "boot_id": boot_id(),
        "uplinks": uplinks(generation),
        "missing": [],
        "missing_bytes": 0,
        "bases": {},
    }
    if answer["current"]:
        return answer
    surroundings.require(generation, boots=answer["reboot"])
    refuse_networks(generation.get("networks", []), (running or {}).get("networks", []))
    if not arguments.look_only:
        make_sound(Path(generation["boot"]["mount"]))
    check_writable(generation)
    if not arguments.look_only:
        collect_garbage(generation)
    older = older_generations()
    disks.check(generation, running, older)
    images = disks.images(generation, running)
    objects = {**{file["sha256"]: file["size_bytes"] for file in generation["files"]}, **images}
    lacking = {digest: size for digest, size in objects.items() if sha256_of(STORE / digest) != digest}
    missing = sorted(lacking.keys() - own_files.digests(generation))
    answer["missing"], answer["missing_bytes"] = missing, sum(objects[digest] for digest in missing)
    of_files = sum(size for digest, size in lacking.items() if digest not in images)
    check_space(generation, of_files, may_forget=not arguments.look_only)
    if not arguments.look_only:
        answer["bases"], answer["unpacks"] = dict(bases(generation, set(missing), older)), delta.unpacks()
    return answer


def bases(
    wanted: dict[str, Any], missing: set[str], older: list[dict[str, Any] | None]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each large missing object for which the board has an older file of the same name, with that."""
    yield from disks.bases(wanted, missing, older)
    for file in wanted["files"]:
        if file["sha256"] not in missing or file["size_bytes"] < delta.LEAST_BYTES:
            continue
        of_same_name = (
            other["sha256"]
            for generation in older
            if generation
            for other in generation["files"]
            if (other["place"], other["name"]) == (file["place"], file["name"])
        )
        if base := delta.first_base((STORE / found, f"store/{found}") for found in of_same_name):
            yield file["sha256"], base


def older_generations() -> list[dict[str, Any] | None]:
    """Return what runs and what may be gone back to."""
    state = current_state()
    return [load_generation(identity) for identity in (running_id(), state["good"], state["last"])]


def changes(before: dict[str, Any] | None, after: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield each file that differs between two generations: its place, name and what happens to it."""
    old = {(f["place"], f["name"]): f for f in before["files"]} if before else {}
    new = {(f["place"], f["name"]): f for f in after["files"]}
    for key in sorted({*old, *new}):
        was, will = old.get(key), new.get(key)
        if was is None or will is None or (was["sha256"], was["mode"]) != (will["sha256"], will["mode"]):
            change = "added" if was is None else "removed" if will is None else "changed"
            yield {"place": key[0], "name": key[1], "change": change}


def units_to_restart(before: dict[str, Any] | None, after: dict[str, Any], damaged: list[str]) -> list[str]:
    """Return units that are gone or made of other files in the new generation, or of files changed by hand."""
    old = {} if before is None else before["units"]
    users = {unit for file in after["files"] if file["name"] in damaged for unit in file["used_by"]}
    lost = [disk for disk in disks.files(after) if f"disk {disk.get('name')}" in damaged]
    users |= {unit for disk in lost for unit in disk.get("units", ())}
    return sorted({unit for unit in old if old[unit] != after["units"].get(unit)} | users)


def check_writable(generation: dict[str, Any]) -> None:
    """Raise VT716 when a file system is read-only, or vtool's folder is not on the root file system."""
    mount = Path(generation["boot"]["mount"])
    for path in (FOLDER.parent, mount):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            hint = "look at the board's kernel log for what made it so; nothing was changed"
            raise BoardError("VT716", f"the file system of {path} is read-only", [hint])
    if FOLDER.parent.stat().st_dev != Path("/").stat().st_dev:
        hint = "units are read from there before other file systems are mounted"
        raise BoardError("VT716", f"{FOLDER.parent} is not on the root file system", [hint])
    if not mount.is_mount():
        raise BoardError("VT716", f"{mount} is not the boot partition: nothing is mounted there", [f"mount {mount}"])


def check_space(generation: dict[str, Any], objects_bytes: int, *, may_forget: bool) -> None:
    """Raise VT705 when the objects (twice where they are copied), new disks or boot files do not fit.

    Images are not among ``objects_bytes``: they become disks.

    Before that, the generation before the last good one is given up if it may be.
    """
    disks_bytes = disks.needed_bytes(generation, running_generation())
    wanted = [(FOLDER, 2 * objects_bytes + disks_bytes + (8 << 20))]
    if not (boot_folder(generation) / generation["boot_set"]).exists():
        boot_bytes = sum(f["size_bytes"] for f in generation["files"] if f["place"] == "boot")
        wanted.append((Path(generation["boot"]["mount"]), boot_bytes + (1 << 20)))
    state = current_state()
    if may_forget and any(free_bytes(path) < size for path, size in wanted) and state["last"] not in ("", running_id()):
        loader.of(generation["boot"]).write_state(generation["boot"], {**state, "last": "", "last_set": ""})
        collect_garbage(generation)
    for path, size in wanted:
        free = free_bytes(path)
        if free < size:
            raise BoardError(
                "VT705",
                f"the board's disk is full: {path} has {free >> 20} MiB free, {size >> 20} MiB are needed, "
                f"{((size - free) >> 20) + 1} MiB more",
                ["free space on the board, or make disks smaller; nothing was changed"],
            )


# ---------------------------------------------------------------- putting a generation there


def verb_apply(arguments: argparse.Namespace) -> dict[str, Any]:
    """Lay the generation on stdin out, whose objects are in the store, and run it unconfirmed.

    Where another system must boot for it, it is set to boot once and ``reboot`` is true; else it runs when
    this returns, with its units stopped. Until ``confirm``, any boot leads back to the last good one.
    """
    generation = json.load(sys.stdin)
    running = running_generation()
    check_space(generation, 0, may_forget=True)
    disks.check(generation, running, older_generations())
    same = running is not None and running["generation"] == generation["generation"]
    damaged = damaged_files(running) + disks.lost(running) if running and same else []
    told = disks.changed(generation, running, laid_out=False)
    own_files.take(generation, STORE)
    surroundings.note_places(generation)
    lay_out(generation)
    install_entry(generation)
    make_users_and_disks(generation)
    os.sync()  # all of it is on the disks before anything refers to it
    remember("applied", generation, arguments)
    answer = try_generation(generation, damaged)
    return {"changed": not same, "notes": told, **answer}


def try_generation(generation: dict[str, Any], damaged: list[str]) -> dict[str, Any]:
    """Make a generation that is laid out run without confirming it; say whether the board must reboot for it."""
    running = running_generation()
    reboot = booted_set() != generation["boot_set"]
    restart = units_to_restart(running, generation, damaged)
    confirmed = current_state()["good"] == generation["generation"]
    if not confirmed:
        replace_file(PENDING, json.dumps({"generation": generation["generation"]}).encode())
    if reboot:
        identity = {"trial": generation["generation"], "trial_set": generation["boot_set"]}
        loader.of(generation["boot"]).write_state(generation["boot"], {**current_state(), **identity})
        restart = sorted({*restart, *(running["units"] if running else ())})
    else:
        switch(generation, restart)
        if not confirmed:
            run("systemctl", "restart", "vtool-revert.timer")
    return {"generation": generation["generation"], "reboot": reboot, "restarted": restart}


def verb_receive(_: argparse.Namespace) -> dict[str, Any]:
    """Take objects into the store from stdin, each named by its digest; VT707 for one that is not it."""
    STORE.mkdir(parents=True, exist_ok=True)
    received = 0
    try:
        while True:
            line = sys.stdin.buffer.readline(1 << 16)
            if line == delta.END:
                return {"received_bytes": received}
            head = json.loads(line)
            received += take_object(Path(head["object"]).name, head, sys.stdin.buffer)
    except (ValueError, KeyError, TypeError, EOFError) as error:  # delta.Damaged among them
        raise BoardError("VT707", f"the objects did not arrive completely: {error}", ["deploy again"]) from None


def take_object(name: str, head: dict[str, Any], stream: IO[bytes]) -> int:
    """Write one object beside the store's, and into it if its digest is its name; return its size.

    Nothing waits for a disk: what a power cut leaves in the store is not what its name says, and `compare` sees that.
    """
    temporary = STORE / f"{name}.partial"
    try:
        with temporary.open("wb") as out:  # buffered: a raw write takes a part where a disk has no room for all
            digest = delta.receive(stream, head, FOLDER / head["base"] if head["base"] else None, out)
        if digest != name:
            raise BoardError("VT707", f"object {name[:16]} arrived damaged", ["deploy again"])
        temporary.rename(STORE / name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return int(head["size_bytes"])


def lay_out(generation: dict[str, Any]) -> None:
    """Write a generation's files and its boot set beside what is there; put right what was changed by hand.

    It is for the caller to sync before anything refers to them. A power cut before that may leave folders with files
    that are not whole: nothing boots them, and the next time they are put right here.
    """
    content = json.dumps(generation, sort_keys=True).encode()
    folders = (
        ("generation", GENERATIONS / generation["generation"]),
        ("boot", boot_folder(generation) / generation["boot_set"]),
    )
    for place, folder in folders:
        files = [file for file in generation["files"] if file["place"] == place]
        if folder.exists():
            for file in files:
                if sha256_of(folder / file["name"]) != file["sha256"]:
                    place_object(file, folder / file["name"])
            if place == "generation":
                replace_file(folder / "generation.json", content)
            continue
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in files:
            place_object(file, partial / file["name"])
        if place == "generation":
            (partial / "generation.json").write_bytes(content)
        partial.rename(folder)


def place_object(file: dict[str, Any], target: Path) -> None:
    """Put one object out of the store in its place, in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source, temporary = STORE / file["sha256"], target.with_name(target.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    if file["place"] == "generation" and file["size_bytes"] >= LINKED_BYTES and file["mode"] == 0o644:
        os.link(source, temporary)
    else:
        shutil.copyfile(source, temporary)
        temporary.chmod(file["mode"])
    temporary.rename(target)


def make_users_and_disks(generation: dict[str, Any]) -> None:
    """Make the system users, and the disks that are not there yet."""
    run("systemd-sysusers", str(GENERATIONS / generation["generation"] / "sysusers.conf"))
    disks.make(generation, running_generation())


def install_entry(generation: dict[str, Any]) -> None:
    """Put vtool's two ways in: what the loader reads first, and the generator of units."""
    replace_file(BOARD, json.dumps(generation["boot"]).encode())
    if not CURRENT.is_symlink() or os.readlink(CURRENT) != str(RUNNING):
        replace_link(CURRENT, RUNNING)
    folder = GENERATIONS / generation["generation"]
    replace_file(UNIT_GENERATOR, (folder / "unit-generator").read_bytes(), 0o755)
    loader.install(generation["boot"], boot_folder(generation) / generation["boot_set"])


def switch(generation: dict[str, Any], stop: list[str]) -> None:
    """Make a generation run whose boot set runs already; its units are there, not started."""
    if stop:
        run("systemctl", "stop", *stop, check=False)
    replace_link(RUNNING, GENERATIONS / generation["generation"])
    run("systemctl", "daemon-reload")


# ---------------------------------------------------------------- keeping it, or going back


def verb_confirm(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the running generation the one that boots from now on; VT717 when it is another one than named."""
    running, state = running_generation(), current_state()
    if running is None or running["generation"] != arguments.generation:
        raise BoardError("VT717", f"generation {arguments.generation} does not run, '{running_id()}' does")
    if state["good"] != running["generation"]:
        state["last"], state["last_set"] = state["good"], state["good_set"]
        remember("confirmed", running, arguments)
    state.update(good=running["generation"], good_set=running["boot_set"], trial="", trial_set="", count="")
    loader.of(running["boot"]).write_state(running["boot"], state)
    settled()
    collect_garbage()
    interpreters.collect()
    return {"generation": running["generation"], "last": state["last"]}


def verb_revert(arguments: argparse.Namespace) -> dict[str, Any]:
    """Go back from an unconfirmed generation to the last good one; ``reboot`` says whether a boot does that."""
    running, state, boot = running_generation(), current_state(), read_json(BOARD)
    if boot is None or (state["good"] and state["good"] == running_id()):
        settled()
        return {"generation": state["good"], "reboot": False, "reverted": False}
    if running:
        remember("taken back", running, arguments)
    settled()
    if not state["good"]:
        loader.of(boot).forget_state(boot)
        reboot = booted_set() not in ("", "factory")
    else:
        loader.of(boot).write_state(boot, {**state, "trial": "", "trial_set": ""})
        good = load_generation(state["good"])
        # What cannot be read is left to a boot, which needs nothing of it but its units.
        reboot = good is None or booted_set() != good["boot_set"]
        if good is not None and not reboot:
            switch(good, units_to_restart(running, good, []))
            run("systemctl", "start", "--no-block", "vtool.target", check=False)
    if reboot and arguments.reboot:
        run("systemctl", "--no-block", "reboot")
    return {"generation": state["good"], "reboot": reboot, "reverted": True}


def verb_rollback(arguments: argparse.Namespace) -> dict[str, Any]:
    """Try an older generation again: the one named, else the one confirmed before the last good one."""
    state, running = current_state(), running_id()
    wanted = arguments.generation or (state["good"] if running != state["good"] else state["last"])
    found = [name for name in known_ids() if wanted and name.startswith(wanted)]
    if len(found) != 1:
        what = "there is no earlier generation" if not wanted else f"no generation, or several, named '{wanted}'"
        raise BoardError("VT717", f"{what} on this board", ["see: vtool generations"])
    generation = load_generation(found[0])
    if generation is None or damaged_files(generation):
        raise BoardError("VT717", f"generation {found[0]} is damaged", ["deploy its topology again"])
    disks.require_there(generation)
    if found[0] == running:
        raise BoardError("VT717", f"generation {found[0]} runs already")
    told = disks.changed(generation, running_generation(), laid_out=True)
    remember("rolled back to", generation, arguments)
    tried = try_generation(generation, [])
    about = {"topology": generation["topology"], "boot_id": boot_id(), "uplinks": uplinks(generation), "notes": told}
    return {**about, **tried}


def uplinks(generation: dict[str, Any]) -> list[str]:
    """Return the bridges of a generation that an interface of the board is in, which vtool put there."""
    return [one["name"] for one in generation.get("networks", []) if one.get("uplink")]


def verb_keep(_: argparse.Namespace) -> dict[str, Any]:
    """Leave what runs running though it is not confirmed; any boot still leads back to the last good one."""
    run("systemctl", "stop", "vtool-revert.timer", check=False)
    return {"generation": running_id()}


def verb_reboot(_: argparse.Namespace) -> dict[str, Any]:
    """Reboot, once this has been answered."""
    run("systemctl", "--no-block", "reboot")
    return {}


def verb_booted(_: argparse.Namespace) -> dict[str, Any]:
    """Note after a boot that the system is up: a generation on trial has its time to be confirmed now."""
    identity, state, boot, pending = running_id(), current_state(), read_json(BOARD), read_json(PENDING)
    if not identity or boot is None:
        return {}
    if pending and pending["generation"] != identity:
        failed = load_generation(pending["generation"])
        if failed:
            remember("did not come up", failed, None)
        settled()
    elif pending:
        run("systemctl", "start", "vtool-revert.timer")
    elif identity == state["last"] != state["good"]:
        good = load_generation(state["good"])
        if good:
            remember("does not boot", good, None)
        state.update(good=state["last"], good_set=state["last_set"], last="", last_set="")
    loader.of(boot).write_state(boot, {**state, "count": ""})
    return {"generation": identity, "trial": bool(pending)}


def settled() -> None:
    """Note that nothing is on trial any more."""
    with contextlib.suppress(FileNotFoundError):
        PENDING.unlink()
    run("systemctl", "stop", "vtool-revert.timer", check=False)


def remember(event: str, generation: dict[str, Any], arguments: argparse.Namespace | None) -> None:
    """Add a line to the history; the time is the controller's, since a board's clock may be anything."""
    line = {
        "event": event,
        "generation": generation["generation"],
        "topology": generation["topology"],
        "at": getattr(arguments, "at", ""),
        "by": getattr(arguments, "by", ""),
        "reason": getattr(arguments, "reason", ""),
    }
    lines = [*history_lines()[1 - HISTORY_LINES :], json.dumps(line)]
    replace_file(HISTORY, "".join(f"{text}\n" for text in lines).encode())


def history_lines() -> list[str]:
    """Return the history's lines, oldest first; those that a failing disk spoiled are left out."""
    try:
        lines = HISTORY.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if is_json(line)]


def is_json(line: str) -> bool:
    """Whether a line is an object."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def known_ids() -> list[str]:
    """Return the generations that are on the board."""
    return sorted(
        path.parent.name for path in GENERATIONS.glob("*/generation.json") if ".partial" not in path.parts[-2]
    )


def verb_generations(_: argparse.Namespace) -> dict[str, Any]:
    """Say which generations are on the board, which role each has, and what happened here."""
    state, running = current_state(), running_id()
    listed = []
    for identity in known_ids():
        generation = load_generation(identity) or {}
        roles = [role for role in ("good", "last", "trial") if state[role] == identity]
        listed.append(
            {
                "generation": identity,
                "topology": generation.get("topology", ""),
                "boot_set": generation.get("boot_set", ""),
                "running": identity == running,
                "roles": roles,
                "damaged": damaged_files(generation) if generation else ["generation.json"],
            }
        )
    return {"generations": listed, "history": [json.loads(line) for line in history_lines()]}


def verb_proof(_: argparse.Namespace) -> dict[str, Any]:
    """Give back the text of what the running generation is proven by, null where it keeps none.

    Raises VT717 for one that was changed by hand.
    """
    running = running_generation()
    kept = [file for file in running["files"] if file["name"] == "proof.json"] if running else []
    if running is None or not kept:
        return {"proof": None}
    path = placed_path(running, kept[0])
    if sha256_of(path) != kept[0]["sha256"]:
        message = f"the proof of generation {running['generation']} is damaged: {path} is not as it was deployed"
        raise BoardError("VT717", message, ["deploy its topology again"])
    return {"proof": path.read_text()}


def collect_garbage(wanted: dict[str, Any] | None = None) -> None:
    """Remove generations, boot sets, objects and disks that nothing can lead back to, nor a ``wanted`` one needs."""
    boot, state = read_json(BOARD), current_state()
    if boot is None:
        return
    pending = read_json(PENDING) or {}
    kept_ids = {running_id(), kernel_word("vtool.generation"), pending.get("generation", "")}
    kept_ids |= {state["good"], state["last"], state["trial"]}
    kept = [generation for generation in map(load_generation, sorted(kept_ids)) if generation]
    sets = {generation["boot_set"] for generation in kept} | {booted_set()}
    sets |= {state["good_set"], state["last_set"], state["trial_set"]}
    for folder, names in ((GENERATIONS, kept_ids), (Path(boot["mount"]) / "vtool", sets)):
        for child in folder.glob("*/"):
            if child.name not in names:
                shutil.rmtree(child, ignore_errors=True)
    if any((GENERATIONS / identity).exists() for identity in kept_ids - {"", *(g["generation"] for g in kept)}):
        return  # one that is kept cannot be read, so nobody knows which objects it needs
    disks.collect(kept)
    objects = {file["sha256"] for generation in (*kept, *([wanted] if wanted else [])) for file in generation["files"]}
    objects |= {disk["image"]["sha256"] for disk in disks.files(wanted) if disk.get("image")}
    for item in STORE.glob("*"):
        if item.name not in objects:
            item.unlink()


def verb_clean(_: argparse.Namespace) -> dict[str, Any]:
    """Remove everything vtool put on the board, disks and this program included; say whether a reboot is due."""
    running, boot = running_generation(), read_json(BOARD)
    if running is not None:
        run("systemctl", "stop", "vtool.target", *running["units"], "vtool-revert.timer", check=False)
    for path in (UNIT_GENERATOR, RUNNING):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", check=False)
    if boot is not None:
        loader.uninstall(boot)
        shutil.rmtree(Path(boot["mount"]) / "vtool", ignore_errors=True)
    reboot, left = booted_set() not in ("", "factory"), disks.give_back()
    unpacked = Path("/run").glob("vtool-board-*")  # __main__.py's
    for folder in (FOLDER, Path("/var/log/vtool"), Path("/run/vtool"), *unpacked):
        shutil.rmtree(folder, ignore_errors=True)
    for user in ("vtool-backend", "vtool-domain"):
        run("userdel", user, check=False)
    run("groupdel", "vtool", check=False)
    with contextlib.suppress(FileNotFoundError):
        PROGRAM.unlink()
    os.sync()
    told = [f"{path} is the board's own, and stays as it is" for path in left]
    return {"removed": boot is not None, "reboot": reboot, "notes": told}
