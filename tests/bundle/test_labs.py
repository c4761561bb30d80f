"""A bundle made of topologies and runs: what is in it, what is not, what follows, and what is refused of others'."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bundle.test_archive import a_manifest
from tests.unit.test_run_folder import NOON, a_repetition, a_run
from vtool.base.progress import Silent
from vtool.bench.matrix import digest_of
from vtool.bench.run_folder import open_run
from vtool.board.qemu_process import Machine, dump_device_tree
from vtool.bundle import differing as differing_module
from vtool.bundle.archive import member_of, write_bundle
from vtool.bundle.checking import check_bundle
from vtool.bundle.differing import differs_here
from vtool.bundle.making import Made, Means, Wish, bundle_of, wishes_of
from vtool.bundle.manifest import BoardPart, Lab, Manifest
from vtool.bundle.opened import lay_out, opened, own_images
from vtool.cli import main
from vtool.cli.common import image_paths, prepare_to_deploy, targets_of
from vtool.deploy.difference import Wanted
from vtool.deploy.stage import name_of_files
from vtool.diagnostics import ExitCode, VtoolError
from vtool.plan.lock import format_lock
from vtool.results.records import Deployment
from vtool.results.run_folder import read_run

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ("192.0.2.77", "hunter2", "id_of_mine", "/home/me", "pdu.example", "AAAAC3NzaC1lZDI1NTE5")
TOPOLOGY = """\
version: 1
name: pair  # a comment that stays
include: [../common/guest.yaml]
boards:
  board0: {facts: ./facts.yaml, hypervisor: {kind: kvm}}
domains:
  host: {role: control, kernel: ../kernel}
  fe0: {cpus: 1, memory: 256MiB, kernel: ../kernel, ramdisk: ../ramdisk}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with a topology that is made of several files, a kernel of its own and a lock file."""
    top = tmp_path / "mine"
    for name in ("labs", "common"):
        (top / name).mkdir(parents=True)
    (top / "labs" / "pair.yaml").write_text(TOPOLOGY)
    (top / "common" / "guest.yaml").write_text("version: 1\ndomains: {fe0: {ready_timeout_s: 30}}\n")
    (top / "labs" / "more.yaml").write_text("version: 1\ndomains: {fe0: {cpus: 2}}\n")
    (top / "labs" / "not-named.yaml").write_text("hunter2")
    facts = (ROOT / "topology/boards/qemu-virt.yaml").read_text()
    (top / "labs" / "facts.yaml").write_text(facts.replace("name: qemu-virt", "name: mine"))
    (top / "kernel").write_bytes(bytes(56) + b"ARM\x64" + bytes(range(256)) * 40)
    (top / "ramdisk").write_bytes(b"070701" + b"0" * 104 + bytes(402))
    (top / "inventory.yaml").write_text(
        "version: 1\nboards:\n  board0:\n    driver: ssh\n    facts: labs/facts.yaml\n    host: 192.0.2.77\n"
        f"    host_key: ssh-ed25519 {KEY}\n    identity_file: id_of_mine\n    device_tree: base.dtb\n"
        "    power: {on: [pdu.example, hunter2], off: [pdu.example], status: [pdu.example]}\n"
    )
    (top / "id_of_mine").write_text("hunter2")
    dump_device_tree(Machine(2, 3 << 30), top / "base.dtb")
    return top


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIEqUSyrdYcUVGDwaQ0mKtkNMDQ2F2vNCr1W2N1T6l0pH"


class Arguments:
    def __init__(self, inventory: Path | None) -> None:
        self.inventory, self.limit = inventory, ()


def means(inventory: Path | None = None) -> Means:
    def targets(ready: Any) -> Any:
        return targets_of(ready, Arguments(inventory))  # type: ignore[arg-type]

    return Means(
        prepare_to_deploy,
        lambda ready: image_paths(ready, ready.plan.boards, Silent()),
        targets if inventory else None,
        Silent(),
    )


def made_of(wish: Wish, inventory: Path | None = None, *, with_images: bool = False) -> Made:
    return bundle_of([wish], means(inventory), "0.1.0", with_images=with_images)


def written(made: Made, path: Path) -> Path:
    write_bundle(path, made.manifest, made.contents)
    return path


def refused(code: str, words: str, work: Callable[[], object]) -> VtoolError:
    with pytest.raises(VtoolError, match=words) as caught:
        work()
    assert {found.code for found in caught.value.diagnostics} == {code}
    return caught.value


def checked(path: Path) -> None:
    with opened(path, results=True) as bundle:
        check_bundle(bundle, prepare_to_deploy, "0.1.0")


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield
    assert not [path.name for path in temporary.iterdir() if path.name.startswith("vtool-bundle-")]


# ---------------------------------------------------------------- what is in it


def test_what_is_in_it(lab: Path, tmp_path: Path) -> None:
    wish = Wish(lab / "labs/pair.yaml", (lab / "labs/more.yaml",), ("domains.fe0.memory=128MiB",))
    made = made_of(wish, lab / "inventory.yaml")
    names = [name for name in made.contents if name.startswith("files/")]
    assert sorted(names) == [
        "files/common/guest.yaml", "files/labs/facts.yaml", "files/labs/more.yaml", "files/labs/pair.yaml",
    ]  # fmt: skip
    assert made.contents["files/labs/pair.yaml"] == TOPOLOGY.encode()
    (one,) = made.manifest.labs
    assert (one.id, one.topology, one.overlays) == ("pair", "files/labs/pair.yaml", ("files/labs/more.yaml",))
    assert one.settings == ("domains.fe0.memory=128MiB",)
    board = one.boards["board0"]
    assert board.firmware == hashlib.sha256((lab / "base.dtb").read_bytes()).hexdigest()
    generation = json.loads(bytes(made.contents["labs/1/board0/generation.json"]))  # type: ignore[arg-type]
    assert generation["generation"] == board.generation and board.images == ("files/kernel", "files/ramdisk")
    kernel = (lab / "kernel").read_bytes()
    (image, _) = made.manifest.images
    assert (image.name, image.bytes, image.made_of) == ("files/kernel", len(kernel), None)
    assert image.digest == hashlib.sha256(kernel).hexdigest()
    plan = json.loads(bytes(made.contents["labs/1/plan.json"]))  # type: ignore[arg-type]
    assert plan["boards"][0]["kvm_guests"][0]["cpus"] == 2
    assert any(name.endswith("artifacts/generation/units/vtool-domain-fe0.service") for name in made.contents)
    for name in ("kernel", "ramdisk"):
        shutil.copy(lab / name, tmp_path / name)
    checked(written(made, tmp_path / "b"))


@pytest.mark.parametrize("with_images", [True, False])
def test_the_same_bytes_wherever_it_is_made(
    with_images: bool, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = Wish(lab / "labs/pair.yaml")
    first = written(made_of(wish, lab / "inventory.yaml", with_images=with_images), tmp_path / "first")
    other = tmp_path / "elsewhere" / "deep"
    shutil.copytree(lab, other)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    monkeypatch.chdir(other / "common")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    relative = Wish(Path("../labs/pair.yaml"))
    second = made_of(relative, Path("../inventory.yaml"), with_images=with_images)
    assert written(second, tmp_path / "second").read_bytes() == first.read_bytes()


def test_nothing_of_how_boards_are_reached(lab: Path, tmp_path: Path) -> None:
    path = written(made_of(Wish(lab / "labs/pair.yaml"), lab / "inventory.yaml", with_images=True), tmp_path / "b")
    data = path.read_bytes()
    found = [word for word in (*SECRETS, str(tmp_path)) if word.encode() in data]
    assert not found and b"driver: ssh" not in data


def test_a_lock_is_kept(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "topology/examples", tmp_path / "e")
    topology = tmp_path / "e" / "xen-pool.yaml"
    assert main.main(["plan", str(topology), "--lock"]) == 0
    lock = topology.with_name("xen-pool.yaml.lock")
    said = json.loads(lock.read_text())
    key = next(key for key in said["numbers"] if key.endswith("region pool0"))
    said["numbers"][key] += 32 << 20
    lock.write_text(json.dumps(said))
    made = made_of(Wish(topology))
    kept = json.loads(bytes(made.contents["labs/1/lock.json"]))  # type: ignore[arg-type]
    assert kept["numbers"][key] == said["numbers"][key]
    path = written(made, tmp_path / "b")
    checked(path)
    with opened(path) as bundle:
        ready = prepare_to_deploy(lay_out(bundle, bundle.manifest.labs[0]))
        assert json.loads(format_lock(ready.plan)) == said


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "topology/examples").glob("*.yaml")))
def test_every_example_can_be_bundled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are not built for this: what is in their place has a digest like any."""
    monkeypatch.setattr("vtool.bundle.making.ensure", lambda *_: {})
    topology = ROOT / "topology/examples" / f"{name}.yaml"
    asked = Means(prepare_to_deploy, lambda _: lambda _: ROOT / "README.md", None, Silent())
    checked(written(bundle_of([Wish(topology)], asked, "0.1.0", with_images=False), tmp_path / "b"))


# ---------------------------------------------------------------- what cannot be made


def test_absolute_files_are_refused(lab: Path) -> None:
    text = TOPOLOGY.replace("kernel: ../kernel}", f"kernel: {lab}/kernel}}")
    (lab / "labs/pair.yaml").write_text(text)
    refused("VT968", "is absolute", lambda: made_of(Wish(lab / "labs/pair.yaml")))


def test_a_topology_with_errors_has_its_own(lab: Path) -> None:
    (lab / "labs/pair.yaml").write_text(TOPOLOGY.replace("cpus: 1", "cpus: none"))
    refused("VT203", "whole number", lambda: made_of(Wish(lab / "labs/pair.yaml")))


def test_a_file_that_is_read_twice_by_links_is_noticed(lab: Path) -> None:
    (lab / "common/again.yaml").symlink_to("guest.yaml")
    (lab / "common/between.yaml").write_text("version: 1\ndomains: {fe0: {ready_timeout_s: 40}}\n")
    includes = "[../common/guest.yaml, ../common/between.yaml, ../common/again.yaml]"
    (lab / "labs/pair.yaml").write_text(TOPOLOGY.replace("[../common/guest.yaml]", includes))
    refused("VT968", "name each file once", lambda: made_of(Wish(lab / "labs/pair.yaml")))


def test_no_output_when_the_topology_is_wrong(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lab / "labs/pair.yaml").write_text("version: 1\n")
    assert main.main(["bundle", str(lab / "labs/pair.yaml"), "-o", str(tmp_path / "b"), "--without-boards"]) == 1
    assert "error[VT202]" in capsys.readouterr().err and not (tmp_path / "b").exists()


# ---------------------------------------------------------------- what is done with somebody else's


def changed(made: Made, path: Path, contents: dict[str, bytes], **lab: Any) -> Path:
    """Write a bundle in which somebody changed files and the manifest alike."""
    every = {**made.contents, **contents}
    every = {name: data for name, data in every.items() if data != b"gone"}
    members = tuple(member_of(name, every[name]) for name in sorted(every))
    labs = (made.manifest.labs[0].model_copy(update=lab), *made.manifest.labs[1:])
    write_bundle(path, made.manifest.model_copy(update={"members": members, "labs": labs}), every)
    return path


@pytest.fixture
def made(lab: Path) -> Made:
    return made_of(Wish(lab / "labs/pair.yaml"), with_images=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOPOLOGY.replace("../common/guest.yaml", "../../../../etc/passwd"), "includes '../../../../etc/passwd'"),
        (TOPOLOGY.replace("../common/guest.yaml", "../common/none.yaml"), "includes '../common/none.yaml'"),
        (TOPOLOGY.replace("../ramdisk", "../../../../../etc/shadow"), "names '../../../../../etc/shadow'"),
        (TOPOLOGY.replace("../ramdisk", "/etc/shadow"), "names '/etc/shadow'"),
        (TOPOLOGY.replace("../ramdisk", "../other"), "names '../other'"),
        (TOPOLOGY.replace("./facts.yaml", "../../../../etc/x.yaml"), "names '../../../../etc/x.yaml'"),
        (TOPOLOGY.replace("./facts.yaml", "/etc/x.yaml"), "names '/etc/x.yaml'"),
        (TOPOLOGY.replace("../kernel}", "~/kernel}"), "names '~/kernel'"),
    ],
)
def test_a_topology_that_leads_out_of_it(text: str, words: str, made: Made, tmp_path: Path) -> None:
    path = changed(made, tmp_path / "b", {"files/labs/pair.yaml": text.encode()})
    with opened(path) as bundle:
        error = refused("VT965", words, lambda: lay_out(bundle, bundle.manifest.labs[0]))
    assert "shadow:" not in str(error) and "root:" not in str(error)


def test_an_include_in_an_include_that_leads_out(made: Made, tmp_path: Path) -> None:
    text = b"version: 1\ninclude: [../../out.yaml]\n"
    path = changed(made, tmp_path / "b", {"files/common/guest.yaml": text})
    with opened(path) as bundle:
        refused("VT965", "'files/common/guest.yaml' includes", lambda: lay_out(bundle, bundle.manifest.labs[0]))


def test_places_are_shown_as_those_of_the_bundle(made: Made, tmp_path: Path) -> None:
    text = TOPOLOGY.replace("cpus: 1", "cpus: none")
    path = changed(made, tmp_path / "b", {"files/labs/pair.yaml": text.encode()})
    (found,) = refused("VT203", "whole number", lambda: checked(path)).diagnostics
    assert found.span is not None and str(found.span.path) == f"{path}/files/labs/pair.yaml" and found.span.line == 8
    assert found.span.text is not None and "cpus: none" in found.span.text


PART = BoardPart(facts="mine", facts_digest="0" * 64, images=("vtool:linux",))


@pytest.mark.parametrize(
    ("contents", "said", "words"),
    [
        ({"labs/1/plan.json": b"{}\n"}, {}, "labs/1/plan.json is another one"),
        ({"labs/1/plan.json": b"gone"}, {}, "labs/1/plan.json is missing"),
        ({"labs/1/board0/artifacts/boot/boot.cmd": b"reset"}, {}, "boot.cmd is another one"),
        ({"labs/1/board0/artifacts/boot/more": b"x"}, {}, "more follows from nothing"),
        ({"labs/2/x": b"x"}, {}, "'labs/2/x' is of no lab"),
        ({"results/x": b"x"}, {}, "it has results and is of no run"),
        ({"labs/1/lock.json": b'{"format": 1, "numbers": {"x": 1}}'}, {}, "lock.json is another one"),
        ({"files/labs/pair.yaml": TOPOLOGY.replace("256MiB", "128MiB").encode()}, {}, "another topology"),
        ({"files/labs/facts.yaml": b"more"}, {}, "the facts 'mine' of board 'board0' are others"),
        ({}, {"digest": "0" * 64}, "another topology than the manifest says"),
        ({}, {"settings": ("domains.fe0.cpus=2",)}, "another topology"),
        ({}, {"boards": {}}, "board 'board0' is missing"),
        ({}, {"boards": {"board1": PART}}, "there is no board 'board1' in the topology"),
        ({}, {"boards": {"board0": PART}}, "the images of board 'board0' are others"),
    ],
)
def test_what_does_not_follow(
    contents: dict[str, bytes], said: dict[str, Any], words: str, made: Made, tmp_path: Path
) -> None:
    facts = contents.get("files/labs/facts.yaml")
    if facts is not None:
        known = bytes(made.contents["files/labs/facts.yaml"])  # type: ignore[arg-type]
        contents = {"files/labs/facts.yaml": known.replace(b"cpus: 2", b"cpus: 3")}
        assert contents["files/labs/facts.yaml"] != known
    path = changed(made, tmp_path / "b", contents, **said)
    error = refused("VT967", ".", lambda: checked(path))
    (found,) = error.diagnostics
    assert words in "\n".join([found.message, *found.detail])
    assert found.hints == ("vtool 0.1.0 made it, this is vtool 0.1.0",) and error.exit_code is ExitCode.TOPOLOGY_WRONG


@pytest.mark.parametrize(
    "generation",
    [
        b"[]", b"{}", b"[" * 100_000, b"\xff", b"gone",
        b'{"files": 1}', b'{"files": [1]}', b'{"files": [], "generation": "x"}',
    ],
)  # fmt: skip
def test_what_is_no_generation(generation: bytes, lab: Path, tmp_path: Path) -> None:
    made = made_of(Wish(lab / "labs/pair.yaml"), lab / "inventory.yaml", with_images=True)
    path = changed(made, tmp_path / "b", {"labs/1/board0/generation.json": generation})
    (found,) = refused("VT967", ".", lambda: checked(path)).diagnostics
    assert found.detail[0].startswith("labs/1/board0/generation.json cannot be used: ")


def test_another_generation_than_the_manifest_says(lab: Path, tmp_path: Path) -> None:
    made = made_of(Wish(lab / "labs/pair.yaml"), lab / "inventory.yaml", with_images=True)
    part = made.manifest.labs[0].boards["board0"]
    for generation in ("0123456789abcdef", None):
        boards = {"board0": part.model_copy(update={"generation": generation})}
        path = changed(made, tmp_path / "b", {}, boards=boards)
        (found,) = refused("VT967", ".", lambda path=path: checked(path)).diagnostics  # type: ignore[misc]
        assert "labs/1/board0/generation.json" in found.detail[0]


def test_a_damaged_lock(made: Made, tmp_path: Path) -> None:
    for text in (b"[]", b"[" * 100_000):
        path = changed(made, tmp_path / "b", {"labs/1/lock.json": text})
        refused("VT412", "lock", lambda path=path: checked(path))  # type: ignore[misc]


def test_files_of_ones_own_lie_beside_it_or_in_it(lab: Path, tmp_path: Path) -> None:
    made = made_of(Wish(lab / "labs/pair.yaml"))
    path = written(made, tmp_path / "b")
    (found,) = refused("VT965", "it needs 'kernel'", lambda: checked(path)).diagnostics
    assert made.manifest.images[0].digest in found.hints[0] and "--with-images" in found.hints[1]
    (tmp_path / "kernel").write_bytes((lab / "kernel").read_bytes() + b"x")
    assert "it is another file" in refused("VT965", "kernel", lambda: checked(path)).diagnostics[0].hints[0]
    for name in ("kernel", "ramdisk"):
        shutil.copy(lab / name, tmp_path / name)
    checked(path)


# ---------------------------------------------------------------- what differs here


def differing(
    path: Path, monkeypatch: pytest.MonkeyPatch, lab: Path, wanted: Callable[[Wanted], Wanted] = lambda seen: seen
) -> list[str]:
    asked: Callable[..., dict[str, Wanted]] = differing_module.wanted_of
    monkeypatch.setattr(
        differing_module, "wanted_of", lambda *words: {name: wanted(one) for name, one in asked(*words).items()}
    )
    with opened(path) as bundle:
        one = bundle.lab(None)
        ready = prepare_to_deploy(lay_out(bundle, one))
        targets = targets_of(ready, Arguments(lab / "inventory.yaml"))  # type: ignore[arg-type]
        return differs_here(bundle, one, ready, targets, image_paths(ready, ready.plan.boards, Silent()))


def test_nothing_differs_where_it_was_made(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_of(Wish(lab / "labs/pair.yaml"), lab / "inventory.yaml", with_images=True)
    assert differing(written(made, tmp_path / "b"), monkeypatch, lab) == []


def test_other_firmware(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(made_of(Wish(lab / "labs/pair.yaml"), lab / "inventory.yaml", with_images=True), tmp_path / "b")
    dump_device_tree(Machine(2, 2 << 30), lab / "base.dtb")
    found = differing(path, monkeypatch, lab)
    assert found[0] == "the firmware of board 'board0' hands over another device tree"
    assert found[1].startswith("board 'board0' would get generation ") and found[2:] == [
        "  boot/board.dtb is another file"
    ]


def test_other_images_facts_and_program(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_of(Wish(lab / "labs/pair.yaml"), lab / "inventory.yaml", with_images=True)
    kernel = bytes(made.contents["files/kernel"].read_bytes()) + b"x"  # type: ignore[union-attr]
    image = made.manifest.images[0].model_copy(update={"digest": hashlib.sha256(kernel).hexdigest()})
    image = image.model_copy(update={"bytes": len(kernel)})
    manifest = made.manifest.model_copy(update={"images": (image, made.manifest.images[1])})
    path = changed(Made(manifest, made.contents), tmp_path / "b", {"files/kernel": kernel})
    found = differing(path, monkeypatch, lab)
    assert "  boot/Image is another file" in found and found[0].startswith("board 'board0' would get generation")

    def newer(seen: Wanted) -> Wanted:
        files = [file | {"sha256": "0"} if file["name"] == "vtool-board" else file for file in seen.generation["files"]]
        name = name_of_files((file["place"], file["name"], file["mode"], file["sha256"]) for file in files[1:])
        return Wanted(seen.firmware, {**seen.generation, "generation": name, "files": files[1:]})

    path = written(made, tmp_path / "c")
    found = differing(path, monkeypatch, lab, newer)
    assert "  generation/vtool-board is another file" in found and any(line.endswith(" is gone") for line in found)


def test_without_boards_only_what_is_known_is_compared(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(made_of(Wish(lab / "labs/pair.yaml"), with_images=True), tmp_path / "b")
    dump_device_tree(Machine(2, 2 << 30), lab / "base.dtb")
    assert differing(path, monkeypatch, lab) == []


def test_images_in_it_are_not_built() -> None:
    class Bundle:
        folder = ROOT
        manifest = a_manifest(images=())

    assert own_images(Bundle()) == {}  # type: ignore[arg-type]


# ---------------------------------------------------------------- runs


@pytest.fixture
def run(lab: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    variants = []
    for name, settings in (("cpus=1", []), ("cpus=2", ["domains.fe0.cpus=2"])):
        ready = prepare_to_deploy(lab / "labs/pair.yaml", (), settings)
        variants.append({
            "id": name, "axes": {"cpus": name[-1]}, "topology": str(lab / "labs/pair.yaml"), "settings": settings,
            "digest": digest_of(ready.document.value),
        })  # fmt: skip
    faults = [{"code": "VT310", "message": "cannot be"}]
    variants.append({"id": "cpus=9", "axes": {"cpus": "9"}, "topology": "gone.yaml", "faults": faults})
    cells = [{"id": f"{one['id']}/read@disk0", "variant": one["id"], "workload": "read"} for one in variants]
    with open_run(folder, a_run(variants=variants, cells=cells, axes={"cpus": ["1", "2", "9"]})) as opened_run:
        raw = opened_run.keep_raw("cpus=1/read@disk0", "1.fio.json", b'{"jobs": []}')
        assert raw is not None
        opened_run.keep_raw("cpus=1/read@disk0", "not-named", b"hunter2")
        opened_run.append(a_repetition(cell="cpus=1/read@disk0", raw=(raw,)))
        known = {"variant": "cpus=1", "board": "board0", "session": 1, "started": NOON, "seconds": 1.0}
        opened_run.append(Deployment(**known, generation="0123456789abcdef"))
    with (folder / "run.jsonl").open("ab") as file:
        file.write(b'{"rec')
    return folder


def bundled(run: Path, inventory: Path | None = None) -> Made:
    read = read_run(run)
    return bundle_of(wishes_of(read), means(inventory), "0.1.0", with_images=True, run=read)


def test_a_run_has_all_its_variants_and_results(run: Path, lab: Path, tmp_path: Path) -> None:
    made = bundled(run, lab / "inventory.yaml")
    assert [one.id for one in made.manifest.labs] == ["cpus=1", "cpus=2"]
    codes = [found.code for found in made.warnings]
    assert codes == ["VT935", "VT968"] and "0123456789abcdef" in made.warnings[1].message
    path = written(made, tmp_path / "b")
    checked(path)
    data = path.read_bytes()
    assert b"hunter2" not in data and b'{"rec\n' not in data
    with tarfile.open(path) as tar:
        names = [name for name in tar.getnames() if name.startswith("results/")]
        tar.extractall(tmp_path / "out")
    assert len(names) == 2
    again = read_run(tmp_path / "out" / "results")
    assert again.run == read_run(run).run and len(again.repetitions) == 1 and not again.warnings
    with opened(path) as bundle:
        assert not (bundle.folder / "results").exists()
        refused("VT441", "has 2 variants", lambda: bundle.lab(None))
        refused("VT441", "no variant 'cpus=3'", lambda: bundle.lab("cpus=3"))
        two = bundle.lab("cpus=2")
        assert prepare_to_deploy(lay_out(bundle, two), (), two.settings).topology.domains["fe0"].cpus == 2


def test_a_run_is_bundled_from_any_folder_and_where_it_was_moved_to(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    ready = prepare_to_deploy(lab / "labs/pair.yaml", [lab / "labs/more.yaml"])
    variant = {
        "id": "pair", "axes": {}, "topology": "labs/pair.yaml", "overlays": ["labs/more.yaml"],
        "digest": digest_of(ready.document.value),
    }  # fmt: skip
    said = {"variants": [variant], "cells": [], "axes": {}}
    with open_run(lab / "runs/1", a_run(**said, called_from="../..")):
        pass
    whole = {}
    for folder in (lab, tmp_path / "first"):
        if folder is not lab:
            shutil.move(lab, folder / "moved")
        monkeypatch.chdir(tmp_path / "second")
        run = (lab if folder is lab else folder / "moved") / "runs/1"
        whole[folder] = written(bundled(run), tmp_path / "b").read_bytes()
    assert len(set(whole.values())) == 1
    with open_run(tmp_path / "alone", a_run(**said, called_from="../..")):
        pass
    monkeypatch.chdir(tmp_path / "first/moved")
    assert written(bundled(tmp_path / "alone"), tmp_path / "b").exists(), "or from where vtool bench was called"
    with open_run(tmp_path / "old", a_run(**said)):
        pass
    assert written(bundled(tmp_path / "old"), tmp_path / "b").exists()


def test_a_board_is_rendered_once(run: Path, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vtool.bundle import derived as module

    rendered: list[str] = []
    usual = module.render
    monkeypatch.setattr(module, "render", lambda board: rendered.append(board.name) or usual(board))
    made_of(Wish(lab / "labs/pair.yaml"))
    assert rendered == ["board0"]


def test_the_bundle_of_a_run_is_deployed_like_that_of_a_topology(
    run: Path, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to what Ansible would begin with: boards, plans and images are those of the variant."""
    made = bundled(run, lab / "inventory.yaml")
    path = written(made, tmp_path / "b")
    seen: list[tuple[int, str]] = []

    class Play:
        def on(self, name: str, targets: Sequence[Any], image_path: Callable[[str], Path]) -> list[Any]:
            ((plan, _),) = targets
            generation = differing_module.wanted_of(name, targets, image_path)["board0"].generation["generation"]
            seen.append((plan.kvm_guests[0].cpus, generation))
            return []

    monkeypatch.setattr("vtool.cli.deploy_verb.playing", lambda *_: contextlib.nullcontext(Play()))
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(lab / "labs")
    inventory = ("--inventory", lab / "inventory.yaml")
    (lab / "inventory.yaml").write_text((lab / "inventory.yaml").read_text().replace("labs/facts.yaml", "mine.yaml"))
    facts = (ROOT / "topology/boards/qemu-virt.yaml").read_text()
    (lab / "mine.yaml").write_text(facts.replace("name: qemu-virt", "name: mine"))
    assert vtool("deploy", path, *inventory) == 2 and "name one with --variant" in capsys.readouterr().err
    for number, one in enumerate(made.manifest.labs, 1):
        assert vtool("deploy", path, "--variant", one.id, *inventory) == 3, capsys.readouterr().err
        assert seen == [(number, one.boards["board0"].generation)]
        seen.clear()
    dump_device_tree(Machine(2, 2 << 30), lab / "base.dtb")
    capsys.readouterr()
    assert vtool("deploy", path, "--variant", "cpus=2", *inventory) == 3 and not seen
    assert "the firmware of board 'board0' hands over another device tree" in capsys.readouterr().err
    assert vtool("deploy", path, "--variant", "cpus=2", "--accept-differences", *inventory) == 3 and len(seen) == 1


def test_a_topology_that_changed_since(run: Path, lab: Path) -> None:
    (lab / "labs/pair.yaml").write_text(TOPOLOGY.replace("256MiB", "128MiB"))
    refused("VT968", "variant 'cpus=1' has changed since it was measured", lambda: bundled(run))


def test_a_topology_that_is_gone(run: Path, lab: Path) -> None:
    (lab / "labs/pair.yaml").unlink()
    (found,) = refused("VT968", "of variant 'cpus=1' is not there", lambda: bundled(run)).diagnostics
    assert "where vtool bench was" in found.hints[0]


def test_a_run_in_which_nothing_can_be(tmp_path: Path) -> None:
    faults = [{"code": "VT310", "message": "cannot be"}]
    with open_run(tmp_path / "r", a_run(variants=[{"id": "path=pool", "axes": {}, "topology": "t", "faults": faults}])):
        pass
    refused("VT968", "no variant that could be deployed", lambda: bundled(tmp_path / "r"))


def test_output_that_changed_since(run: Path) -> None:
    (raw,) = [raw for one in read_run(run).repetitions for raw in one.raw]
    (run / raw.path).write_bytes(b"x")
    refused("VT968", "is not what .* says that was measured", lambda: bundled(run))
    (run / raw.path).unlink()
    refused("VT100", "no such file", lambda: bundled(run))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda names: {"results/run.jsonl": b"gone"}, "VT930"),
        (lambda names: {"results/more": b"x"}, "results/more is named by no record"),
        (lambda names: {names[0]: b"x"}, "is not what was measured"),
        (lambda names: {names[0]: b"gone"}, "is not what was measured"),
    ],
)
def test_results_that_are_not_of_the_run(
    change: Callable[[Sequence[str]], dict[str, bytes]], words: str, run: Path, tmp_path: Path
) -> None:
    made = bundled(run)
    names = [name for name in made.contents if name.startswith("results/raw")]
    path = changed(made, tmp_path / "b", change(names))
    with pytest.raises(VtoolError) as caught:
        checked(path)
    shown = "\n".join(f"{one.code} {one.message} {one.detail}" for one in caught.value.diagnostics)
    assert words in shown


def test_results_of_other_topologies(run: Path, tmp_path: Path) -> None:
    made = bundled(run)
    labs = tuple(Lab(**{**dict(one), "id": one.id.replace("1", "7")}) for one in made.manifest.labs)
    manifest = Manifest(**{**dict(made.manifest), "labs": labs})
    path = written(Made(manifest, made.contents), tmp_path / "b")
    error = refused("VT967", "its results are not of its labs", lambda: checked(path))
    assert "variant 'cpus=1' was another topology" in error.diagnostics[0].detail


# ---------------------------------------------------------------- the command line


def vtool(*words: object) -> int:
    return main.main([str(word) for word in words])


def test_the_verb(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (lab / "labs/pair.yaml", "--inventory", lab / "inventory.yaml", "-o", tmp_path / "b")
    assert vtool("bundle", *words, "--with-images") == 0
    said = capsys.readouterr()
    assert "board board0 (mine), generation" in said.out
    assert f"SHA-256 {hashlib.sha256((tmp_path / 'b').read_bytes()).hexdigest()}" in said.err
    assert vtool("bundle", "--check", tmp_path / "b") == 0
    assert capsys.readouterr().out == said.out
    xen = tmp_path / "xen"  # another process follows to the same, too
    assert vtool("bundle", ROOT / "topology/examples/dom0less-static.yaml", "-o", xen, "--without-boards") == 0
    subprocess.run([sys.executable, "-m", "vtool.cli.main", "bundle", "--check", xen], check=True, capture_output=True)
    capsys.readouterr()
    assert vtool("bundle", "--check", tmp_path / "b", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "pair"


def test_wrong_words(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topology = lab / "labs/pair.yaml"
    path = written(made_of(Wish(topology)), tmp_path / "b")
    assert vtool("bundle", topology) == 2 and vtool("bundle", "--check", path, "-o", "x") == 2
    assert vtool("bundle", lab, "-o", tmp_path / "c") == 1 and "VT930" in capsys.readouterr().err
    assert vtool("bundle", topology, "-o", topology, "--without-boards") == 1 and "VT969" in capsys.readouterr().err
    assert topology.read_text() == TOPOLOGY
    for option in (["--set", "a.b=1"], ["--overlay", "x"]):
        assert vtool("deploy", path, *option) == 2 and "VT970" in capsys.readouterr().err
    for option in (["--variant", "x"], ["--accept-differences"]):
        assert vtool("deploy", topology, *option) == 2 and "VT970" in capsys.readouterr().err
    assert vtool("deploy", path, "--variant", "x") == 2 and "VT441" in capsys.readouterr().err
    for verb in ("validate", "verify", "down", "plan", "map", "status"):
        assert vtool(verb, path) == 2 and "error[VT970]" in capsys.readouterr().err
    assert vtool("bundle", "--check", topology) == 1 and "VT960" in capsys.readouterr().err


def test_a_deploy_of_what_is_no_whole_bundle_starts_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def started(*_: object) -> None:
        raise AssertionError("Ansible would have been started")

    monkeypatch.setattr("vtool.cli.deploy_verb.playing", started)
    path = written(made, tmp_path / "b")
    path.write_bytes(path.read_bytes()[:-1])
    assert vtool("deploy", path) == 1
    assert "error[VT963]" in capsys.readouterr().err


def test_a_run_without_its_raw_outputs_says_what_can_be_done(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As those that are published: their records alone. Before anything is built."""
    shutil.rmtree(run / "raw")
    assert main.main(["bundle", str(run), "-o", str(tmp_path / "run.vtool"), "--without-boards"]) == 1
    err = capsys.readouterr().err
    assert "error[VT968]" in err and "outputs of tools" in err and "hint: records alone can be compared" in err
    assert not (tmp_path / "run.vtool").exists()


def test_each_kind_of_file_named_for_another_is_told_apart(
    lab: Path, run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = written(made_of(Wish(lab / "labs/pair.yaml")), tmp_path / "lab.vtool")
    for words, said in (
        (["bundle", str(file), "-o", str(tmp_path / "again.vtool")], f"'{file}' is a bundle already"),
        (["bundle", "--check", str(run)], f"'{run}' is a folder, no bundle"),
        (["compare", str(file)], f"'{file}' is no run folder: it is a file"),
        (["report", str(file), "-o", str(tmp_path / "r.html")], f"'{file}' is no run folder: it is a file"),
        (["compare", str(tmp_path / "none")], f"'{tmp_path / 'none'}' is no run folder: it is not there"),
    ):
        assert main.main(words) == 1
        err = capsys.readouterr().err
        assert said in err and "hint: " in err, err
