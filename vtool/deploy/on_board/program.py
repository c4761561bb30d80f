"""vtool-board's command line, and the same verbs for who holds the board."""

from __future__ import annotations

import argparse
import io
import json
import sys
from importlib import import_module

from . import lock
from .base import BoardError
from .typed import Any


def word(*names: str, **about: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Describe a word of a verb's command line, as argparse takes it."""
    return names, about


OWNER = [
    word("--lock", default="", help="the token of `hold`; needed while somebody holds the board"),
    word("--at", default="", help="when, by the controller's clock"),
    word("--by", default="", help="who asked for it"),
    word("--reason", default=""),
]
VERBS: dict[str, tuple[str, list[Any]]] = {
    "state": ("domains", []),
    "converge": ("domains", [word("--patience", type=float, default=1.0, help="by what deadlines are multiplied")]),
    "await": ("domains", [word("domain")]),
    "compare": ("generations", [word("--look-only", action="store_true")]),
    "pages": ("delta", []),
    "receive": ("generations", []),
    "apply": ("generations", OWNER),
    "confirm": ("generations", [*OWNER, word("generation")]),
    "revert": ("generations", [*OWNER, word("--reboot", action="store_true")]),
    "rollback": ("generations", [*OWNER, word("generation", nargs="?", default="")]),
    "keep": ("generations", OWNER),
    "reboot": ("generations", OWNER),
    "generations": ("generations", []),
    "booted": ("generations", []),
    "proof": ("generations", []),
    "clean": ("generations", OWNER),
    "observe": ("observe", []),
    "exec": (
        "inside",
        [
            word("domain"),
            word("command"),
            word("--timeout", type=float, default=60.0),
            word("--secret", action="store_true", help="stdin is the domain's password or key"),
            word("--patience", type=float, default=1.0, help="by what the time to get in is multiplied"),
        ],
    ),
    "console": ("talk", [word("domain")]),
    "logs": (
        "talk",
        [word("name_of"), word("--lines", type=int, default=50), word("--follow", action="store_true")],
    ),
    "pci-look": ("pci", [word("addresses", nargs="+")]),
    "pci-take": ("pci", [word("addresses", nargs="+")]),
    "pci-return": ("pci", [word("addresses", nargs="+")]),
    "require_unused": ("given", [word("devices", nargs="+")]),
    "hugepages-take": ("hugepages", [word("note"), word("kib", type=int), word("count", type=int)]),
    "hugepages-mapped": ("hugepages", [word("note"), word("--domain", default="")]),
    "hugepages-return": ("hugepages", [word("note")]),
    "pin": ("vcpus", [word("domain"), word("cpus", nargs="+"), word("--others", default="")]),
    "powerdown": ("talk", [word("domain"), word("--deadline", type=float, default=30.0)]),
    "take_uplink": (
        "uplink",
        [word("bridge"), word("interface"), word("--guard-s", type=float, default=None)],
    ),
    "give_uplink": ("uplink", [word("bridge")]),
    "start_uplinks": ("uplink", OWNER),
    "confirm_uplinks": ("uplink", []),
    "release_uplinks": ("uplink", [*OWNER, word("--seconds", type=float)]),
    "guard_uplink": ("uplink", [word("bridge"), word("--seconds", type=float)]),
    "guard_release": ("uplink", [word("bridge"), word("--seconds", type=float)]),
    "hold": ("program", [word("holder", type=json.loads)]),
}
"""The module of each verb, read when the verb runs, and what its command line takes beside it."""


def verb_hold(arguments: argparse.Namespace) -> dict[str, Any]:
    """Hold the board for a controller, and run what it asks for meanwhile."""
    return lock.keep(arguments.holder, answer)


def answer(request: dict[str, Any], data: io.RawIOBase) -> dict[str, Any]:
    """Run ``{"words", "stdin"}`` as a command line would be; return what it would print, and the request's ``id``.

    Its standard input is the text ``stdin``; ``data`` where that is null.
    """
    text = request["stdin"]
    sys.stdin = io.TextIOWrapper(io.BufferedReader(data)) if text is None else io.StringIO(text)
    try:
        said = outcome(parse_arguments(request["words"]))
    except Exception as error:  # a bug ends its verb, not the hold on the board
        said = {"error": BoardError("VT704", f"'{request['words'][0]}' failed on the board: {error!r}").to_json()}
    return {"id": request["id"], "said": said}


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """Read a command line: a verb and its options."""
    parser = argparse.ArgumentParser(prog="vtool-board")
    parser.add_argument("verb", choices=VERBS)
    name = parser.parse_args(words[:1]).verb
    of_verb = argparse.ArgumentParser(prog=f"vtool-board {name}")
    for names, about in VERBS[name][1]:
        of_verb.add_argument(*names, **about)
    return of_verb.parse_args(words[1:], argparse.Namespace(name=name))


def verb(name: str) -> Any:
    """Return the function of a verb."""
    return getattr(import_module(f".{VERBS[name][0]}", __package__), f"verb_{name.replace('-', '_')}")


def outcome(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a verb; return its result, or ``{"error": ...}``."""
    try:
        if hasattr(arguments, "lock"):
            lock.require(arguments.lock)
        result: dict[str, Any] = verb(arguments.name)(arguments)
    except BoardError as error:
        return {"error": error.to_json()}
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"'{arguments.name}' failed on the board: {error.strerror or error}{where}"
        return {"error": BoardError("VT704", message).to_json()}
    return result


def main() -> int:
    """Run one verb; print its result or its error as one line of JSON, in words for verbs that a person reads."""
    arguments = parse_arguments(sys.argv[1:])
    said = outcome(arguments)
    if "error" not in said:
        if arguments.name != "console":
            print(json.dumps(said))
        return 0
    if arguments.name in ("console", "logs"):
        error = said["error"]
        hints = "".join(f"\n   hint: {hint}" for hint in error["hints"])
        print(f"error[{error['code']}]: {error['message']}{hints}", file=sys.stderr)
    else:
        print(json.dumps(said))
    return 3
