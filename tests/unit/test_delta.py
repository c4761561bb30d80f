"""Large objects by what differs: whatever the two are, what arrives is the new one."""

from __future__ import annotations

import argparse
import errno
import hashlib
import io
import itertools
import json
import lzma
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtool.deploy.board_lock import Held
from vtool.deploy.on_board import delta, generations
from vtool.deploy.tasks import send_objects
from vtool.deploy.transfer import Base, Packing, Range, bases_of, transfer
from vtool.diagnostics import board_failed

B = 4 * delta.PAGE_BYTES
EDITS = st.lists(st.tuples(st.integers(0, 6 * B), st.integers(1, 2 * B)), max_size=4)


def put(folder: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(exist_ok=True)
    (folder / digest).write_bytes(content)
    return digest


def receive(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        generations.verb_receive(argparse.Namespace())


def known(folder: Path, objects: Path, digest: str, offered: dict[str, str]) -> dict[str, Base]:
    """Return what is known of an object's base, when what differs was asked for."""

    def ask(name: str, blocks: Sequence[Range]) -> str:
        return delta.told(delta.pages_in(folder / name, blocks))

    return bases_of({digest: objects / digest}, {digest: offered}, ask)


def sent(folder: Path, old: bytes, new: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send one object to a store that has another one; return how much went over."""
    store = folder / "store"
    monkeypatch.setattr(generations, "STORE", store)
    monkeypatch.setattr(generations, "FOLDER", store.parent)
    base, digest = put(store, old), put(folder / "new", new)
    offered = delta.base_of(store / base, f"store/{base}")
    assert offered is not None
    data = b"".join(transfer({digest: folder / "new" / digest}, known(folder, folder / "new", digest, offered)))
    receive(data)
    assert (store / digest).read_bytes() == new and (store / base).read_bytes() == old
    return len(data)


@settings(deadline=None, max_examples=50)
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


def test_pages_that_moved_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Random(6).randbytes(100 * B)
    new = old[: 10 * B] + Random(7).randbytes(delta.PAGE_BYTES) + old[10 * B :]
    assert sent(tmp_path, old, new, monkeypatch) < 3 * B


def test_zeros_are_not_sent_and_take_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Random(8).randbytes(4 * B)
    new = old + bytes(500 * B) + b"end"
    assert sent(tmp_path, old, new, monkeypatch) < B
    (found,) = [path for path in (tmp_path / "store").iterdir() if path.stat().st_size == len(new)]
    assert found.stat().st_blocks * 512 < 10 * B


def test_single_pages_that_changed_are_all_that_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, page = Random(10).randbytes(200 * B), delta.PAGE_BYTES
    new = bytearray(old)
    for number in range(0, 800, 40):
        new[number * page : (number + 1) * page] = Random(number).randbytes(page)
    assert sent(tmp_path, old, bytes(new), monkeypatch) < 21 * page


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9 * B), st.integers(1, B)), max_size=4), st.integers(0, 10 * B))
def test_holes_are_told_as_what_they_are(written: list[tuple[int, int]], size: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # a disk's file system, of which holes are known
        sparse, whole = Path(folder) / "sparse", Path(folder) / "whole"
        with sparse.open("wb") as stream:
            for start, length in written:
                stream.seek(start)
                stream.write(Random(start).randbytes(length))
            stream.truncate(size)
        whole.write_bytes(sparse.read_bytes())
        pages = [whole.read_bytes()[at : at + delta.PAGE_BYTES] for at in range(0, size, delta.PAGE_BYTES)]
        wanted = b"".join(delta.checksum(page) for page in pages if len(page) == delta.PAGE_BYTES)
        assert delta.page_checksums(sparse) == delta.page_checksums(whole) == wanted


def test_the_holes_of_a_large_disk_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, old = tmp_path / "store", Random(11).randbytes(8 * B)
    monkeypatch.setattr(generations, "STORE", store)
    monkeypatch.setattr(generations, "FOLDER", store.parent)
    base, digest = put(store, old), put(tmp_path / "new", old[:B] + Random(12).randbytes(B) + old[2 * B :])
    with (store / base).open("r+b") as stream:
        stream.truncate(4 << 30)
    offered = delta.base_of(store / base, f"store/{base}")
    assert offered is not None and len(offered["blocks"]) < 8 << 10
    data = b"".join(transfer({digest: tmp_path / "new" / digest}, known(tmp_path, tmp_path / "new", digest, offered)))
    assert len(data) < 2 * B
    receive(data)
    assert (store / digest).read_bytes() == (tmp_path / "new" / digest).read_bytes()


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 200), st.integers(0, 200), st.sets(st.integers(0, 199), max_size=6))
def test_of_a_base_all_pages_are_known_though_few_are_told(before: int, after: int, changed: set[int]) -> None:
    import tempfile

    rng, page = Random(before), delta.PAGE_BYTES
    old = [rng.randbytes(8).ljust(page, b"x") if rng.randrange(3) else bytes(page) for _ in range(before)]
    new = [
        b"new".ljust(page) if number in changed else old[number % before] for number in range(after if before else 0)
    ]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "old").write_bytes(b"".join(old) + b"rest")
        (folder / "digest").write_bytes(b"".join(new) + b"end")
        offered, asked = delta.base_of(folder / "old", "old"), list[Range]()
        assert offered is not None
        told = {"digest": offered}

        def ask(name: str, blocks: Sequence[Range]) -> str:
            asked.extend(blocks)
            return delta.told(delta.pages_in(folder / name, blocks))

        (base,) = bases_of({"digest": folder / "digest"}, told, ask).values()
        assert (base.name, base.pages) == ("old", delta.page_checksums(folder / "old"))
        differ = {n // delta.BLOCK_PAGES for n in range(before) if n >= len(new) or new[n] != old[n]}
        differ |= {before // delta.BLOCK_PAGES} if before % delta.BLOCK_PAGES and before < len(new) else set()
        assert {n for first, end in asked for n in range(first, end)} == differ


def test_a_base_that_cannot_be_read_any_more_is_not_built_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"base": "store/gone", "blocks": [[0, 1]]})))
    said = delta.verb_pages(argparse.Namespace())
    assert said == {"pages": None}
    offered = {"base": "store/gone", "blocks": delta.told(b"1234")}
    digest = put(tmp_path / "new", b"new" * delta.PAGE_BYTES)
    assert bases_of({digest: tmp_path / "new" / digest}, {digest: offered}, lambda *_: None) == {}


def test_only_zeros_have_the_checksum_of_zeros() -> None:
    page = bytearray(Random(13).randbytes(delta.PAGE_BYTES - 4) + bytes(4))
    # CRC-32 is linear: one set of last four bytes makes it what that of zeros is.
    page[-4:] = forged(bytes(page[:-4]), zlib.crc32(bytes(delta.PAGE_BYTES)))
    assert zlib.crc32(page) == zlib.crc32(bytes(delta.PAGE_BYTES))
    assert delta.checksum(bytes(page)) != delta.OF_ZEROS == delta.checksum(bytes(delta.PAGE_BYTES))


def forged(begin: bytes, wanted: int) -> bytes:
    """Return the four bytes that make a CRC-32, by running it backwards from what is wanted."""
    table = [entry_of(n) for n in range(256)]
    by_top = {entry >> 24: (number, entry) for number, entry in enumerate(table)}
    register, numbers = wanted ^ 0xFFFFFFFF, list[int]()
    for _ in range(4):
        number, entry = by_top[register >> 24]
        register = (register ^ entry) << 8 & 0xFFFFFFFF
        numbers.insert(0, number)
    state, made = zlib.crc32(begin) ^ 0xFFFFFFFF, bytearray()
    for number in numbers:
        made.append((state ^ number) & 0xFF)
        state = state >> 8 ^ table[number]
    return bytes(made)


def entry_of(number: int) -> int:
    """Return an entry of CRC-32's table, bit by bit."""
    for _ in range(8):
        number = number >> 1 ^ (0xEDB88320 if number & 1 else 0)
    return number


@pytest.mark.parametrize(("bytes_s", "least", "most"), [(2.5e6, 0.24, 0.3), (500e6, 0.8, 1.0)])
@pytest.mark.parametrize("unpacks", [[], ["lzma"], ["zstd"], ["zstd", "lzma"]])
def test_what_is_packed_follows_the_way(
    bytes_s: float, least: float, most: float, unpacks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def packs(seconds: float, pack: Callable[..., bytes]) -> Callable[..., bytes]:
        def timed(content: bytes, *more: Any, **named: Any) -> bytes:
            now[0] += seconds
            return pack(content, *more, **named)

        return timed

    monkeypatch.setattr("vtool.deploy.transfer.time.monotonic", lambda: now[0])
    monkeypatch.setattr("vtool.deploy.transfer.zlib.compress", packs(0.03, zlib.compress))
    monkeypatch.setattr(lzma, "compress", packs(0.06, lzma.compress))
    piece = (b"a text that repeats itself" * delta.PIECE_BYTES)[: 3 * delta.PIECE_BYTES // 4]
    piece += Random(9).randbytes(delta.PIECE_BYTES // 4)
    sent, buffered = 0, 0.0
    for packed in Packing(unpacks).pieces(iter([piece] * 100)):
        sent += len(packed)
        before, buffered = buffered, max(buffered, now[0]) + len(packed) / bytes_s
        now[0] = max(now[0], before - 0.5)  # what memory on the way holds
    assert least < sent / (100 * len(piece)) < most


def test_what_is_short_is_packed_though_nothing_is_waited_for() -> None:
    piece = (b"a text that repeats itself" * delta.PIECE_BYTES)[: delta.PIECE_BYTES]
    assert sum(map(len, Packing(["zstd"]).pieces(iter([piece] * 6)))) < len(piece)


@pytest.mark.parametrize("kind", ["zlib", "lzma", "zstd"])
def test_each_way_to_pack_is_undone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind == "zlib" or kind in delta.unpacks()
    monkeypatch.setattr(generations, "STORE", tmp_path / "store")
    monkeypatch.setattr(Packing, "_choose", lambda packing: setattr(packing, "_way", len(packing._ways) - 1))
    content = b"".join(bytes([Random(n).randrange(256)]) * 50 for n in range(60_000))
    digest = put(tmp_path / "new", content)
    data = b"".join(transfer({digest: tmp_path / "new" / digest}, {}, [kind]))
    assert len(data) < len(content) // 2
    receive(data)
    assert (tmp_path / "store" / digest).read_bytes() == content
    spoiled = bytearray(data)
    spoiled[-2_000:-1_000] = bytes(1000)
    with pytest.raises(generations.BoardError) as caught:
        receive(bytes(spoiled))
    assert caught.value.code == "VT707"


def test_a_damaged_base_is_built_on_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, data = tmp_path / "store", Random(3).randbytes(8 * B)
    monkeypatch.setattr(generations, "STORE", store)
    monkeypatch.setattr(generations, "FOLDER", store.parent)
    base, digest = put(store, data), put(tmp_path / "new", data[: 6 * B] + b"new")
    (store / base).write_bytes(b"damaged" + data[7:])
    offered = delta.base_of(store / base, f"store/{base}")
    assert offered is not None
    receive(b"".join(transfer({digest: tmp_path / "new" / digest}, known(tmp_path, tmp_path / "new", digest, offered))))
    assert (store / digest).read_bytes() == (tmp_path / "new" / digest).read_bytes()
    assert delta.base_of(store / "none", "none") is None


def test_a_disk_that_is_nearly_full_keeps_no_part_of_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NearlyFull(io.FileIO):
        """A file on a disk that has room for a part of the last piece: write(2) takes that, and fails the next time."""

        def write(self, content: Any) -> int:
            room = 3 * delta.PIECE_BYTES - delta.PAGE_BYTES - self.tell()
            if room <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(content[:room])

    def nearly_full(path: Path, mode: str, buffering: int = -1) -> Any:
        raw = NearlyFull(path, mode.replace("b", ""))
        return raw if buffering == 0 else io.BufferedWriter(raw) if "w" in mode else io.BufferedReader(raw)

    new = Random(14).randbytes(3 * delta.PIECE_BYTES)
    digest, store = put(tmp_path / "new", new), tmp_path / "store"
    data = b"".join(transfer({digest: tmp_path / "new" / digest}, {}))
    monkeypatch.setattr(generations, "STORE", store)
    with monkeypatch.context() as only_there:
        only_there.setattr(Path, "open", nearly_full)
        with pytest.raises(OSError, match="No space left"):
            receive(data)
    assert not list(store.iterdir())


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 600))
def test_what_is_cut_off_is_no_object(end: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as text, pytest.MonkeyPatch.context() as monkeypatch:
        folder = Path(text)
        monkeypatch.setattr(generations, "STORE", folder / "store")
        monkeypatch.setattr(generations, "FOLDER", folder)
        old, new = b"o" * (2 * B), b"o" * B + b"n" * B
        digest, base = put(folder / "new", new), put(folder / "store", old)
        offered = delta.base_of(folder / "store" / base, f"store/{base}")
        assert offered is not None
        whole = b"".join(transfer({digest: folder / "new" / digest}, known(folder, folder / "new", digest, offered)))
        with pytest.raises(generations.BoardError) as caught:
            receive(whole[: end * len(whole) // 1000])
        assert caught.value.code == "VT707"
        assert [path.name for path in (folder / "store").iterdir()] == [base]


def test_an_object_that_shrinks_while_it_is_sent_ends_and_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, store = Random(15).randbytes(3 * delta.PIECE_BYTES), tmp_path / "store"
    digest = put(tmp_path / "new", new)
    monkeypatch.setattr(generations, "STORE", store)
    sending = transfer({digest: tmp_path / "new" / digest}, {})
    sent = [next(sending)]
    os.truncate(tmp_path / "new" / digest, delta.PIECE_BYTES + 10)
    sent += itertools.islice(sending, 100)
    assert sent[-1] == delta.END
    with pytest.raises(generations.BoardError) as caught:
        receive(b"".join(sent))
    assert caught.value.code == "VT707" and not list(store.iterdir())


def test_a_base_that_changed_since_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, old = tmp_path / "store", Random(2).randbytes(4 * B)
    monkeypatch.setattr(generations, "STORE", store)
    monkeypatch.setattr(generations, "FOLDER", store.parent)
    base = put(store, old)
    digest = put(tmp_path / "new", old[:B] + b"new" + old[B + 3 :])
    offered = delta.base_of(store / base, f"store/{base}")
    assert offered is not None
    sent = b"".join(transfer({digest: tmp_path / "new" / digest}, known(tmp_path, tmp_path / "new", digest, offered)))
    (store / base).write_bytes(b"spoiled" + old[7:])
    with pytest.raises(generations.BoardError) as caught:
        receive(sent)
    assert caught.value.code == "VT707" and sorted(path.name for path in store.iterdir()) == [base]


def test_where_two_pages_have_one_checksum_all_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, old, sizes = tmp_path / "store", Random(4).randbytes(4 * B), list[int]()
    monkeypatch.setattr(generations, "STORE", store)
    monkeypatch.setattr(generations, "FOLDER", store.parent)
    base, digest = put(store, old), put(tmp_path / "new", Random(5).randbytes(B) + old[B:])
    offered = delta.base_of(store / base, f"store/{base}")
    assert offered is not None
    twin = delta.checksum((tmp_path / "new" / digest).read_bytes()[: delta.PAGE_BYTES])

    class Board:
        def run(self, verb: str, *, stdin: Any, timeout_s: float) -> dict[str, Any]:
            assert timeout_s
            if verb == "pages":
                wanted = json.loads(stdin)
                pages = delta.pages_in(tmp_path / wanted["base"], wanted["blocks"])
                return {"pages": delta.told(twin + pages[len(twin) :])}
            data = b"".join(stdin)
            sizes.append(len(data) // B)
            try:
                receive(data)
            except generations.BoardError as error:
                raise board_failed(error.code, error.message) from None  # as `checked` does with what a board says
            return {}

    send_objects(cast("Held", Board()), {digest: tmp_path / "new" / digest}, {digest: offered})
    assert sizes == [0, 4] and (store / digest).read_bytes() == (tmp_path / "new" / digest).read_bytes()
