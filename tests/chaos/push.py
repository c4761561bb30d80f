"""A deploy without units and domains, for boards that are sshds: push what is requested, and confirm it.

    python -m tests.chaos.push TOPOLOGY INVENTORY

Ends as `vtool deploy` does, and with 10 when the board must boot before it can be confirmed.
"""

import sys

WANTS_REBOOT = 10


def main() -> int:
    """Deploy once; Ctrl-C and errors end it as they end `vtool deploy`."""
    try:
        return _deploy(*sys.argv[1:])
    except KeyboardInterrupt:
        return 130


def _deploy(topology: str, inventory: str) -> int:
    # Ctrl-C may come as early as here.
    import argparse
    from pathlib import Path

    from vtool.base.progress import Silent
    from vtool.cli.common import image_paths, prepare, targets_of
    from vtool.deploy.deployment import boards
    from vtool.deploy.play import playing
    from vtool.diagnostics import VtoolError, format_diagnostic

    try:
        with playing("deploy", Silent(), tags="push") as play:
            prepared = prepare(Path(topology))
            targets = targets_of(prepared, argparse.Namespace(inventory=Path(inventory)))
            images = image_paths(prepared, [plan for plan, _ in targets], Silent())
            with boards(prepared.topology.name, targets, images, Silent()) as held:
                (report,), (job,) = play.on_held(held), held.jobs.values()
                if report.failure:
                    raise report.failure
                if report.rebooted:
                    return WANTS_REBOOT
                if not report.confirmed:
                    job.held_board.run("confirm", report.generation)
    except VtoolError as error:
        print("\n".join(map(format_diagnostic, error.diagnostics)), file=sys.stderr)
        return error.exit_code.value
    return 0


if __name__ == "__main__":
    sys.exit(main())
