"""Code that takes entries out of a container is found by its source, and nothing of it is run."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.explain.removals import removal_of

CONTAINER: list[Any] = []


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module with the container as a variable, whose source is written by the test."""
    found = types.ModuleType("keeps_things")
    found.__file__ = str(tmp_path / "shop.py")
    found.__dict__["CACHE"] = CONTAINER
    monkeypatch.setitem(sys.modules, "keeps_things", found)
    yield found


@pytest.mark.parametrize(
    "source",
    [
        "del CACHE[0]",
        "del CACHE[:10]",
        "CACHE.pop()",
        "CACHE.clear()",
        "shop.CACHE.popleft()",
        "for key in old: CACHE.remove(key)",
    ],
)
def test_a_line_that_takes_entries_out_is_found(module: types.ModuleType, source: str) -> None:
    Path(str(module.__file__)).write_text(f"CACHE = []\n\n{source}\n")
    assert removal_of(CONTAINER) == "shop.py:3"


@pytest.mark.parametrize(
    "source", ["OTHER.pop()", "CACHE.append(1)", "del CACHE", "CACHE[0] = 1", "not python at all"]
)
def test_other_lines_are_none(module: types.ModuleType, source: str) -> None:
    Path(str(module.__file__)).write_text(f"CACHE = []\n{source}\n")
    assert removal_of(CONTAINER) == ""


def test_what_no_module_has_as_a_variable_has_no_line() -> None:
    assert removal_of([]) == ""


BOUNDED = """
    import itertools, time
    NUMBERS, CACHE, KEPT = itertools.count(), {}, []
    def fills():
        time.sleep(0.02)
        CACHE[next(NUMBERS)] = [0]
        if len(CACHE) > 1000: del CACHE[next(iter(CACHE))]
    def keeps():
        time.sleep(0.02)
        KEPT.append([0])
    def test_fills(): fills()
    def test_keeps(): keeps()
    def test_fills_in_a_loop(leakguard): leakguard.loop(fills, seconds=3)
    def test_keeps_in_a_loop(leakguard): leakguard.loop(keeps, seconds=3)
"""


def test_running_out_of_time_is_no_leak_where_entries_are_taken_out_again(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(BOUNDED)
    result = pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-confirm=3", "-p", "no:cacheprovider", "-v"
    )
    result.stdout.fnmatch_lines_random(
        [
            "*::test_fills INCONCLUSIVE*",
            "*::test_fills_in_a_loop INCONCLUSIVE*",
            "*::test_keeps LEAK*",
            "*::test_keeps_in_a_loop LEAK*",
            "*undecided: every one of * runs has kept something, but *.py:6 takes entries*",
        ]
    )
