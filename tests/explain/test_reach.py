"""Code that no run can reach takes nothing out of what the runs fill; all else may."""

from __future__ import annotations

import sys
import textwrap
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.explain.reach import is_reached
from pytest_leakguard.explain.removals import removals_of

Made = Callable[..., types.ModuleType]
BUS = """
    HANDLERS, CALLED = [], []
    def subscribe(handler):
        HANDLERS.append(handler)
    def unsubscribe(handler):
        HANDLERS.remove(handler)
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A module with this source, loaded as if it had been imported."""

    def load(*sources: str) -> types.ModuleType:
        text = "".join(map(textwrap.dedent, sources))
        found = types.ModuleType("keeps_things")
        found.__file__ = str(tmp_path / "shop.py")
        Path(found.__file__).write_text(text)
        monkeypatch.setitem(sys.modules, "keeps_things", found)
        exec(compile(text, found.__file__, "exec"), found.__dict__)
        return found

    return load


def run_of(module: types.ModuleType) -> Callable[[], object]:
    return lambda: module.__dict__["subscribe"](1)


@pytest.mark.parametrize(
    "more",
    [
        "",
        "def leaves_the_bus():\n    unsubscribe(1)\n",
        "def test_others():\n    unsubscribe(1)\n",
        "class Bus:\n    def leave_bus(self):\n        unsubscribe(1)\n",
    ],
)
def test_what_no_run_calls_is_not_reached(made: Made, more: str) -> None:
    assert not is_reached("unsubscribe", run_of(made(BUS, more)))


@pytest.mark.parametrize(
    "more",
    [
        "def subscribe(handler):\n    HANDLERS.append(handler)\n    unsubscribe(handler)\n",
        "def subscribe(handler):\n    if len(HANDLERS) > 9_000: unsubscribe(handler)\n",
        "def subscribe(handler):\n    trim(handler)\n"
        "def trim(handler):\n    if not handler: others()\n"
        "def others():\n    unsubscribe(1)\n",
        "def subscribe(handler):\n    getattr(handler, 'unsubscribe', None)\n",
        "CALLED.append(unsubscribe)\n",
        "def others():\n    unsubscribe(1)\ndef register():\n    CALLED.append(others)\nregister()\n",
        "def waits():\n    yield\n    unsubscribe(1)\nWAITING = waits()\nnext(WAITING)\n",
    ],
    ids=["called", "behind a condition", "further down", "by its name as text",
         "given to somebody", "its caller given to somebody", "in a call that waits"],
)  # fmt: skip
def test_what_may_be_called_by_a_run_or_by_somebody_else_is_reached(made: Made, more: str) -> None:
    assert is_reached("unsubscribe", run_of(made(BUS, more)))


@pytest.mark.parametrize(("calls", "reached"), [(7, False), (8, True)])
def test_a_chain_of_calls_that_is_too_long_to_follow_counts_as_reached(
    made: Made, calls: int, reached: bool
) -> None:
    chain = [f"def leave_{number}():\n    leave_{number - 1}()\n" for number in range(2, calls + 1)]
    module = made(BUS, "def leave_1():\n    unsubscribe(1)\n", *chain)
    assert is_reached("unsubscribe", run_of(module)) is reached


def test_a_thread_in_somebodys_code_may_reach_everything(made: Made) -> None:
    module = made(BUS, "def waits(event):\n    event.wait()\n")
    event = threading.Event()
    thread = threading.Thread(target=module.__dict__["waits"], args=(event,))
    thread.start()
    try:
        assert is_reached("unsubscribe", run_of(module))
    finally:
        event.set()
        thread.join()


def test_code_without_a_name_of_its_own_counts_as_reached(made: Made) -> None:
    source = """
        ROWS = []
        def registered(function): return function
        @registered
        def first(): ROWS.clear()
        def second():
            def inner(): ROWS.pop()
        class Window:
            def __exit__(self, *_): del ROWS[:]
            def third(self): ROWS.clear()
    """
    rows: Any = made(source).__dict__["ROWS"]
    assert [removal.function for removal in removals_of(rows)] == ["", "", "", "third"]
    assert is_reached("", lambda: None)
