"""Code that takes too long is ended from outside, whatever it waits for, and nothing else is."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from pytest_leakguard.processes import deadline
from pytest_leakguard.processes.deadline import SIGNAL, Deadline, TookTooLong


def spins() -> None:
    while True:
        pass


def sleeps() -> None:
    time.sleep(60)


def waits() -> None:
    threading.Event().wait()


def catches() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            if caught:
                raise
            caught.append(1)


caught: list[int] = []


@pytest.mark.parametrize("code", [spins, sleeps, waits, catches])
def test_code_that_takes_too_long_is_ended(code: object) -> None:
    assert callable(code)
    caught.clear()
    limit = Deadline()
    with limit.ready():
        with pytest.raises(TookTooLong), limit.limit(0.2):
            code()
        assert limit.has_fired
        time.sleep(0.6)  # and it is over


def test_quick_code_is_left_alone_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(SIGNAL)
    limit = Deadline()
    with limit.ready():
        for _ in range(3):
            with limit.limit(0.2):
                pass
        time.sleep(0.3)
    assert not limit.has_fired and signal.getsignal(SIGNAL) is before


def test_time_that_others_had_the_processor_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadline, "_own_seconds", lambda: 0.0)
    limit = Deadline()
    with limit.ready(), limit.limit(0.1):
        time.sleep(0.5)
    assert not limit.has_fired


def test_another_thread_is_not_limited() -> None:
    ended = []

    def run() -> None:
        limit = Deadline()
        with limit.ready(), limit.limit(0.05):
            time.sleep(0.2)
        ended.append(limit.has_fired)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [False]
