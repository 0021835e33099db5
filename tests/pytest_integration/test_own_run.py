"""Large suites: a test whose own run retains what clean tests do is not repeated, and nothing is missed by that."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from pytest_leakguard.counters import caches
from pytest_leakguard.screening.gc_freeze import SetAside
from tests.pytest_integration.test_screening import outcomes, screened

LARGE = """
    import json
    import os
    import pytest
    KEEP = []
    def ran(name="ran"):
        descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b".")
        os.close(descriptor)
    @pytest.mark.parametrize("n", range(150))
    def test_clean(n):
        ran()
        assert json.loads(json.dumps([n])) == [n]
"""
LEAKS = """
    class Order:
        def __init__(self): self.lines = [1]
    @pytest.mark.parametrize("n", range(3))
    def test_one_object(n): KEEP.append(object())
    def test_order(): KEEP.append(Order())
    def test_descriptor(): os.open(os.devnull, os.O_RDONLY)
    import ctypes, sys
    allocate = ctypes.CDLL(None).malloc
    def test_native(): allocate(3000)
    def test_fine(): pass
    def test_fine_too(): pass
    def test_fine_again(): pass
    NAME = " ".join(["there", "before"])
    def test_interned_for_good():  # in Python 3.12, where the count of those is left out
        sys.intern(NAME)
        KEEP.append(object())
"""


def test_clean_tests_run_once(pytester: pytest.Pytester) -> None:
    _, report = screened(pytester, LARGE)
    assert set(outcomes(report).values()) == {"clean"}
    assert 150 <= len(Path("ran").read_bytes()) < 150 * 1.6


COLLECTING = """
    import gc
    @pytest.mark.parametrize("n", range(9))
    def test_collects(n):
        ran("collected")
        gc.collect()
"""


def test_clean_tests_that_collect_run_once(pytester: pytest.Pytester) -> None:
    """Then nothing is frozen, and what they have left is looked at all the same."""
    _, report = screened(pytester, LARGE + COLLECTING)
    assert set(outcomes(report).values()) == {"clean"}
    assert 9 <= len(Path("collected").read_bytes()) < 9 * 1.6


def test_leaks_in_a_large_suite_are_found(pytester: pytest.Pytester) -> None:
    _, report = screened(
        pytester, LARGE + LEAKS, "-p", "no:randomly"
    )  # the leaks come when clean tests are known
    found = {name for name, outcome in outcomes(report).items() if outcome == "leak"}
    assert found == {"test_one_object[0]", "test_one_object[1]", "test_one_object[2]", "test_order",
                     "test_descriptor", "test_native", "test_interned_for_good"}  # fmt: skip


FILLS_OR_LEAKS = """
    SLOTS, FULL = [None] * 4, [None]
    @pytest.mark.parametrize("n", range(6))
    def test_fills_or_leaks(n):
        if n < 4: SLOTS[n] = SLOTS[n] or object()
        else: FULL.append(object())
"""


def test_parameters_that_fill_something_once_do_not_hide_others_that_leak_as_much(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, LARGE + FILLS_OR_LEAKS, "-p", "no:randomly")
    found = {name for name, outcome in outcomes(report).items() if outcome == "leak"}
    assert found == {"test_fills_or_leaks[4]", "test_fills_or_leaks[5]"}


SLOW = """
    import ctypes, time
    allocate = ctypes.CDLL(None).malloc
    def slow(name, size):
        with open(name, "a") as file:
            file.write(".")
        time.sleep(0.1)
        allocate(size)
    def test_quick(): pass
    def test_quick_as_well(): pass
    def test_quick_again(): pass
    def test_slow_with_little(): slow("little", 2000)
    def test_slow_with_much(): slow("much", 40_000)
"""


def test_a_few_native_bytes_of_a_slow_test_are_found_to_the_byte(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, LARGE + SLOW, "-p", "no:randomly", "--leakguard-confirm=20")
    leaking = {}
    for check in report["checks"]:
        for growth in check["growth"]:
            if growth["shape"] == "leak":
                leaking[check["id"].rpartition("::")[2]] = growth["per_iteration"]
    assert leaking == {"test_slow_with_little": 2000, "test_slow_with_much": 40_000}


NATURAL = """
    import gc, weakref
    class Node: pass
    def ring():
        one, two = Node(), Node()
        one.other, two.other = two, one
        return one
    RINGS = [ring()]
    HELD = [Node()]
    def test_what_dies_is_collected():
        watch = weakref.ref(RINGS[0]) if RINGS else None
        if RINGS:
            RINGS.clear()
            gc.collect()
            assert watch() is None
    def test_all_objects_are_there():
        assert any(one is HELD for one in gc.get_objects())
    def test_referrers_are_there():
        assert any(one is HELD for one in gc.get_referrers(HELD[0]))
    def test_younger_collections_stay_what_they_are():
        gc.collect(0), gc.collect(1)
    def test_disabled():
        gc.disable()
        try: gc.collect()
        finally: gc.enable()
    def test_thaws(): gc.unfreeze()
    def test_freezes():
        gc.freeze()
        gc.unfreeze()
    def test_forgets_callbacks(): gc.callbacks.clear()
"""


def test_a_test_finds_the_collector_as_it_is_without_us(pytester: pytest.Pytester) -> None:
    result, report = screened(pytester, LARGE + NATURAL)
    result.assert_outcomes(passed=158)
    assert set(outcomes(report).values()) == {"clean"}


def test_only_a_collection_that_was_asked_for_brings_everything_back() -> None:
    aside = SetAside()
    threshold = gc.get_threshold()
    aside.begin()
    aside.listen()
    try:
        gc.set_threshold(1, 1, 1)
        junk = [[n] for n in range(20_000)]  # the interpreter collects by itself, all generations
        gc.set_threshold(*threshold)
        assert aside.is_frozen
        assert len(junk) == 20_000
        gc.collect()
        assert not aside.is_frozen
    finally:
        gc.set_threshold(*threshold)
        aside.hush()
        aside.end()
    assert gc.get_freeze_count() == 0


NEW_KEYS = """
    from urllib.parse import urlsplit
    import itertools, re
    NUMBERS = itertools.count()
    def test_new_addresses():
        for _ in range(2): urlsplit(f"http://localhost:{next(NUMBERS)}/")
    def test_new_expressions(): re.compile(f"a{next(NUMBERS)}")
    def test_a_leak_beside_them():
        urlsplit(f"http://localhost:{next(NUMBERS)}/")
        KEEP.append(object())
"""


def test_caches_of_the_library_that_fill_up_are_no_leak_and_hide_none(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, LARGE + NEW_KEYS)
    assert [name for name, outcome in outcomes(report).items() if outcome != "clean"] == [
        "test_a_leak_beside_them"
    ]
    (finding,) = report["findings"].values()
    assert finding["blocks"] == 1
    suspects = [
        one["growth"]
        for one in report["checks"]
        if one["id"].endswith(("addresses", "expressions"))
    ]
    assert suspects == [[], []], "neither had to be confirmed"


BOUNDED = """
    import functools, itertools
    NUMBERS, FULL_LIST = itertools.count(), [None]
    @functools.lru_cache(maxsize=4096)
    def price(n): return [n, str(n)]
    class Shop:
        @classmethod
        @functools.lru_cache
        def stock(cls, n): return [n]
        @staticmethod
        @functools.lru_cache(1000)
        def tax(n): return [n]
    @functools.lru_cache(maxsize=None)
    def forever(n): return [n]
    def test_bounded():
        price(next(NUMBERS)), Shop.stock(next(NUMBERS)), Shop.tax(next(NUMBERS))
    def test_beside_a_leak():
        price(next(NUMBERS))
        FULL_LIST.append(object())
    def test_unbounded(): forever(next(NUMBERS))
"""


def test_bounded_caches_that_fill_up_are_no_leak_and_hide_none(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, LARGE + BOUNDED, "-p", "no:randomly")
    told = outcomes(report)
    assert (told["test_bounded"], told["test_beside_a_leak"], told["test_unbounded"]) == (
        "clean",
        "leak",
        "leak",
    )
    assert sum(outcome == "leak" for outcome in told.values()) == 2
    held = [step for finding in report["findings"].values() for step in finding["holders"]]
    assert any("list FULL_LIST" in step for step in held)
    assert any("lru_cache without a limit" in step for step in held)


AFTER_A_SUSPECT = """
    @pytest.mark.parametrize("n", range(30))
    def test_after(n):
        if n < 10: return
        if n == 10 and len(KEEP) < 6: KEEP.append(object())  # some runs are looked at, with caches empty in the end
        if n > 10: ran()
"""


def test_tests_after_a_suspect_that_was_cleared_run_once_too(pytester: pytest.Pytester) -> None:
    _, report = screened(
        pytester, LARGE.replace("        ran()\n", "") + AFTER_A_SUSPECT, "-p", "no:randomly"
    )
    assert set(outcomes(report).values()) == {"clean"}
    assert len(Path("ran").read_bytes()) == 19


def test_emptying_library_caches_leaves_alone_what_is_not_imported() -> None:
    before = set(sys.modules)
    caches.empty()
    assert set(sys.modules) == before


CLASSES = """
    import os, warnings
    import pytest
    def ran():
        descriptor = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b".")
        os.close(descriptor)
""" + "".join(
    f"""
    class TestNumber{number}:
        def test_one(self): ran()
        def test_two(self): ran()
        @pytest.mark.filterwarnings("error")
        def test_three(self): ran()
"""
    for number in range(50)
)


def test_the_first_tests_of_classes_and_marked_ones_run_once_too(pytester: pytest.Pytester) -> None:
    _, report = screened(pytester, CLASSES, "-p", "no:randomly")
    assert set(outcomes(report).values()) == {"clean"}
    assert 150 <= len(Path("ran").read_bytes()) < 150 * 1.2


PLAIN = "".join(f"""
    def test_plain_{number}(): ran()
""" for number in range(100))  # fmt: skip
FREED = """
    LEFT = {name: [object() for _ in range(5)] for name in "ab"}
    def test_frees_what_was_there():
        ran()
        LEFT.pop("a", None)
    def test_frees_the_rest():
        ran()
        LEFT.pop("b", None)
    def test_leaks_as_many(): KEEP.extend(object() for _ in range(5))
"""


def test_a_few_tests_that_free_something_do_not_make_all_others_suspect(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, LARGE + FREED + PLAIN, "-p", "no:randomly")
    assert [name for name, outcome in outcomes(report).items() if outcome != "clean"] == [
        "test_leaks_as_many"
    ]
    assert len(Path("ran").read_bytes()) < 252 * 1.3


PEAKS = """
    import mmap
    def test_works_with_much_at_a_time():
        ran()
        many = [[n] for n in range(300_000)]
        KEPT[:] = many[::3000]  # one in each arena, and others the next time
    KEPT = []
    def test_maps_and_never_unmaps(): KEEP.append(mmap.mmap(-1, 1 << 20))
"""


def test_arenas_that_stay_are_no_leak_and_mappings_are(pytester: pytest.Pytester) -> None:
    _, report = screened(pytester, LARGE + PEAKS, "-p", "no:randomly")
    assert [name for name, outcome in outcomes(report).items() if outcome != "clean"] == [
        "test_maps_and_never_unmaps"
    ]


METHODS = """
    import unittest
    class TestPlain:
        def test_clean(self): pass
        def test_leaks_one(self): KEEP.append(object())
    class TestOfUnittest(unittest.TestCase):
        def test_quiet(self): pass
        def test_loses_one(self): KEEP.append(object())
        def test_leaks_in_subtests(self):
            for n in range(2):
                with self.subTest(n=n): KEEP.append(object())
    def test_leaks_beside_a_directory(tmp_path): KEEP.append(object())
    def test_leaks_beside_captured(capsys, caplog, monkeypatch): KEEP.append(object())
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_leaks_of_one_block_in_methods_and_beside_fixtures_are_found(
    pytester: pytest.Pytester, order: str
) -> None:
    code = METHODS.replace(
        "    import unittest\n", "    import unittest\n    KEEP = []\n"
    ) + LARGE.replace("KEEP = []", "")
    _, report = screened(
        pytester, code if order == "before" else LARGE + METHODS, "-p", "no:randomly"
    )
    found = sorted(name for name, outcome in outcomes(report).items() if outcome == "leak")
    assert found == [
        "test_leaks_beside_a_directory",
        "test_leaks_beside_captured",
        "test_leaks_in_subtests",
        "test_leaks_one",
        "test_loses_one",
    ]


SAME_PATTERN = """
    import re
    import re._compiler
    import pytest

    compiled = []
    original = re._compiler.compile
    def compile(pattern, flags=0):
        if pattern == "same [a-z]+": compiled.append(pattern)
        return original(pattern, flags)
    re._compiler.compile = compile

    @pytest.mark.parametrize("n", range(150))
    def test_search(n): assert re.search("same [a-z]+", "same one")
    def test_last(): assert len(compiled) == 2
"""


def test_a_pattern_that_many_tests_use_is_compiled_once_and_once_for_us(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, SAME_PATTERN, "-p", "no:randomly")
    assert set(outcomes(report).values()) == {"clean"}
