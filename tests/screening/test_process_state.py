"""What a test changes of the process is put back, and what cannot be is named."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Iterator

import pytest

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
