"""What a test changes of the process is put back, and what cannot be is named."""

from __future__ import annotations

import builtins
import decimal
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from pytest_leakguard.screening import process_state
from pytest_leakguard.screening.process_state import ProcessState
from tests.pytest_integration.test_screening import screened


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Whatever a test here leaves."""
    state = ProcessState()
    yield
    assert state.restore() == ()


def test_what_is_different_is_put_back() -> None:
    state = ProcessState()
    numbers = random.getstate()
    random.random()
    os.environ["LEAKGUARD_PROBE"] = "1"
    sys.path.insert(0, "/nowhere")
    logging.disable(7)
    assert state.restore() == ()
    assert random.getstate() == numbers
    assert "LEAKGUARD_PROBE" not in os.environ
    assert sys.path[0] != "/nowhere"
    assert logging.root.manager.disable == 0


def test_more_of_the_process_is_put_back() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    mask = os.umask(0o022)
    os.umask(mask)
    method = multiprocessing.get_start_method(allow_none=True)
    state = ProcessState()
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[0] - 1, limit[1]))
    signal.setitimer(signal.ITIMER_REAL, 60)
    vars(builtins)["leakguard_probe"] = 1
    vars(builtins)["ascii"] = sum
    multiprocessing.set_start_method("spawn", force=True)
    decimal.getcontext().prec += 3
    hook, threading.excepthook = threading.excepthook, int  # type: ignore[assignment]
    assert state.restore() == ()
    assert os.umask(mask) == mask
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert not hasattr(builtins, "leakguard_probe") and ascii(1) == "1"
    assert multiprocessing.get_start_method(allow_none=True) == method
    assert threading.excepthook is hook


def test_what_can_only_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((2, 3))
    readings = (("callbacks of atexit", lambda: next(answers)),)
    with monkeypatch.context() as during:
        during.setattr(process_state, "_READINGS", readings)
        assert ProcessState().restore() == ("callbacks of atexit (2 before, 3 now)",)


def test_what_cannot_be_put_back_is_named_and_keeps_nothing_else_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(state: object) -> None:
        raise RuntimeError("no")

    state = ProcessState()
    monkeypatch.setattr(logging.root, "level", 3)
    logging.disable(7)
    with monkeypatch.context() as during:
        during.setattr(logging.root, "setLevel", refuse)
        assert state.restore() == ("logging (RuntimeError: no)",)
    assert logging.root.manager.disable == 0


REFUSES = """
    import logging
    RUNS = []
    def refuse(level): raise RuntimeError("the level is mine")
    def test_sets_a_level():
        RUNS.append(None)
        if len(RUNS) == 2:  # what a first run leaves is as it found it
            logging.root.level += 1
            logging.root.setLevel = refuse
"""


def test_the_check_of_a_test_whose_changes_stay_names_them(pytester: pytest.Pytester) -> None:
    try:
        _, report = screened(pytester, REFUSES)
    finally:
        logging.root.__dict__.pop("setLevel", None)
    (check,) = report["checks"]
    note = "not as before its repeated runs: logging (RuntimeError: the level is mine)"
    assert note in check.get("notes", check["reasons"])
