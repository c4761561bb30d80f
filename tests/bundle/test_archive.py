"""The file of a bundle: the same bytes from the same content, whole or not at all, and nothing else is ever read."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vtool.bundle import MANIFEST, archive, is_bundle
from vtool.bundle.archive import manifest_text, member_of, read_bundle, write_bundle
from vtool.bundle.manifest import BoardPart, Image, Lab, Manifest, bundle_schema
from vtool.diagnostics import VtoolError

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "0" * 64
CONTENTS: dict[str, bytes] = {
    "files/pair.yaml": b"version: 1\n",
    "images/linux": bytes(range(256)) * 9,
    "labs/1/empty": b"",
    "labs/1/lock.json": b"{}\n",
}


def a_manifest(contents: dict[str, bytes] = CONTENTS, **changes: Any) -> Manifest:
    board = BoardPart(facts="qemu-virt", facts_digest=DIGEST, images=("vtool:linux",))
    lab = Lab(id="pair", folder="labs/1", topology="files/pair.yaml", digest=DIGEST, boards={"board0": board})
    members = tuple(member_of(name, contents[name]) for name in sorted(contents))
    said: dict[str, Any] = {
        "vtool": "0.1.0", "of": "topology", "name": "pair", "labs": (lab,), "images": (), "members": members,
    }  # fmt: skip
    return Manifest(**said | changes)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "pair.vtool"
    write_bundle(path, a_manifest(), CONTENTS)
    return path


def taken(path: Path, folder: Path) -> Manifest:
    """Read a bundle and unpack all of it."""
    return read_bundle(path, lambda manifest: {m.path: folder / m.path for m in manifest.members})


def refused(path: Path, code: str, words: str = ".") -> None:
    """Check that a bundle is refused with a code, and that nothing outside the folder to unpack into is touched."""
    box = path.parent / "box"
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(VtoolError, match=words) as caught:
        taken(path, box / "inner")
    assert [found.code for found in caught.value.diagnostics] == [code]
    assert sorted(p for p in path.parent.rglob("*") if box not in (p, *p.parents)) == before
    assert not box.exists() or [child.name for child in box.iterdir()] == ["inner"]
    assert not any(child.is_symlink() for child in box.rglob("*"))
    shutil.rmtree(box, ignore_errors=True)


# ---------------------------------------------------------------- what is written


def test_what_is_written_is_read_by_us_and_by_tar(bundle: Path, tmp_path: Path) -> None:
    assert is_bundle(bundle) and taken(bundle, tmp_path / "out") == a_manifest()
    assert {name: (tmp_path / "out" / name).read_bytes() for name in CONTENTS} == CONTENTS
    with tarfile.open(bundle) as tar:
        infos = tar.getmembers()
        assert [info.name for info in infos] == [MANIFEST, *sorted(CONTENTS), f"{MANIFEST}.sha256"]
        assert {(info.mode, info.uid, info.gid, info.mtime, info.uname) for info in infos} == {(0o644, 0, 0, 0, "")}
        assert all(tar.extractfile(name).read() == data for name, data in CONTENTS.items())  # type: ignore[union-attr]


def test_sha256sum_checks_the_manifest(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", bundle, "-C", tmp_path], check=True)
    subprocess.run(["sha256sum", "--check", "--strict", f"{MANIFEST}.sha256"], cwd=tmp_path, check=True)


def test_the_same_content_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in reversed(CONTENTS):
        (other / name.replace("/", "_")).write_bytes(CONTENTS[name])
    digest = write_bundle(other / "b", a_manifest(), {name: other / name.replace("/", "_") for name in CONTENTS})
    assert (other / "b").read_bytes() == bundle.read_bytes()
    assert digest == hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_no_more_is_kept_than_is_wanted(bundle: Path, tmp_path: Path) -> None:
    read_bundle(bundle, lambda _: {"images/linux": tmp_path / "out" / "kernel"})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kernel"]


def test_the_schema_checked_in_is_the_manifests() -> None:
    checked_in = json.loads((ROOT / "docs/reference/bundle-format.schema.json").read_text())
    assert checked_in == bundle_schema(), "run `vtool schema --of bundle -o docs/reference/bundle-format.schema.json`"
    Draft202012Validator(checked_in).validate(json.loads(manifest_text(a_manifest())))


def test_the_page_names_every_part() -> None:
    page = (ROOT / "docs/reference/bundle-format.md").read_text()
    parts = {name for definition in bundle_schema()["$defs"].values() for name in definition["properties"]}
    assert [name for name in parts | set(bundle_schema()["properties"]) if f"`{name}`" not in page] == []


def test_what_is_no_bundle_is_not_overwritten(tmp_path: Path, bundle: Path) -> None:
    topology = tmp_path / "pair.yaml"
    topology.write_text("version: 1\n")
    (tmp_path / "link").symlink_to(bundle)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pair.yaml", "link", "pipe", "."):
        with pytest.raises(VtoolError, match="is not overwritten") as caught:
            write_bundle(tmp_path / name, a_manifest(), CONTENTS)
        assert caught.value.diagnostics[0].code == "VT969"
    assert topology.read_text() == "version: 1\n"
    write_bundle(bundle, a_manifest(name="again"), CONTENTS)  # a bundle is
    assert read_bundle(bundle, lambda _: {}).name == "again"


class _Full(io.BufferedIOBase):
    """A file on a disk that is full after some bytes, or at which somebody presses Ctrl-C."""

    def __init__(self, inner: io.BufferedWriter, left: int, error: BaseException) -> None:
        self._inner, self._left, self._error = inner, left, error

    def write(self, data: Any) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise self._error
        return self._inner.write(data)

    def flush(self) -> None:
        if not self._inner.closed:
            self._inner.flush()

    def fileno(self) -> int:
        return self._inner.fileno()

    def close(self) -> None:
        self._inner.close()
        super().close()


@pytest.mark.parametrize("left", [0, 600, 4000, 8000])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_or_ctrl_c_leaves_what_was_there(
    left: int, error: BaseException, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pair.vtool"
    if there:
        write_bundle(path, a_manifest(name="before"), CONTENTS)
    before = path.read_bytes() if there else None
    opened: Callable[..., Any] = Path.open

    def open_full(name: Path, mode: str = "r", *words: Any) -> Any:
        return _Full(opened(name, mode), left, error) if mode == "wb" else opened(name, mode, *words)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises((VtoolError, KeyboardInterrupt)) as caught:
        write_bundle(path, a_manifest(), CONTENTS)
    monkeypatch.undo()
    if isinstance(caught.value, VtoolError):
        assert "VT969" in str(caught.value) and "no space left" in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == (["pair.vtool"] if there else [])
    assert not there or path.read_bytes() == before


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(CONTENTS["images/linux"][::-1])
    with pytest.raises(VtoolError, match="'images/linux' changed while it was read"):
        write_bundle(tmp_path / "b", a_manifest(), {**CONTENTS, "images/linux": kernel})
    assert [path.name for path in tmp_path.iterdir()] == ["kernel"]


def test_a_folder_that_is_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(VtoolError, match=r"VT969: '.*/none/b': cannot be written: no such file or directory"):
        write_bundle(tmp_path / "none" / "b", a_manifest(), CONTENTS)


# ---------------------------------------------------------------- what is no bundle


@pytest.mark.parametrize("data", [b"", b"version: 1\n", b"PK\3\4", bytes(4096), MANIFEST.encode(), b"\xff" * 600])
def test_no_bundle(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    assert not is_bundle(tmp_path / "x")
    refused(tmp_path / "x", "VT960", "is no bundle")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "none"):
        assert not is_bundle(tmp_path / name)
        refused(tmp_path / name if name != "." else tmp_path / "sub" / "..", "VT100")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, where: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "b"
    write_bundle(path, a_manifest(), CONTENTS)
    whole = path.read_bytes()
    path.write_bytes(whole[: where % len(whole)])
    with pytest.raises(VtoolError) as caught:
        taken(path, folder / "out")
    assert caught.value.diagnostics[0].code in {"VT963"} | ({"VT960"} if where % len(whole) <= len(MANIFEST) else set())


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_no_byte_can_be_another(tmp_path_factory: pytest.TempPathFactory, where: int, flip: int) -> None:
    folder = tmp_path_factory.mktemp("flip")
    path = folder / "b"
    write_bundle(path, a_manifest(), CONTENTS)
    data = bytearray(path.read_bytes())
    data[where % len(data)] ^= flip
    path.write_bytes(data)
    with pytest.raises(VtoolError) as caught:
        taken(path, folder / "out" / "inner")
    assert caught.value.diagnostics[0].code in {f"VT{n}" for n in range(960, 965)}
    assert {child.name for child in folder.iterdir()} <= {"b", "out"}


def test_something_after_its_end(bundle: Path) -> None:
    bundle.write_bytes(bundle.read_bytes() + b"x")
    refused(bundle, "VT963", "something comes after its end")


# ---------------------------------------------------------------- manifests


def with_manifest(path: Path, change: Callable[[dict[str, Any]], object], *, spelling: bool = True) -> None:
    """Put another manifest into a bundle, and leave the rest as it is."""
    said = json.loads(manifest_text(a_manifest()))
    change(said)
    text = json.dumps(said, indent=1 if spelling else 2, sort_keys=True).encode() + b"\n"
    write_manifest(path, text)


def write_manifest(path: Path, text: bytes) -> None:
    data = path.read_bytes()
    old = len(manifest_text(a_manifest()))
    rest = data[512 + old + -old % 512 :]
    path.write_bytes(archive._header(MANIFEST, len(text)) + text + bytes(-len(text) % 512) + rest)


@pytest.mark.parametrize("version", [2, 0, "1", True, None, [1], 1.5])
def test_another_version(version: Any, bundle: Path) -> None:
    with_manifest(bundle, lambda said: said.update(version=version, vtool="9.1"))
    refused(bundle, "VT960", "this vtool reads 1")


def test_another_format(bundle: Path) -> None:
    with_manifest(bundle, lambda said: said.update(format="vtool-bench"))
    refused(bundle, "VT960", "not of format vtool-bundle")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "files/../../x", "files/./x", "files//x", "files/x/", "../x", "files", "x", "", "files/a\\b",
        "files/a\nb", "files/\u2028", "files/..", "other/x", "files/" + "x" * 300, "files/\x1b[2J", MANIFEST,
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere(name: str, bundle: Path) -> None:
    with_manifest(bundle, lambda said: said["members"][0].update(path=name))
    refused(bundle, "VT961")


BOARD = {"facts": "f", "facts_digest": DIGEST, "images": [], "firmware": None, "generation": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said["members"].insert(0, said["members"][0]), "'files/pair.yaml' is there twice"),
        (lambda said: said["members"].reverse(), "not sorted"),
        (lambda said: said["members"].pop(0), "'files/pair.yaml' is named and not there"),
        (lambda said: said["members"].insert(1, said["members"][0] | {"path": "files/pair.yaml/x"}), "and a folder"),
        (lambda said: said["labs"].clear(), "labs"),
        (lambda said: said["labs"].append(said["labs"][0]), "two of its labs"),
        (lambda said: said["labs"][0].update(topology="files/other.yaml"), "'files/other.yaml' is named"),
        (lambda said: said["labs"][0].update(topology="../x.yaml"), "relative"),
        (lambda said: said["labs"][0].update(overlays=["/etc/shadow"]), "relative"),
        (lambda said: said.update(name="\x1b[2J"), "name: .*control characters"),
        (lambda said: said.update(vtool="\x1b]0;x\x07"), "vtool: .*control characters"),
        (lambda said: said["labs"][0].update(id="a\nb"), "id: .*control characters"),
        (lambda said: said["labs"][0].update(settings=["a=\x9b"]), "settings.*control characters"),
        (lambda said: said["labs"][0].update(boards={"b\x1b": BOARD}), "control characters"),
        (lambda said: said["labs"][0].update(boards={"b": BOARD | {"facts": "\x1b"}}), "facts: .*control characters"),
        (lambda said: said["labs"][0].update(boards={"b": BOARD | {"generation": "../x"}}), "generation"),
        (lambda said: said["members"][0].update(bytes=-1), "bytes"),
        (lambda said: said["members"][0].update(bytes="11"), "bytes"),
        (lambda said: said["members"][0].update(bytes=5 << 30), "bytes"),
        (lambda said: said["members"][0].update(digest="0" * 63), "digest"),
        (lambda said: said["members"][0].update(mode=0o4755), "mode"),
        (lambda said: said.pop("labs"), "labs"),
        (lambda said: said["images"].append({"name": "vtool:../x", "bytes": 1, "digest": DIGEST}), "images"),
        (lambda said: said["images"].append({"name": "/etc/shadow", "bytes": 1, "digest": DIGEST}), "images"),
        (
            lambda said: said["images"].append({"name": "vtool:linux", "bytes": 1, "digest": DIGEST, "made_of": None}),
            "'images/linux' is not the image 'vtool:linux'",
        ),
    ],
)
def test_a_damaged_manifest(change: Callable[[dict[str, Any]], object], words: str, bundle: Path) -> None:
    with_manifest(bundle, change)
    refused(bundle, "VT961", words)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b'{"a":1,}', b"\xff\xfe", b'{"version": "\\ud800"}'])
def test_a_manifest_that_is_no_json(text: bytes, bundle: Path) -> None:
    write_manifest(bundle, text)
    refused(bundle, "VT961", "not JSON")


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"x"'])
def test_a_manifest_that_is_no_mapping(text: bytes, bundle: Path) -> None:
    write_manifest(bundle, text)
    refused(bundle, "VT960")


def test_a_manifest_in_another_spelling(bundle: Path) -> None:
    with_manifest(bundle, lambda _: None, spelling=False)
    refused(bundle, "VT961", "not as vtool writes it")
    write_manifest(bundle, manifest_text(a_manifest()).replace(b'"name": "pair"', b'"name": "x",\n "name": "pair"'))
    refused(bundle, "VT961", "not as vtool writes it")


def test_a_manifest_without_end(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MANIFEST_BYTES", 100)
    refused(bundle, "VT964", "at most 100 are read")
    with pytest.raises(VtoolError, match="VT964"):
        write_bundle(bundle, a_manifest(), CONTENTS)


def test_more_than_is_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 2000)
    refused(bundle, "VT964", "its members have 2318 bytes, at most 2000 are read")


def test_a_hole_that_claims_to_be_large_is_not_unpacked(bundle: Path) -> None:
    """Of a file of 1 TiB that is one hole no more is read than the manifest allows."""
    with_manifest(bundle, lambda said: said["members"][1].update(bytes=4 << 30))
    os.truncate(bundle, 1 << 40)
    refused(bundle, "VT962", "'images/linux' has 2304 bytes, and 4294967296 by the manifest")


# ---------------------------------------------------------------- members


def retarred(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object]) -> None:
    """Write the bundle's members anew, as somebody with a tar program would."""
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar.getmembers()]  # type: ignore[union-attr]
    change(members)
    data = b"".join(
        info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape") + body + bytes(-len(body) % 512)
        for info, body in members
    )
    path.write_bytes(data + bytes(1024))


def another(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", body: bytes = b"") -> tuple[Any, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(body)
    return info, body


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"), (tarfile.FIFOTYPE, "a named pipe"), (tarfile.DIRTYPE, "a folder"),
        (b"S", "no plain file"), (b"x", "no plain file"), (b"L", "no plain file"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["files/pair.yaml", "files/other", "/etc/passwd", "../x"])
def test_what_is_no_plain_file(kind: bytes, words: str, name: str, bundle: Path) -> None:
    retarred(bundle, lambda members: members.insert(1, another(name, kind, "/etc/shadow")))
    refused(bundle, "VT962", f"'{re.escape(name)}/?' is {words}")


@pytest.mark.parametrize("name", ["files/zzz", "/etc/passwd", "../../x", "files/../../x"])
@pytest.mark.parametrize("place", [1, 3, 5])
def test_what_is_not_in_the_manifest(name: str, place: int, bundle: Path) -> None:
    retarred(bundle, lambda members: members.insert(place, another(name, body=b"x")))
    refused(bundle, "VT962", f"'{re.escape(name)}' is not in its manifest")


def test_a_member_twice(bundle: Path) -> None:
    retarred(bundle, lambda members: members.insert(2, members[1]))
    refused(bundle, "VT962", "'files/pair.yaml' is there twice")


def test_a_member_missing_or_out_of_place(bundle: Path) -> None:
    data = bundle.read_bytes()
    retarred(bundle, lambda members: members.pop(1))
    refused(bundle, "VT962", "'images/linux' stands where 'files/pair.yaml' should be")
    bundle.write_bytes(data)
    retarred(bundle, lambda members: members.pop(4))
    refused(bundle, "VT962", f"'{MANIFEST}.sha256' is not in its manifest")
    bundle.write_bytes(data)
    retarred(bundle, lambda members: members.pop())
    refused(bundle, "VT963", "is cut short at its end|something else comes after")


@pytest.mark.parametrize("field", [{"mode": 0o4755}, {"mtime": 1}, {"uid": 1000}, {"gname": "wheel"}])
def test_a_member_with_other_rights_or_times(field: dict[str, Any], bundle: Path) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for key, value in field.items():
            setattr(members[1][0], key, value)

    retarred(bundle, change)
    refused(bundle, "VT962", "another owner, mode or time")


def test_other_content(bundle: Path) -> None:
    retarred(bundle, lambda members: members.__setitem__(1, (members[1][0], b"version: 2\n")))
    refused(bundle, "VT962", "the content of 'files/pair.yaml' is not what its manifest says")


def test_no_room_to_unpack(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VtoolError, match=r"VT969: .* cannot be unpacked"):
        taken(bundle, tmp_path / "file")


def test_a_long_name_and_what_is_no_name(tmp_path: Path) -> None:
    deep = "files/" + "/".join(["d" * 40] * 5) + "/x"
    contents = {**CONTENTS, deep: b"1"}
    write_bundle(tmp_path / "b", a_manifest(contents), contents)
    assert taken(tmp_path / "b", tmp_path / "out").members[0].path == deep


def test_images_have_their_places() -> None:
    image = Image(name="vtool:linux", bytes=1, digest=DIGEST)
    assert image.member == "images/linux"
    assert Image(name="files/kernel", bytes=1, digest=DIGEST).member == "files/kernel"
