"""Ordinary tests under --leakguard: what leaks is found, what does not is left alone, results stay what they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest


def screened(
    pytester: pytest.Pytester, source: str, *more: str
) -> tuple[pytest.RunResult, dict[str, Any]]:
    """The run in a process of its own, and its report."""
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess(
        "--leakguard",
        "--leakguard-report=out",
        "--leakguard-confirm=1",
        "-p",
        "no:cacheprovider",
        *more,
    )
    return result, json.loads((Path(pytester.path) / "out/report.json").read_text())


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {check["id"].rpartition("::")[2]: check["outcome"] for check in report["checks"]}


def kinds(report: dict[str, Any]) -> dict[str, str]:
    return {
        check["id"].rpartition("::")[2]: report["findings"][check["findings"][0]]["kind"]
        for check in report["checks"]
        if check["findings"]
    }


LEAKS = """
    import os
    KEEP = []
    class Order:
        def __init__(self): self.payload = bytearray(32)
    def remember(): KEEP.append(Order())
    def test_objects(): remember()
    def test_same_cause(): remember()
    def test_descriptor(): os.open(os.devnull, os.O_RDONLY)
    def test_child(): os.posix_spawn("/bin/true", ["true"], {})
"""


def test_leaks_are_found_with_kind_line_and_holder(pytester: pytest.Pytester) -> None:
    result, report = screened(pytester, LEAKS)
    result.assert_outcomes(failed=4)
    assert kinds(report) == {
        "test_objects": "python_objects",
        "test_same_cause": "python_objects",
        "test_descriptor": "file_descriptors",
        "test_child": "child_processes",
    }
    shared = [one for one in report["findings"].values() if len(one["checks"]) == 2]
    assert len(shared) == 1, "the same root cause in two tests is one finding"
    assert any("list KEEP" in step for step in shared[0]["holders"])
    assert any(frame["function"] == "remember" for frame in shared[0]["stack"])
    result.stdout.fnmatch_lines(["*LEAK*test_objects*"])


CLEAN = """
    import functools, os, unittest, pytest
    CACHE, BUFFER, SEEN = {}, [], []
    @functools.lru_cache(maxsize=10_000)
    def cached(i): return (i, str(i))
    def test_cycles():
        one = []; one.append(one)
    def test_buffer():
        BUFFER.append(object())
        if len(BUFFER) >= 30: BUFFER.clear()
    def test_lazy():
        CACHE.setdefault("x", [bytearray(10) for _ in range(1000)])
    def test_lru():
        SEEN[:] = [(SEEN or [0])[0] + 1]
        cached(SEEN[0])
    def test_temporary(tmp_path): (tmp_path / "x").write_text("x")
    class TestMethods:
        items = []
        def setup_method(self): self.mine = []
        def test_method(self): self.mine.append(1); assert len(self.mine) == 1
    class Old(unittest.TestCase):
        def setUp(self): self.x = 1
        def test_old(self): self.assertEqual(self.x, 1)
    @pytest.fixture(scope="module")
    def shared():
        yield []
    @pytest.mark.parametrize("n", [1, 2])
    def test_parameter(n, shared): assert shared == []
"""


def test_clean_tests_are_not_blamed(pytester: pytest.Pytester) -> None:
    result, report = screened(pytester, CLEAN)
    result.assert_outcomes(passed=9)
    assert set(outcomes(report).values()) == {"clean"}


HOSTILE = """
    import gc, os, signal, sys, tracemalloc, pytest
    RUNS = []
    def test_second_run_fails():
        RUNS.append(1); assert len(RUNS) == 1
    def test_chdir(tmp_path): os.chdir(tmp_path)
    def test_environ(): os.environ["LEAKGUARD_TEST"] = "1"
    def test_signal(): signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    def test_gc_disable(): gc.disable()
    def test_gc_enable(): gc.unfreeze(); gc.enable()
    def test_tracemalloc(): tracemalloc.start(); tracemalloc.stop()
    def test_fork():
        pid = os.fork()
        if not pid: os._exit(0)
        os.waitpid(pid, 0)
    def test_fails(): assert 0
    @pytest.mark.skip
    def test_skips(): pass
    @pytest.mark.xfail
    def test_xfails(): assert 0
    @pytest.fixture(scope="module")
    def broken():
        yield
        raise RuntimeError("broken tear-down")
    def test_teardown(broken): pass
"""


def test_a_buffer_that_some_runs_fill_and_one_of_them_empties_is_no_leak(
    pytester: pytest.Pytester,
) -> None:
    """Its table is made larger by one run and freed by another, so that nothing has grown."""
    source = """
        import itertools, pytest
        RUN, FILLED = itertools.count(), []
        def test_fills():
            if next(RUN) % 13 == 0:
                FILLED.append(bytes(100))
                if len(FILLED) == 20: FILLED.clear()
        @pytest.mark.parametrize("n", range(20))
        def test_fine(n): assert n >= 0
    """
    result, report = screened(pytester, source)
    result.assert_outcomes(passed=21)
    assert set(outcomes(report).values()) == {"clean"}


def test_what_cpython_loses_with_tracemalloc_has_nothing_confirmed(
    pytester: pytest.Pytester,
) -> None:
    source = """
        import tracemalloc
        def test_traces():
            tracemalloc.start()
            list(map(str, range(1000)))
            tracemalloc.stop()
        def test_traces_and_fails():
            test_traces()
            assert 0
        def test_fine(): pass
    """
    result, report = screened(pytester, source, "-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=1)
    notes = {check["id"].rpartition("::")[2]: check["notes"] for check in report["checks"]}
    assert [check["growth"] for check in report["checks"]] == [[] for _ in report["checks"]]
    assert sys.version_info >= (3, 13) or "are lost by CPython" in str(notes["test_traces"])
    assert notes["test_fine"] == []


def test_results_are_what_they_are_without_us(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(HOSTILE)
    plain = pytester.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes()
    result, report = screened(pytester, HOSTILE)
    assert result.parseoutcomes() == plain
    assert outcomes(report)["test_second_run_fails"] == "not_repeatable"


def test_markers_skip_tune_and_restrict(pytester: pytest.Pytester) -> None:
    source = """
        import pytest
        KEEP = []
        @pytest.mark.leakguard(skip="on purpose")
        def test_skipped(): KEEP.append(object())
        @pytest.mark.leakguard(budget="1 KiB")
        def test_within_budget(): KEEP.append(bytearray(32))
        def test_unmarked(): KEEP.append(object())
    """
    result, report = screened(pytester, source, "--leakguard-scope=marked")
    result.assert_outcomes(passed=3)
    assert outcomes(report) == {"test_skipped": "skipped", "test_within_budget": "clean"}


def test_loop_fails_on_a_leak_and_passes_a_cache(pytester: pytest.Pytester) -> None:
    source = """
        KEEP = []
        def test_leak(leakguard): leakguard.loop(lambda: KEEP.append(object()), iterations=200)
        def test_clean(leakguard): leakguard.loop(lambda: [0] * 100, iterations=200)
        def test_coroutine(leakguard):
            async def work(): pass
            leakguard.loop(work, iterations=100)
    """
    result, report = screened(pytester, source)
    result.assert_outcomes(failed=1, passed=2)
    assert kinds(report) == {"test_leak": "python_objects"}
    leaking = next(check for check in report["checks"] if check["findings"])
    blocks = next(one for one in leaking["growth"] if one["metric"] == "blocks")
    assert (blocks["shape"], blocks["unit"]) == ("leak", "blocks")
    assert blocks["rise"] >= 200
    assert blocks["detectable_per_iteration"] > 0


def test_without_the_option_nothing_is_imported_but_what_keeps_originals(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_nothing():
            assert not [m for m in sys.modules if m.startswith("pytest_leakguard.") and m.rpartition(".")[2] not in
                        ("plugin", "core", "options", "clock", "collector", "counters", "originals")]
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_thousand_tests_with_one_leak_tell_it_once(pytester: pytest.Pytester) -> None:
    source = """
        import pytest
        KEEP, OTHER = [], []
        class Order:
            def __init__(self): self.payload = bytearray(32)
        class Ticket:
            def __init__(self): self.payload = bytearray(32)
        @pytest.mark.parametrize("n", range(12))
        def test_many(n): KEEP.append(Order())
        def test_other_thing_in_the_same_list(): KEEP.append(Ticket())
        def test_other_list(): OTHER.append(Order())
        def test_clean(): Order()
    """
    result, report = screened(pytester, source)
    result.assert_outcomes(failed=14, passed=1)
    assert sorted(len(one["checks"]) for one in report["findings"].values()) == [1, 1, 12]
    text = result.stdout.str()
    assert text.count("kept alive by") < 14, "not a wall of text for every test"
    assert text.count("kept alive by") == 3, "each leak is explained once"
    assert text.count("(and 11 more tests)") == 1


def test_a_full_cache_of_reference_cycles_is_no_leak(pytester: pytest.Pytester) -> None:
    """Entries that are thrown out are garbage that only a collection of everything takes back."""
    _, report = screened(
        pytester,
        """
        CACHE = {}
        class Node:
            def __init__(self): self.me = self
        NUMBERS = iter(range(10**9))
        def work():
            CACHE[next(NUMBERS)] = Node()
            if len(CACHE) > 200: del CACHE[next(iter(CACHE))]
        def test_cache(leakguard): leakguard.loop(work)
        """,
        "--leakguard-confirm=6",  # all of it is used; a tenth is enough where nothing else runs
    )
    assert set(outcomes(report).values()) == {"clean"}
    assert [check["notes"] for check in report["checks"]] == [[]], "nothing is undecided"


@pytest.mark.parametrize(("tests", "is_told"), [(100, False), (101, True)])
def test_a_large_suite_says_that_leaks_in_some_runs_are_out_of_reach(
    pytester: pytest.Pytester, tests: int, is_told: bool
) -> None:
    source = f"""
        import pytest
        @pytest.mark.parametrize("number", range({tests}))
        def test_text(number): assert str(number)
    """
    result, _ = screened(pytester, source)
    assert ("leaks that are not in every run" in result.stdout.str()) == is_told
