"""The image cache: named by content, complete or absent, one builder at a time, honest when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vtool.base.progress import Silent
from vtool.diagnostics import ExitCode, VtoolError
from vtool.images import NAMES
from vtool.images.build import ensure, why
from vtool.images.catalogue import CATALOGUE
from vtool.images.store import Build, ChildProcesses, Image, Recipe, Store, cache_folder

DEADLINE_S = 20.0


class Recorded(Silent):
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def update(self, task: str, detail: str) -> None:
        self.events.append((task, detail))

    def finish(self, task: str, outcome: str, seconds: float) -> None:
        self.events.append((task, outcome))


def write(text: str) -> Callable[[Build], None]:
    """Return a build step that writes its output without any process."""

    def build(build: Build) -> None:
        build.output.write_text(text)

    return build


def recipe(
    build: Callable[[Build], None],
    *,
    name: str = "toy",
    inputs: Mapping[str, Any] | None = None,
    needs: tuple[str, ...] = (),
) -> Recipe:
    def all_inputs(images: Mapping[str, Image]) -> dict[str, Any]:
        return {**(inputs or {}), **{need: image.sha256 for need, image in images.items()}}

    return Recipe(name, "toy.img", all_inputs, build, needs)


def get(store: Store, wanted: Recipe, needs: Mapping[str, Image] | None = None) -> Image:
    return store.get(wanted, needs or {}, Silent(), ChildProcesses())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


# -- named by content


def test_same_inputs_are_built_once(store: Store) -> None:
    built: list[Path] = []

    def build(build: Build) -> None:
        built.append(build.output)
        build.output.write_text("content")

    first = get(store, recipe(build, inputs={"config": "a"}))
    second = get(store, recipe(build, inputs={"config": "a"}))
    assert len(built) == 1
    assert first == second
    assert first.path.read_text() == "content"


def test_the_order_of_inputs_does_not_matter(store: Store) -> None:
    toy = recipe(write(""))
    assert store.entry(toy, {"a": 1, "b": 2}) == store.entry(toy, {"b": 2, "a": 1})


@pytest.mark.parametrize(
    "other",
    [
        {"config": "b", "packages": {"gcc": "12"}},
        {"config": "a", "packages": {"gcc": "13"}},
        {"config": "a"},
        {"config": "a", "packages": {"gcc": "12"}, "extra": None},
    ],
)
def test_any_other_input_is_another_entry(store: Store, other: dict[str, Any]) -> None:
    toy = recipe(write(""))
    assert store.entry(toy, other) != store.entry(toy, {"config": "a", "packages": {"gcc": "12"}})


def test_another_recipe_is_another_entry(store: Store) -> None:
    one, two = (recipe(write(""), name=name) for name in ("one", "two"))
    assert store.entry(one, {}).name != store.entry(two, {}).name


def test_changed_need_changes_the_entry_made_of_it(store: Store) -> None:
    disk = recipe(write("disk"), name="disk", needs=("rootfs",))
    old, new = (get(store, recipe(write(text), name="rootfs", inputs={"v": text})) for text in ("1", "2"))
    assert get(store, disk, {"rootfs": old}).path != get(store, disk, {"rootfs": new}).path


def test_both_variants_stay(store: Store) -> None:
    plain, other = (get(store, recipe(write(text), inputs={"extra": text})) for text in ("plain", "other"))
    assert (plain.path.read_text(), other.path.read_text()) == ("plain", "other")


def test_manifest_tells_what_went_in_and_what_came_out(store: Store) -> None:
    need = get(store, recipe(write("need"), name="need"))
    image = get(store, recipe(write("12345"), inputs={"config": "a"}, needs=("need",)), {"need": need})
    manifest = json.loads((image.path.parent / "manifest.json").read_text())
    assert manifest["name"] == "toy"
    assert manifest["inputs"] == {"config": "a", "need": need.sha256}
    assert manifest["needs"] == {"need": need.sha256}
    assert manifest["size_bytes"] == 5
    assert manifest["sha256"] == image.sha256
    assert manifest["seconds"] >= 0


def test_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VTOOL_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("VTOOL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vtool"


# -- failing


def failing(build: Build) -> None:
    build.run("configure", ["sh", "-c", "echo all is well"])
    build.run("compile", ["sh", "-c", "seq 1 100; echo 'oops.c:1: no such thing' >&2; exit 7"])


def test_failure_names_the_step_and_shows_the_end_of_the_log(store: Store) -> None:
    with pytest.raises(VtoolError) as raised:
        get(store, recipe(failing))
    (diagnostic,) = raised.value.diagnostics
    assert raised.value.exit_code is ExitCode.BOARD_FAILED
    assert diagnostic.code == "VT502"
    assert "'toy'" in diagnostic.message
    assert "'compile'" in diagnostic.message
    assert "7" in diagnostic.message
    assert diagnostic.detail[-1] == "oops.c:1: no such thing"
    assert "all is well" not in diagnostic.detail, "only the tail is shown"
    (log,) = (hint.split()[-1] for hint in diagnostic.hints if "log" in hint)
    assert "all is well" in Path(log).read_text(), "the whole log is kept"


def test_failed_build_is_no_entry_and_the_next_one_succeeds(store: Store) -> None:
    with pytest.raises(VtoolError):
        get(store, recipe(failing))
    assert store.find(recipe(failing), {}) is None
    assert get(store, recipe(write("fixed"))).path.read_text() == "fixed"


def test_failure_is_reported_to_the_progress(store: Store) -> None:
    progress = Recorded()
    with pytest.raises(VtoolError):
        store.get(recipe(failing), {}, progress, ChildProcesses())
    assert progress.events[-1] == ("image toy", "failed")


def test_missing_program_is_named_with_the_way_to_get_it(store: Store) -> None:
    def build(build: Build) -> None:
        build.run("compile", ["no-such-compiler", "x.c"])

    with pytest.raises(VtoolError) as raised:
        get(store, recipe(build))
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.code == "VT501"
    assert "'no-such-compiler'" in diagnostic.message
    assert any("make setup" in hint for hint in diagnostic.hints)


def test_lines_of_a_step_become_progress(store: Store) -> None:
    def build(build: Build) -> None:
        build.run("compile", ["printf", "CC a.o\nnoise\nCC b.o\n"], on_line=keep_objects)
        build.output.touch()

    def keep_objects(line: str) -> str | None:
        return line.split()[1] if line.startswith("CC") else None

    progress = Recorded()
    store.get(recipe(build), {}, progress, ChildProcesses())
    details = [detail for _, detail in progress.events]
    assert details == ["compile", "compile: a.o", "compile: b.o", "built"]


# -- interrupted


def test_interrupted_build_resumes_where_it_was(store: Store) -> None:
    def build(build: Build) -> None:
        done = build.folder / "half"
        if not done.exists():
            done.write_text("half")
            raise KeyboardInterrupt
        build.output.write_text(done.read_text() + " and whole")

    with pytest.raises(KeyboardInterrupt):
        get(store, recipe(build))
    assert store.find(recipe(build), {}) is None
    image = get(store, recipe(build))
    assert image.path.read_text() == "half and whole"
    assert not list(image.path.parent.parent.glob("*.partial"))


def test_entry_whose_manifest_was_cut_short_is_built_again(store: Store) -> None:
    image = get(store, recipe(write("old")))
    (image.path.parent / "manifest.json").write_text('{"name": "to')
    assert get(store, recipe(write("new"))).path.read_text() == "new"


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["gone", "cut"])
def test_entry_whose_file_is_not_whole_is_built_again(store: Store, damage: Callable[[Path], Any]) -> None:
    damage(get(store, recipe(write("old"))).path)
    assert get(store, recipe(write("new"))).path.read_text() == "new"


KILLED = """
import sys
from pathlib import Path
from vtool.images.store import Build, ChildProcesses, Recipe, Store
from vtool.base.progress import Silent

def build(build: Build) -> None:
    script = "echo $$ > started; while [ ! -e release ]; do sleep 0.02; done; echo orphan >> order"
    build.run("compile", ["sh", "-c", script], cwd=Path(sys.argv[1]))

toy = Recipe("toy", "toy.img", lambda needs: {}, build)
Store(Path(sys.argv[1]) / "cache").get(toy, {}, Silent(), ChildProcesses())
"""


def test_nobody_builds_beside_what_a_killed_vtool_left_running(store: Store, tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    wait_until(lambda: (tmp_path / "started").exists() and bool((tmp_path / "started").read_text()))
    orphan = int((tmp_path / "started").read_text())
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    def build(build: Build) -> None:
        assert not is_alive(orphan)
        build.output.write_text("whole")

    progress = Recorded()
    second = threading.Thread(target=store.get, args=(recipe(build), {}, progress, ChildProcesses()))
    second.start()
    time.sleep(0.1)
    (tmp_path / "release").touch()
    second.join(DEADLINE_S)
    assert progress.events[-1] == ("image toy", "built")


def test_two_builders_of_the_same_image_build_it_once(tmp_path: Path) -> None:
    built: list[str] = []
    waiting = threading.Event()

    class Waiting(Silent):
        def update(self, task: str, detail: str) -> None:
            if "waiting" in detail:
                waiting.set()

    def build(build: Build) -> None:
        built.append("built")
        assert waiting.wait(DEADLINE_S), "the other builder has to come while this one is at work"
        build.output.write_text("content")

    images: list[Image] = []

    def take() -> None:
        images.append(Store(tmp_path).get(recipe(build), {}, Waiting(), ChildProcesses()))

    builders = [threading.Thread(target=take) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(DEADLINE_S)
    assert built == ["built"]
    assert len(images) == 2
    assert images[0] == images[1]


def test_stop_ends_children_of_children(store: Store, tmp_path: Path) -> None:
    children = ChildProcesses()

    def build(build: Build) -> None:
        build.run("compile", ["sh", "-c", "sleep 1000 & echo $! > pid; wait"], cwd=tmp_path)

    def take() -> None:
        with pytest.raises(VtoolError):
            store.get(recipe(build), {}, Silent(), children)

    builder = threading.Thread(target=take)
    builder.start()
    pid_file = tmp_path / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    grandchild = int(pid_file.read_text())
    children.stop()
    builder.join(DEADLINE_S)
    wait_until(lambda: not is_alive(grandchild))


def test_stop_takes_by_force_what_does_not_go(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtool.images.store._STOP_DEADLINE_S", 0.2)
    children = ChildProcesses()

    def build(build: Build) -> None:
        build.run("compile", ["sh", "-c", "trap '' TERM; echo $$ > pid; while :; do sleep 1; done"], cwd=tmp_path)

    def take() -> None:
        with pytest.raises(VtoolError):
            store.get(recipe(build), {}, Silent(), children)

    builder = threading.Thread(target=take)
    builder.start()
    pid_file = tmp_path / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    children.stop()
    builder.join(DEADLINE_S)
    assert not is_alive(int(pid_file.read_text()))


def test_waiting_for_another_builder_can_be_interrupted(store: Store) -> None:
    children = ChildProcesses()
    at_work, go_on = threading.Event(), threading.Event()

    def build(build: Build) -> None:
        at_work.set()
        assert go_on.wait(DEADLINE_S)
        build.output.touch()

    builder = threading.Thread(target=get, args=(store, recipe(build)))
    builder.start()
    assert at_work.wait(DEADLINE_S)
    children.stop()
    with pytest.raises(KeyboardInterrupt):
        store.get(recipe(build), {}, Silent(), children)
    go_on.set()
    builder.join(DEADLINE_S)


def test_work_tree_is_kept_and_held_by_one_build_at_a_time(store: Store) -> None:
    inside: list[str] = []

    def build(build: Build) -> None:
        with build.work_tree("objects") as tree:
            inside.append(build.inputs["v"])
            assert len(inside) == 1, "two builds in one work tree"
            tree.mkdir(exist_ok=True)
            (tree / build.inputs["v"]).touch()
            time.sleep(0.05)
            inside.clear()
        build.output.touch()

    builders = [threading.Thread(target=get, args=(store, recipe(build, inputs={"v": v}))) for v in "ab"]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(DEADLINE_S)
    assert {path.name for path in (store.folder / "work" / "objects").iterdir()} == {"a", "b"}


def test_nothing_is_started_after_a_stop(store: Store) -> None:
    children = ChildProcesses()
    children.stop()
    with pytest.raises(KeyboardInterrupt):
        store.get(recipe(failing), {}, Silent(), children)


# -- the graph


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
def test_needs_come_first_and_all_are_returned() -> None:
    order: list[str] = []

    def build(build: Build) -> None:
        assert all(image.path.exists() for image in build.needs.values())
        order.append(build.recipe.name)
        build.output.write_text(build.recipe.name)

    recipes = {
        "rootfs": recipe(build, name="rootfs"),
        "disk": recipe(build, name="disk", needs=("rootfs",)),
        "unused": recipe(build, name="unused"),
    }
    images = ensure(["disk"], Silent(), recipes)
    assert order == ["rootfs", "disk"]
    assert {name: image.path.read_text() for name, image in images.items()} == {
        "rootfs": "rootfs",
        "disk": "disk",
    }


@pytest.mark.usefixtures("cache")
def test_independent_images_are_built_side_by_side() -> None:
    both = threading.Barrier(2)

    def build(build: Build) -> None:
        both.wait(DEADLINE_S)
        build.output.touch()

    ensure(["one", "two"], Silent(), {name: recipe(build, name=name) for name in ("one", "two")})


def test_failure_of_one_ends_the_others_and_is_the_one_reported(cache: Path) -> None:
    def slow(build: Build) -> None:
        build.run("compile", ["sh", "-c", f"echo $$ > {cache}/pid; sleep 1000"])

    def bad(build: Build) -> None:
        wait_until(lambda: (cache / "pid").exists() and bool((cache / "pid").read_text()))
        failing(build)

    recipes = {"slow": recipe(slow, name="slow"), "bad": recipe(bad, name="bad")}
    begin = time.monotonic()
    with pytest.raises(VtoolError, match="'bad'"):
        ensure(["slow", "bad"], Silent(), recipes)
    assert time.monotonic() - begin < DEADLINE_S
    assert not is_alive(int((cache / "pid").read_text()))


INTERRUPTED = """
import signal, sys
# A shell's background job ignores Ctrl-C and hands that down; a user's terminal does not.
signal.signal(signal.SIGINT, signal.default_int_handler)
from vtool.images.build import ensure
from vtool.images.store import Build, Recipe
from vtool.base.progress import Silent

def build(build: Build) -> None:
    build.run("compile", ["sh", "-c", f"echo $$ > {sys.argv[1]}; sleep 1000"])

try:
    ensure(["toy"], Silent(), {"toy": Recipe("toy", "toy.img", lambda needs: {}, build)})
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_interrupting_vtool_ends_its_children(cache: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = [sys.executable, "-c", INTERRUPTED, str(pid_file)]
    with subprocess.Popen(command, env={**os.environ, "VTOOL_CACHE": str(cache)}) as process:
        wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()))
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
    assert not is_alive(int(pid_file.read_text()))


@pytest.mark.usefixtures("cache")
def test_why_an_image_has_to_be_built_or_what_it_is_made_of() -> None:
    def build(build: Build) -> None:
        build.output.touch()
        build.facts["version"] = "4.20"

    def said(name: str, **changed: Recipe) -> str:
        return "\n".join(why(name, {**recipes, **changed}))

    source, other = (recipe(write(text), name="source", inputs={"url": text}) for text in ("here", "there"))
    toy = recipe(build, inputs={"patch": "one\ntwo\n"}, needs=("source",))
    recipes = {"source": source, "toy": toy}
    assert said("toy") == "'toy' is not built: it needs source"
    assert said("source") == "'source' is not built, and never was"
    ensure(["toy"], Silent(), recipes)
    assert "'toy' is built" in said("toy")
    assert "it is version 4.20" in said("toy")
    assert "made of patch (2 lines)" in said("toy")
    assert said("source", source=other).endswith("changed since: url")
    broken = recipe(failing, inputs={"patch": "three"}, needs=("source",))
    with pytest.raises(VtoolError):
        ensure(["toy"], Silent(), {**recipes, "toy": broken})
    first, second = said("toy", toy=broken).splitlines()
    assert first.endswith("changed since: patch")
    assert "oops.c:1" in Path(second.split()[-1]).read_text()


def test_the_catalogue_has_the_images_that_checks_know() -> None:
    assert tuple(CATALOGUE) == NAMES
