"""Every kind of test beside the plugins that people have installed: leaks found, nothing else blamed or changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.pytest_integration.test_screening import screened

ON = ("--leakguard", "--leakguard-report=out", "--leakguard-confirm=0.5", "-p", "no:cacheprovider")


AMPLE = ("--leakguard-confirm=60", "--timeout=1000")
"""Seconds that only a busy machine needs: every test here is decided long before."""


def report_of(pytester: pytest.Pytester) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((Path(pytester.path) / "out/report.json").read_text())
    return data


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {check["id"].rpartition("::")[2]: check["outcome"] for check in report["checks"]}


KINDS = """
    import asyncio, unittest
    import anyio, pytest
    from hypothesis import given, settings, strategies as st

    KEEP = []
    class Order:
        def __init__(self): self.payload = bytearray(32)
    def keep(): KEEP.append(Order())

    @pytest.fixture
    def own(): yield {}
    @pytest.fixture(scope="class")
    def of_class(): yield {}
    @pytest.fixture(scope="module")
    def of_module(): yield {"x": []}
    @pytest.fixture(scope="session")
    def of_session(): yield {}
    @pytest.fixture
    def leaky_fixture():
        keep()
        yield
    @pytest.fixture
    def leaky_teardown():
        yield
        keep()

    def test_clean_function(own, of_module, of_session): own["x"] = of_module
    def test_leak_function(): keep()
    def test_leak_fixture(leaky_fixture): pass
    def test_leak_teardown(leaky_teardown): pass
    def test_leak_module_fixture(of_module): of_module["x"].append(Order())
    @pytest.mark.parametrize("n", [1, 2])
    def test_clean_parametrised(n, tmp_path, monkeypatch, capsys, caplog): print(n); assert capsys.readouterr().out
    @pytest.mark.parametrize("leaks", [False, True])
    def test_parametrised(leaks):
        if leaks: keep()
    class TestMethods:
        def setup_method(self): self.x = 1
        def test_clean_method(self, of_class): assert self.x == 1
        def test_leak_method(self): keep()
    class Old(unittest.TestCase):
        @classmethod
        def setUpClass(cls): cls.shared = []
        def setUp(self): self.x = 1
        def test_clean_unittest(self): self.assertEqual(self.x, 1); self.addCleanup(int)
        def test_leak_unittest(self): keep()
        def test_clean_unittest_subtests(self):
            for n in range(3):
                with self.subTest(n=n): self.assertTrue(True)
    class LeakySetUp(unittest.TestCase):
        def setUp(self): keep()
        def test_leak_setup(self): pass
    class LeakyTearDown(unittest.TestCase):
        def tearDown(self): keep()
        def test_leak_unittest_teardown(self): pass
    class OldAsync(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self): self.x = 1
        async def test_clean_isolated(self): await asyncio.sleep(0)
        async def test_leak_isolated(self): await asyncio.sleep(0); keep()
    @pytest.mark.asyncio
    async def test_clean_asyncio(own): await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
    @pytest.mark.asyncio
    async def test_leak_asyncio(): await asyncio.sleep(0); keep()
    @pytest.mark.asyncio(loop_scope="module")
    async def test_leak_asyncio_module_loop(): await asyncio.sleep(0); keep()
    @pytest.mark.asyncio(loop_scope="module")
    async def test_clean_asyncio_module_loop(): await asyncio.sleep(0)
    @pytest.mark.anyio
    async def test_clean_anyio(own): await anyio.sleep(0)
    @pytest.mark.anyio
    async def test_leak_anyio(): await anyio.sleep(0); keep()
    @given(st.integers())
    @settings(max_examples=10)
    def test_clean_hypothesis(n): assert n == n
    @given(st.lists(st.text()))
    @settings(max_examples=10)
    def test_leak_hypothesis(n): keep()
    class TestHypothesis:
        @given(st.integers())
        @settings(max_examples=10)
        def test_clean_hypothesis_method(self, n): assert n == n
        @given(st.integers())
        @settings(max_examples=10)
        def test_leak_hypothesis_method(self, n): keep()
    if hasattr(pytest, "Subtests"):
        def test_clean_subtests(subtests):
            for n in range(3):
                with subtests.test(n=n): pass
    def test_clean_recorded(record_property, record_testsuite_property):
        record_property("a", 1); record_testsuite_property("b", 1)
"""


def test_leaks_are_found_in_every_kind_of_test_beside_all_plugins_at_once(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(KINDS)
    plain = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n2").parseoutcomes()
    result = pytester.runpytest_subprocess(*ON, *AMPLE, "-n2", "--cov", "--reruns=1", "-prandomly")
    report = report_of(pytester)
    found = outcomes(report)
    leaking = {name for name in found if "leak_" in name or "True" in name}
    assert {name for name, outcome in found.items() if outcome == "leak"} == leaking, found
    assert {found[name] for name in found.keys() - leaking} == {"clean"}, found
    expected = {**plain, "failed": len(leaking), "passed": plain["passed"] - len(leaking)}
    assert result.parseoutcomes() | {"warnings": 0} == expected | {"warnings": 0}
    assert len(found) == plain["passed"]
    for finding in report["findings"].values():
        assert any(
            "KEEP" in step or "of_module" in step or "x" in step for step in finding["holders"]
        ), finding


SAME = """
    import os, random, pytest
    RAN = set()
    def log(text):
        with open(os.environ["LEAKGUARD_LOG"], "a") as file: file.write(text + "\\n")
    @pytest.fixture(scope="session")
    def of_session():
        log("session up"); yield; log("session down")
    @pytest.fixture(scope="module", params=[1, 2])
    def of_module(request, of_session):
        log(f"module {request.param} up"); yield request.param; log(f"module {request.param} down")
    @pytest.fixture(scope="class")
    def of_class():
        log("class up"); yield; log("class down")
    def second_time():
        return 1
    def test_second_run_covers_more(of_module):
        if of_module in RAN: second_time()
        RAN.add(of_module)
    class TestClass:
        def test_one(self, of_class, of_module): pass
        def test_two(self, of_class): print("seen"); assert 0
    def test_random(): log(f"random {random.random()}")
    def test_random_again(): log(f"random {random.random()}")
    async def test_auto(): pass
    def test_properties(record_property, record_testsuite_property):
        record_property("own", 1); record_testsuite_property("suite", 2)
    @pytest.mark.skip
    def test_skipped(): pass
    @pytest.fixture(scope="module")
    def broken():
        yield
        raise RuntimeError("broken")
    def test_broken_teardown(broken): pass
"""


def test_reports_coverage_and_larger_fixtures_are_what_they_are_without_us(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(SAME)
    pytester.makeconftest("import random\nrandom.seed(3)")
    seen = []
    for name, options in (("plain", ()), ("ours", ON)):
        monkeypatch.setenv("LEAKGUARD_LOG", str(pytester.path / f"{name}.log"))
        result = pytester.runpytest_subprocess(
            *options,
            *(
                "-p",
                "no:randomly",
                "-o",
                "asyncio_mode=auto",
                "--junitxml=junit.xml",
                "--cov=.",
                "--cov-branch",
            ),
            *("--cov-report=json", "-v"),
        )
        coverage = json.loads((pytester.path / "coverage.json").read_text())["files"][
            "test_reports_coverage_and_larger_fixtures_are_what_they_are_without_us.py"
        ]
        junit = ElementTree.parse(pytester.path / "junit.xml").getroot()[0]
        cases = [
            (case.get("name"), [child.tag for child in case]) for case in junit.iter("testcase")
        ]
        lines = [
            line.partition(" [")[0]
            for line in result.outlines
            if re.match(r"test_\S+ [A-Z]+ +\[", line)
        ]
        suite = [
            (one.get("name"), one.get("value")) for one in junit.iterfind("properties/property")
        ]
        log = (pytester.path / f"{name}.log").read_text().splitlines()
        seen.append(
            (
                result.parseoutcomes(),
                coverage["executed_lines"],
                coverage["executed_branches"],
                cases,
                lines,
                suite,
                log,
            )
        )
    ours_log = seen[1][-1]
    assert [line for line in seen[0][-1] if "random" not in line] == [
        line for line in ours_log if "random" not in line
    ]
    first_of = {line: None for line in seen[0][-1] if "random" in line}
    assert first_of.keys() <= set(ours_log), "a later test draws what it draws without us"
    assert [*seen[0][:-1]] == [*seen[1][:-1]]


RERUNS = """
    import pytest
    RUNS, KEEP, EVENTS = {}, [], []
    def runs(name):
        RUNS[name] = RUNS.get(name, 0) + 1
        return RUNS[name]
    @pytest.fixture(scope="module")
    def shared():
        EVENTS.append("up"); yield []; EVENTS.append("down")
    def test_passes(shared): pass
    @pytest.mark.flaky(reruns=2)
    def test_fails_once(shared): assert runs("once") != 1
    def test_fails_always(shared): runs("always"); assert 0
    def test_second_fails(shared): assert runs("second") != 2
    def test_leaks(shared): KEEP.append(object())
    def test_counts(shared): assert RUNS["always"] == 2 and len(set(EVENTS)) <= 2
"""


def test_reruns_stay_with_pytest_rerunfailures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(RERUNS)
    options = ("--reruns=1", "-p", "no:randomly", "-p", "no:cacheprovider")
    plain = pytester.runpytest_subprocess(*options).parseoutcomes()
    assert plain == {"passed": 5, "failed": 1, "rerun": 2}
    assert pytester.runpytest_subprocess(*ON, *options).parseoutcomes() == {
        "passed": 4,
        "failed": 2,
        "rerun": 2,
    }
    found = outcomes(report_of(pytester))
    assert (found["test_leaks"], found["test_second_fails"]) == ("leak", "not_repeatable")
    assert found["test_fails_once"] == found["test_passes"] == "clean"


MEMRAY = """
    import time, pytest
    KEEP = []
    @pytest.mark.limit_memory("50 MB")
    def test_limited(): bytearray(1000)
    def test_leaks(): KEEP.append(bytearray(100))
    @pytest.mark.timeout(2, func_only=True)
    def test_takes_its_time(): time.sleep(0.3)
"""


def test_memray_tracks_and_timeouts_count_only_the_tests_own_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MEMRAY)
    result = pytester.runpytest_subprocess(
        *ON, "-p", "no:randomly", "--memray", "--memray-bin-path=bins", "--timeout=2"
    )
    result.assert_outcomes(passed=2, failed=1)
    assert len([*(pytester.path / "bins").glob("*.bin")]) == 3
    assert outcomes(report_of(pytester)) == {
        "test_limited": "clean",
        "test_leaks": "leak",
        "test_takes_its_time": "clean",
    }


def test_a_report_that_somebody_passes_on_again_is_understood(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        class Again:
            def __init__(self, config): self.config, self.busy = config, False
            @pytest.hookimpl(trylast=True)
            def pytest_runtest_logreport(self, report):
                if self.busy or report.when != "call": return
                self.busy = True
                self.config.hook.pytest_runtest_logreport(report=report)
                self.busy = False
        def pytest_configure(config): config.pluginmanager.register(Again(config))
        """
    )
    _, report = screened(
        pytester, "KEPT = []\ndef test_leaks(): KEPT.append(object())\ndef test_clean(): pass"
    )
    assert outcomes(report) == {"test_leaks": "leak", "test_clean": "clean"}
