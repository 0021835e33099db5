"""Code that takes entries out of a container is found by its source, and nothing of it is run."""

from __future__ import annotations

import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.explain.removals import Removal, removal_of
from pytest_leakguard.explain.source_numbers import closure_of

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
    assert removal_of(CONTAINER) == Removal("shop.py:3")


@pytest.mark.parametrize(
    "source", ["OTHER.pop()", "CACHE.append(1)", "del CACHE", "CACHE[0] = 1", "not python at all"]
)
def test_other_lines_are_none(module: types.ModuleType, source: str) -> None:
    Path(str(module.__file__)).write_text(f"CACHE = []\n{source}\n")
    assert removal_of(CONTAINER) is None


class Window:
    """Has the container as an attribute."""

    def __init__(self) -> None:
        self.rows = CONTAINER


OF_CLASS = """
    import collections, itertools
    LIMIT = 5 * 1000
    class LRU(collections.OrderedDict):
        most, count, last = 3000, 7, 0.0
        def put(self, key, value):
            self[key] = value
            while {condition}:
                {statement}
"""


@pytest.mark.parametrize(
    ("condition", "limit"),
    [
        ("len(self) > 5000", 5000),
        ("5_000 <= len(self)", 5000),
        ("len(self) > LIMIT", 5000),
        ("len(self) > 5 * (1 << 10)", 5120),
        ("len(self) > self.most()", 0),
        ("len(self) > self.most", 3000),
        ("self.count >= 4000", 4000),
        ("time.time() - self.last > 60", 0),
        ("True", 0),
        ("self.is_old(key)", 0),
    ],
)
@pytest.mark.parametrize(
    "statement", ["self.popitem(last=False)", "del self[key]", "super().pop(key)"]
)
def test_a_class_of_its_own_tells_by_its_methods_and_their_condition(
    module: types.ModuleType, condition: str, limit: int, statement: str
) -> None:
    text = textwrap.dedent(OF_CLASS.format(condition=condition, statement=statement))
    Path(str(module.__file__)).write_text(text)
    exec(compile(text, str(module.__file__), "exec"), module.__dict__)
    found = removal_of(module.__dict__["LRU"]())
    assert found == Removal("shop.py:9", limit)


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ("def put(x):\n    if len(CACHE) < 1200: CACHE.append(x)\n    else: CACHE[0] = x\n", 1200),
        ("def put(x):\n    assert len(shop.CACHE) + 1 <= MOST\n    CACHE.append(x)\n", 700),
        ("def put(x):\n    if len(x) < 1200: x.add(1)\n    else: CACHE.pop()\n", 1200),
        ("def put(x):\n    if len(x) < 1200: CACHE.append(x)\n", 0),
        ("def put(x):\n    if len(CACHE) < len(x): CACHE.append(x)\n", 0),
    ],
)
def test_a_length_that_is_compared_with_a_number_has_a_limit(
    module: types.ModuleType, more: str, limit: int
) -> None:
    module.__dict__["MOST"] = 700
    Path(str(module.__file__)).write_text(f"CACHE = []\n{more}")
    found = removal_of(CONTAINER)
    assert (found.limit if found else 0) == limit


MEMO = """
    def memo(limit):
        def decorate(function):
            seen = {}
            def wrapper(*key):
                if key not in seen:
                    if len(seen) >= limit:
                        seen.clear()
                    seen[key] = function(*key)
                return seen[key]
            return wrapper
        return decorate

    def another():
        seen = []
        seen.pop()
"""


def test_a_variable_of_a_closure_is_emptied_where_it_is_written(module: types.ModuleType) -> None:
    text = textwrap.dedent(MEMO)
    Path(str(module.__file__)).write_text(text)
    exec(compile(text, str(module.__file__), "exec"), module.__dict__)
    memo = module.__dict__["memo"](4000)(print)
    (seen,) = (value for value in closure_of(memo).values() if type(value) is dict)
    assert removal_of(seen, [memo, seen]) == Removal("shop.py:8", 4000)


def test_an_attribute_is_looked_for_where_its_class_is_written(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "class Window:\n    def add(self, row):\n        if len(self.rows) > 300:\n            self.rows.pop(0)\n"
    Path(str(module.__file__)).write_text(text)
    monkeypatch.setattr(Window, "__module__", "keeps_things")
    assert removal_of([], [Window()]) is None
    rows: list[Any] = []
    window = Window()
    window.rows = rows
    assert removal_of(rows, [window]) == Removal("shop.py:4", 300)


@pytest.mark.parametrize(
    "source",
    [
        "BUFFERS[1].clear()",
        "BUFFERS.get(1).clear()",
        "BUFFERS.clear()",
        "def flush(key):\n    rows = BUFFERS[key]\n    rows.clear()",
        "def flush(key):\n    rows = shop.BUFFERS.setdefault(key, [])\n    del rows[:]",
    ],
)
def test_an_entry_of_what_has_a_name_is_found_by_that(
    module: types.ModuleType, source: str
) -> None:
    module.__dict__["BUFFERS"] = buffers = {1: [0]}
    Path(str(module.__file__)).write_text(f"import shop\n{source}\n")
    found = removal_of(buffers[1], [module, buffers, buffers[1]])
    assert found is not None and found.place.startswith("shop.py:")
    assert removal_of([0], [module, buffers, [0]]) is None, "another list"


@pytest.mark.parametrize(
    "source",
    [
        "OTHERS.clear()",
        "def flush(key):\n    rows = OTHERS[key]\n    rows.clear()",
        "def flush(key):\n    rows = BUFFERS[key]\n    rows.append(1)",
    ],
)
def test_what_is_done_to_another_is_not_done_to_an_entry(
    module: types.ModuleType, source: str
) -> None:
    module.__dict__["BUFFERS"] = buffers = {1: [0]}
    Path(str(module.__file__)).write_text(f"{source}\n")
    assert removal_of(buffers[1], [module, buffers, buffers[1]]) is None


def test_another_name_in_a_function_is_the_same_container(module: types.ModuleType) -> None:
    text = "def flush():\n    rows = CACHE\n    if len(rows) > 400:\n        rows.clear()\n"
    Path(str(module.__file__)).write_text(text)
    assert removal_of(CONTAINER) == Removal("shop.py:4", 400)


def test_what_no_module_has_as_a_variable_has_no_line() -> None:
    assert removal_of([]) is None


BOUNDED = """
    import itertools, time
    NUMBERS, CACHE, FULL, KEPT = itertools.count(), {}, {}, []
    def fills():
        time.sleep(0.02)
        CACHE[next(NUMBERS)] = [0]
        if int(time.time()) % 1_000_000 == 0: CACHE.clear()
    def fills_up():
        time.sleep(0.02)
        FULL[next(NUMBERS)] = [0]
        if len(FULL) > 1000: del FULL[next(iter(FULL))]
    def keeps():
        time.sleep(0.02)
        KEPT.append([0])
    def test_fills(): fills()
    def test_fills_up(): fills_up()
    def test_keeps(): keeps()
    def test_fills_in_a_loop(leakguard): leakguard.loop(fills, seconds=3)
    def test_keeps_in_a_loop(leakguard): leakguard.loop(keeps, seconds=3)
"""


@pytest.mark.slow
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
            "*::test_fills_up PASSED*",
            "*::test_keeps LEAK*",
            "*::test_keeps_in_a_loop LEAK*",
            "*undecided: every one of * runs has kept something, but *.py:6 takes entries*",
        ]
    )
