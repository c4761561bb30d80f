"""Large objects by what differs: whatever the two are, what arrives is the new one."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtool.deploy.on_board import delta, generations

B = delta.BLOCK_BYTES
EDITS = st.lists(st.tuples(st.integers(0, 6 * B), st.integers(1, 2 * B)), max_size=4)


def put(folder: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(exist_ok=True)
    (folder / digest).write_bytes(content)
    return digest


def sent(folder: Path, old: bytes, new: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send one object to a store that has another one; return how much went over."""
    store = folder / "store"
    monkeypatch.setattr(generations, "STORE", store)
    base, digest, out = put(store, old), put(folder / "new", new), io.BytesIO()
    offered = delta.base_of(store / base, base)
    assert offered is not None
    delta.send(folder / "new", [digest], {digest: offered}, out)
    out.seek(0)
    with tarfile.open(fileobj=out, mode="r|") as tar:
        for member in tar:
            generations.take_object(member, tar.extractfile(member))
    assert (store / digest).read_bytes() == new and (store / base).read_bytes() == old
    return len(out.getvalue())


@given(st.integers(0, 5 * B), st.integers(0, 5 * B), EDITS)
def test_what_arrives_is_the_new_one(before: int, after: int, edits: list[tuple[int, int]]) -> None:
    rng = Random(before + after)
    old = rng.randbytes(before)
    new = bytearray(old[:after].ljust(after, b"x"))
    for start, length in edits:
        piece = rng.randbytes(len(new[start : start + length]))
        new[start : start + len(piece)] = piece
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        sent(Path(folder), old, bytes(new), monkeypatch)


def test_what_did_not_change_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Random(1).randbytes(80 * B + 17)
    new = old[: 40 * B] + b"changed" + old[40 * B + 7 :]
    assert sent(tmp_path, old, new, monkeypatch) < 2 * B


def test_a_damaged_base_is_not_offered(tmp_path: Path) -> None:
    digest = put(tmp_path, b"a" * B)
    (tmp_path / digest).write_bytes(b"b" * B)
    assert delta.base_of(tmp_path / digest, digest) is None and delta.base_of(tmp_path / "none", digest) is None


def test_a_base_that_changed_since_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, old = tmp_path / "store", Random(2).randbytes(4 * B)
    monkeypatch.setattr(generations, "STORE", store)
    base, out = put(store, old), io.BytesIO()
    digest = put(tmp_path / "new", old[:B] + b"new" + old[B + 3 :])
    offered = delta.base_of(store / base, base)
    assert offered is not None
    delta.send(tmp_path / "new", [digest], {digest: offered}, out)
    (store / base).write_bytes(b"spoiled" + old[7:])
    out.seek(0)
    with tarfile.open(fileobj=out, mode="r|") as tar:
        member = tar.next()
        assert member is not None and member.name.endswith(delta.SUFFIX)
        with pytest.raises(generations.BoardError) as caught:
            generations.take_object(member, tar.extractfile(member))
    assert caught.value.code == "VT707" and sorted(path.name for path in store.iterdir()) == [base]
