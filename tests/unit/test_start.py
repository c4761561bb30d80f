"""What a verb imports is what its start costs: nobody waits for modules that the verb does not use."""

import subprocess
import sys
from pathlib import Path

import pytest

TOPOLOGY = Path(__file__).parents[2] / "topology" / "examples" / "kvm-pool.yaml"
LIBRARIES = ("ansible", "ansible_runner", "fabric", "jinja2", "libfdt", "paramiko", "platformdirs")
ROOMS = ("vtool.board", "vtool.deploy", "vtool.render", "vtool.report", "vtool.lint", "vtool.images.store")


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (("--help",), ("pydantic", "yaml", "vtool.model", "vtool.plan", *LIBRARIES, *ROOMS)),
        (("validate", str(TOPOLOGY)), ("concurrent.futures", "subprocess", "tarfile", *LIBRARIES, *ROOMS)),
    ],
)
def test_a_verb_imports_no_more_than_it_uses(arguments: tuple[str, ...], unused: tuple[str, ...]) -> None:
    program = (
        "import atexit, sys; from vtool.cli.main import main\n"
        "atexit.register(lambda: print('imported', *sys.modules, file=sys.stderr)); main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    _, *imported = done.stderr.splitlines()[-1].split()
    assert "vtool.cli.main" in imported
    assert [module for module in unused if module in imported] == []


def test_a_device_type_is_built_when_a_document_has_one() -> None:
    program = (
        "from vtool.model.devices import BlockDevice; from vtool.model.devices.vhost_device_rtc import RtcDevice\n"
        "from vtool.cli.main import main\n"
        "main(['validate', sys.argv[1]]); print(*(m.__pydantic_complete__ for m in (BlockDevice, RtcDevice)))"
    )
    command = [sys.executable, "-c", "import sys; " + program, str(TOPOLOGY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True False"
