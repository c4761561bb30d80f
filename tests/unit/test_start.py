"""What a verb imports is what its start costs: nobody waits for modules that the verb does not use."""

import subprocess
import sys
from pathlib import Path

import pytest

TOPOLOGY = Path(__file__).parents[2] / "topology" / "examples" / "kvm-pool.yaml"
LIBRARIES = ("ansible", "fabric", "jinja2", "libfdt", "paramiko", "platformdirs")
ROOMS = ("vtool.board", "vtool.deploy", "vtool.render", "vtool.report", "vtool.lint", "vtool.images.store")


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (("--help",), ("pydantic", "yaml", "vtool.model", "vtool.plan", *LIBRARIES, *ROOMS)),
        (
            ("validate", str(TOPOLOGY)),
            ("concurrent.futures", "difflib", "importlib.metadata", "subprocess", "tarfile", *LIBRARIES, *ROOMS),
        ),
        (("explain", "VT401"), ("subprocess", *LIBRARIES, *ROOMS)),
        (
            ("render", str(TOPOLOGY), "-o", "{folder}"),
            ("importlib.metadata", "subprocess", "vtool.board", "vtool.lint"),
        ),
    ],
)
def test_a_verb_imports_no_more_than_it_uses(
    arguments: tuple[str, ...], unused: tuple[str, ...], tmp_path: Path
) -> None:
    program = (
        "import atexit, sys; from vtool.cli.main import main\n"
        "atexit.register(lambda: print('imported', *sys.modules, file=sys.stderr)); main(sys.argv[1:])"
    )
    words = [word.format(folder=tmp_path) for word in arguments]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    _, *imported = done.stderr.splitlines()[-1].split()
    assert "vtool.cli.main" in imported
    assert [module for module in unused if module in imported] == []


def test_the_files_of_devices_are_imported_when_a_document_names_them() -> None:
    program = (
        "import sys; from vtool.cli.main import main\n"
        "main(['validate', sys.argv[1]]); print(*(name for name in sys.modules if '.devices.' in name))"
    )
    command = [sys.executable, "-c", program, str(TOPOLOGY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {name.removeprefix("vtool.model.devices.") for name in done.stdout.splitlines()[-1].split()}
    assert {"types.blk", "daemons.qemu_storage_daemon"} <= imported
    assert not [name for name in imported if name.startswith("daemons.vhost_device") or name == "types.gpu"]


def test_what_answers_pydantic_makes_way_for_another_question() -> None:
    program = (
        "from vtool.cli.main import main; main(['validate', __import__('sys').argv[1]])\n"
        "from pydantic.plugin._loader import PYDANTIC_ENTRY_POINT_GROUP as group; print(group)\n"
        "from pydantic import BaseModel; from pydantic.plugin._loader import get_plugins\n"
        "type('Later', (BaseModel,), {})(); print(type(get_plugins).__name__)"
    )
    command = [sys.executable, "-c", program, str(TOPOLOGY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["pydantic", "function"]
