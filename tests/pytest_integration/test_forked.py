"""Forked tests and forking ones: pytest-forked's are checked in their own process, and a child that
a test forks neither hangs, nor repeats anything, nor reports."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

ON = (
    "-p",
    "pytest_leakguard.plugin",
    "--leakguard",
    "--leakguard-report=out",
    "--leakguard-confirm=0.5",
)
TIMEOUT_S = 120
"""A deadlock ends the test, not the suite."""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them takes longer than most of these runs."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, source: str) -> tuple[str, dict[str, str]]:
    """What is printed, and the outcome of each test."""
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess(*ON, timeout=TIMEOUT_S)
    report = json.loads((Path(pytester.path) / "out" / "report.json").read_text("utf-8"))
    outcomes = {check["id"].rpartition("::")[2]: check["outcome"] for check in report["checks"]}
    return result.stdout.str(), outcomes


RETURNS = """
    import os
    KEEP = []

    def test_leaks():
        KEEP.append(bytearray(100))

    def test_child_returns():
        child = os.fork()
        with open("forks", "ab") as forks:
            forks.write(b"c" if child == 0 else b"p")
        if child:
            os.waitpid(child, 0)
"""


def test_a_child_that_returns_from_a_test_reports_nothing(pytester: pytest.Pytester) -> None:
    printed, outcomes = run(pytester, RETURNS)
    assert printed.count("= leakguard =") == 1
    assert outcomes == {"test_leaks": "leak", "test_child_returns": "clean"}
    forks = (Path(pytester.path) / "forks").read_bytes()
    assert forks.count(b"c") == forks.count(b"p") <= 100, "no child forks again"


RETURNS_FROM_A_LOOP = """
    import os

    def unit():
        child = os.fork()
        with open("forks", "ab") as forks:
            forks.write(b"c" if child == 0 else b"p")
        if child:
            os.waitpid(child, 0)

    def test_loop(leakguard):
        leakguard.loop(unit, iterations=10)
"""


def test_a_child_that_returns_from_a_loops_callable_ends_there(pytester: pytest.Pytester) -> None:
    printed, outcomes = run(pytester, RETURNS_FROM_A_LOOP)
    assert printed.count("= leakguard =") == 1
    assert outcomes == {"test_loop": "clean"}
    forks = (Path(pytester.path) / "forks").read_bytes()
    assert forks.count(b"c") == forks.count(b"p") > 0


WITH_THREADS = """
    import multiprocessing, os, threading, warnings
    import pytest
    warnings.simplefilter("ignore", DeprecationWarning)
    KEEP = []

    def test_leaks_before_them():
        KEEP.append(object())

    @pytest.fixture(scope="module")
    def busy():
        over = threading.Event()
        def allocate():
            while not over.is_set():
                [bytearray(size) for size in range(0, 900, 60)]
        threads = [threading.Thread(target=allocate) for _ in range(3)]
        for thread in threads: thread.start()
        yield
        over.set()
        for thread in threads: thread.join()

    def work(count=2000):
        return len([bytearray(64) for _ in range(count)])

    def test_forks(busy):
        for _ in range(5):
            child = os.fork()
            if child == 0:
                work()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

    def test_processes(busy):
        context = multiprocessing.get_context("fork")
        child = context.Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
"""


def test_children_of_a_process_whose_threads_allocate_do_not_hang(
    pytester: pytest.Pytester,
) -> None:
    printed, outcomes = run(pytester, WITH_THREADS)
    assert outcomes["test_leaks_before_them"] == "leak", printed
    assert outcomes["test_forks"] == outcomes["test_processes"] == "clean", printed


FORKED = """
    import os, pytest
    KEEP = []
    PARENT = os.getppid()
    @pytest.fixture(scope="module")
    def larger():
        yield os.getpid()
    def test_clean(larger): assert larger == os.getpid()
    def test_leaks(): KEEP.append(object())
    def test_crashes(): os.abort()
    def test_fails(): assert 0
    def test_alone(): assert not KEEP
"""


def test_tests_of_pytest_forked_are_checked_in_their_own_process(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytest_forked")
    if pytest.version_tuple >= (9, 2):
        pytest.skip("pytest-forked fails every test beside this pytest")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(FORKED)
    options = ("-p", "pytest_forked", "--forked", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=3, failed=2)
    result = pytester.runpytest_subprocess(
        *options, "-p", "pytest_leakguard.plugin", "--leakguard", "--leakguard-report=out"
    )
    result.assert_outcomes(passed=2, failed=3)
    report = json.loads((pytester.path / "out/report.json").read_text())
    found = {check["id"].rpartition("::")[2]: check["outcome"] for check in report["checks"]}
    assert found == {"test_clean": "clean", "test_leaks": "leak", "test_alone": "clean"}
