"""``vtool``: finds the verb, runs it, turns what it raises into text and an exit code.

Importing this module must stay cheap: verbs are imported only when they are run.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import ModuleType

from vtool.diagnostics import ExitCode, VtoolError, format_diagnostic, refusal_of

VERBS = {
    "new": "write a first topology, for a board and what is wished for",
    "validate": "check a topology and report everything that is wrong with it",
    "plan": "show every address and unit that vtool decides",
    "map": "show the memory map of boards and guests",
    "graph": "draw domains, devices and shared regions",
    "paths": "show which data path can run on which hypervisor, and what it needs",
    "dt": "write only the device-tree fragments",
    "render": "write what would be deployed to a folder",
    "deploy": "run a topology on its boards, and prove that it runs as planned",
    "verify": "prove again that the boards run what was planned",
    "status": "show the state of boards, domains and backends",
    "exec": "run a command in a domain",
    "console": "attach to a domain's console",
    "logs": "show the log of a domain or backend",
    "generations": "list the generations on boards and their history",
    "rollback": "go back to an earlier generation, and prove it",
    "down": "stop everything and clean the boards",
    "bench": "measure what data paths cost, by a matrix of topologies and workloads",
    "compare": "compare what was measured: against a run's baseline, and run with run",
    "report": "show what runs of vtool bench measured, as one page or as data",
    "bundle": "put a topology or a run, with all that is made of it, into one file; check one",
    "board": "list boards, switch them on and off, attach to their console",
    "images": "list, build, explain or refresh the images that emulated boards boot",
    "lint": "report what Xen or Linux would reject in a device tree",
    "schema": "print the JSON Schema of topology files, matrices, runs, comparisons or bundles",
    "explain": "explain a diagnostic code",
    "completion": "print what a shell needs to complete vtool's words",
    "man": "print the manual page of every verb",
}

_OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Starting makes many objects that stay; Python's own 700 would look through them again and again."""

EPILOG = """\
exit codes: 0 success, 1 the topology is wrong, 2 usage, or of two verbs what they looked for (compare: a
regression; plan --against-board: something to do), 3 a board failed, 70 a bug in vtool, 130 interrupted
data goes to stdout, diagnostics and progress to stderr; NO_COLOR is honoured
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, that of the process if None; return its exit code."""
    if argv is not None:
        return _exit_code_of(list(argv))
    for stream in (sys.stdout, sys.stderr):  # what a terminal's encoding lacks ends no verb
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    code = _exit_code_of(sys.argv[1:])
    # The process ends now, and Python would first look for garbage in all that was imported and planned.
    gc.freeze()
    return code


def _exit_code_of(arguments: list[str]) -> int:
    _do_without_pydantic_plugins()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        return _run(arguments)
    except VtoolError as error:
        for diagnostic in error.diagnostics:
            print(format_diagnostic(diagnostic), file=sys.stderr)
        return error.exit_code.value
    except KeyboardInterrupt:
        print("interrupted; `vtool deploy` again repairs whatever was left half done", file=sys.stderr)
        return ExitCode.INTERRUPTED.value
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK.value
    except Exception as error:  # the last line of defence: a bug is reported, never dumped
        if refused := refusal_of(error):
            print(*map(format_diagnostic, refused.diagnostics), file=sys.stderr)
            return refused.exit_code.value
        return _report_bug(error)


def _do_without_pydantic_plugins() -> None:
    """Say that there are no plugins before pydantic asks, which takes a fifteenth of ``vtool validate``.

    Told not to look for some (``PYDANTIC_DISABLE_PLUGINS``), it still imports ``importlib.metadata`` and, with that,
    email and zipfile. So what stands here answers the one question that it has; asked anything else, it makes way.
    """
    name = "pydantic.plugin._loader"

    def of_its_own(word: str) -> object:
        if word.startswith("__"):  # the import itself asks such
            raise AttributeError(word)
        sys.modules.pop(name, None)
        return getattr(importlib.import_module(name), word)

    loader = ModuleType(name)
    vars(loader).update(get_plugins=tuple, __getattr__=of_its_own)
    sys.modules.setdefault(name, loader)


def _run(arguments: list[str]) -> int:
    chosen = next((word for word in arguments if not word.startswith("-")), "")
    # Only help and the answer to a wrong word name them all, and making all takes as long as reading a small topology.
    is_certain = arguments[:1] == [chosen] and chosen in VERBS
    shown = version() if "--version" in arguments else ""
    parsed = _parser((chosen,) if is_certain else VERBS, (chosen,), shown).parse_args(arguments)
    return int(parsed.run(parsed))


def parser_of_every_verb() -> argparse.ArgumentParser:
    """Return the parser with the arguments of every verb, which imports all of them."""
    return _parser(VERBS, VERBS, "")


def _parser(named: Iterable[str], whole: Collection[str], shown: str) -> argparse.ArgumentParser:
    """Return a parser that knows the verbs named, with the arguments of those in ``whole``."""
    parser = argparse.ArgumentParser(
        prog="vtool",
        description="One topology file to running, verified virtual machines with shared devices on ARM boards.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vtool {shown}", help="show the version and the commit")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name in named:
        verb = verbs.add_parser(name, help=VERBS[name], description=VERBS[name], allow_abbrev=False)
        if name in whole:
            module = importlib.import_module(f"vtool.cli.{name}_verb")
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
    return parser


def version() -> str:
    """Return the version, and the commit where it is known."""
    from importlib.metadata import version as version_of

    from vtool.cli.commit import commit_of

    commit = commit_of(Path(__file__).resolve().parents[2])
    return f"{version_of('vtool')} ({f'commit {commit}' if commit else 'of an unknown commit'})"


def _report_bug(error: Exception) -> int:
    import tempfile
    import traceback

    print(f"error: a bug in vtool: {type(error).__name__}: {error}", file=sys.stderr)
    try:
        with tempfile.NamedTemporaryFile("w", prefix="vtool-bug-", suffix=".txt", delete=False) as report:
            report.write(" ".join(sys.argv) + "\n")
            traceback.print_exc(file=report)
        print(f"   hint: the full report is in {report.name}", file=sys.stderr)
    except OSError as refused:
        print(f"   hint: the full report could not be written: {refused}", file=sys.stderr)
    return ExitCode.BUG.value


if __name__ == "__main__":
    sys.exit(main())
