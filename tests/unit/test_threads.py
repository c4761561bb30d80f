"""Waiting for threads."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from vtool.base import threads


def test_all_come_in_the_order_asked_and_the_first_failure_is_raised() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert threads.all_of([pool.submit(int, text) for text in ("3", "1", "2")]) == [3, 1, 2]
        with pytest.raises(ValueError, match="'b'"):
            threads.all_of([pool.submit(int, text) for text in ("3", "b", "c")])


def test_what_has_not_begun_never_does_once_one_failed() -> None:
    waits: Future[int] = Future()
    failed: Future[int] = Future()
    failed.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        threads.all_of([failed, waits])
    assert waits.cancelled()


def test_a_signal_that_comes_before_the_wait_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel may deliver it: seen by the process, and not the end of what its first thread waits for."""
    never: Future[int] = Future()
    real = threads.wait

    def interrupted_just_before(*words: object) -> object:
        # Another thread takes the signal, so the first one's system call goes on.
        taker = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
        taker.start()
        return real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(threads, "wait", interrupted_just_before)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job lacks
    try:
        with pytest.raises(KeyboardInterrupt):
            threads.first_of([never])
    finally:
        signal.signal(signal.SIGINT, before)
