"""That a test was repeated shows nowhere: not to profilers, coverage or plugins, not in processes, not in later tests."""

from __future__ import annotations

import itertools
import json
import mmap
import os
import pstats
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ON = (
    "-p", "pytest_leakguard.plugin", "--leakguard", "--leakguard-report=out", "-p", "no:cacheprovider",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "")


def report_of(pytester: pytest.Pytester) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((Path(pytester.path) / "out/report.json").read_text())
    return report


def outcomes(pytester: pytest.Pytester) -> dict[str, str]:
    checks = report_of(pytester)["checks"]
    return {check["id"].rpartition("::")[2]: check["outcome"] for check in checks}


# Whoever watches the code.

COVERED = """
    SEEN = []
    def work(n):
        if n > 1:
            return "later"
        return "first"
    def test_covers():
        SEEN.append(1) if len(SEEN) < 9 else None
        work(len(SEEN))
    def test_makes_code():
        space = {}
        exec(compile("def f():\\n    return 1\\n", "made", "exec"), space)
        assert space["f"]() == 1
    def test_makes_classes():
        import dataclasses
        assert dataclasses.make_dataclass("Point", ["x"])(1).x == 1
"""
CORES = ["ctrace", *(["sysmon"] if sys.version_info >= (3, 12) else [])]


@pytest.mark.parametrize("core", CORES)
def test_coverage_counts_the_first_run_alone_by_any_core(
    core: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVERAGE_CORE", core)
    pytester.makepyfile(test_it=COVERED)
    options = ("-p", "pytest_cov", "--cov=.", "--cov-report=json", "-p", "no:cacheprovider")
    seen = []
    for more in ((), ON):
        pytester.runpytest_subprocess(*options, *more).assert_outcomes(passed=3)
        files = json.loads((pytester.path / "coverage.json").read_text())["files"]
        seen.append(files["test_it.py"]["executed_lines"])
    assert seen[0] == seen[1]
    assert 4 not in seen[0], "the line that only a second run reaches"
    assert set(outcomes(pytester).values()) == {"clean"}


def test_a_profile_is_that_of_the_first_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        def called(): return [object()]
        def deeper(): return called()
        RUNS = []
        def test_calls():
            RUNS.append(1) if len(RUNS) < 9 else None
            for _ in range(7): deeper()
        """
    )
    command = [sys.executable, "-m", "cProfile", "-o", "prof", "-m", "pytest", *ON, "test_it.py"]
    result = pytester.run(*command)
    result.assert_outcomes(passed=1)
    assert outcomes(pytester) == {"test_calls": "clean"}
    calls = {}
    for (_, _, name), entry in pstats.Stats(str(pytester.path / "prof")).stats.items():  # type: ignore[attr-defined]
        calls[name] = entry[1]
    assert (calls["called"], calls["deeper"], calls["test_calls"]) == (7, 7, 1)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no sys.monitoring")
def test_tools_of_sys_monitoring_are_suspended_and_then_go_on(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import sys
        EVENTS = []
        monitoring = sys.monitoring
        monitoring.use_tool_id(3, "watcher")
        def on_start(code, offset):
            if code.co_name.startswith("work"): EVENTS.append(code.co_name)
        monitoring.register_callback(3, monitoring.events.PY_START, on_start)
        monitoring.set_events(3, monitoring.events.PY_START)
        def work_one(): return 1
        def work_two(): return 2
        KEPT = []
        def test_one():
            if len(KEPT) < 3: KEPT.append([1])
            work_one()
        def test_two():
            assert EVENTS.count("work_one") == 1, "later runs of test_one are not seen"
            work_two()
            assert EVENTS[-1] == "work_two" or len(KEPT) == 3
        def test_three(): assert EVENTS == ["work_one", "work_two"]
        """
    )
    pytester.runpytest_subprocess(*ON).assert_outcomes(passed=3)
    assert set(outcomes(pytester).values()) == {"clean"}


def test_a_debugger_stops_in_the_first_run_and_passing_tests_pass(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("SEEN = [None]\ndef test_it():\n    SEEN[0] = [1]\n    breakpoint()\n")
    child = subprocess.run(
        [sys.executable, "-m", "pytest", *ON, "--pdb"],
        input="c\n" * 50, capture_output=True, text=True, cwd=pytester.path, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stdout
    assert child.stdout.count("(Pdb)") == 1
    assert outcomes(pytester) == {"test_it": "clean"}


@pytest.mark.parametrize("option", ["--setup-only", "--setup-plan", "--setup-show", "--pdb"])
def test_options_for_people_fail_no_run(pytester: pytest.Pytester, option: str) -> None:
    pytester.makepyfile(
        "import pytest\n@pytest.fixture\ndef own(): return [1]\ndef test_it(own): pass"
    )
    plain = pytester.runpytest_subprocess(option, "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(option, *ON)
    assert result.ret == plain.ret == 0
    shown = [line.strip(" .") for line in plain.outlines if "own" in line]
    assert [line.strip(" .") for line in result.outlines if "own" in line] == shown


@pytest.mark.parametrize("option", ["--fixtures", "--fixtures-per-test", "--collect-only"])
def test_what_only_lists_tests_or_fixtures_judges_and_writes_nothing(
    pytester: pytest.Pytester, option: str
) -> None:
    pytester.makepyfile("def test_it(): pass")
    report = pytester.path / "out" / "report.json"
    report.parent.mkdir()
    report.write_text("of an earlier run")
    result = pytester.runpytest_subprocess(*ON, "--leakguard-report=out", option)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*nothing was measured*")
    assert report.read_text() == "of an earlier run"
    assert [path.name for path in report.parent.iterdir()] == ["report.json"]


# Hooks and what they keep.

HOOKS = """
    import pytest
    ROWS = []
    class Recorder:
        def __init__(self): self.rows, self.calls, self.last = [], 0, {}
        def pytest_runtest_setup(self, item): self.rows.append(item.nodeid)
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_call(self, item):
            self.calls += 1
            self.last[item.name, self.calls] = object()
            return (yield)
        def pytest_runtest_makereport(self, item, call): ROWS.append(call.when)
        def pytest_sessionfinish(self):
            with open("rows.txt", "w") as file: print(self.rows, self.calls, len(self.last), ROWS, file=file)
    def pytest_configure(config): config.pluginmanager.register(Recorder(), "recorder")
    STATE = {}
    def pytest_runtest_setup(item): STATE["ready"] = True
    def pytest_runtest_teardown(item): STATE.clear()
    @pytest.fixture
    def state(): return STATE
"""


def test_plugins_of_the_project_see_one_run_and_its_hooks_are_called(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(HOOKS)
    pytester.makepyfile(
        "KEPT = []\ndef test_one(state):\n    assert state['ready']\n    KEPT[:] = [[1]]\n"
        "def test_leaks(state): assert state['ready']; KEPT.append([2])\n"
    )
    rows = []
    for options in ((), ON):
        pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
        rows.append((pytester.path / "rows.txt").read_text())
    assert rows[0] == rows[1]
    assert outcomes(pytester) == {"test_one": "clean", "test_leaks": "leak"}


INSTALLED = """
    import pytest
    class Plugin:
        def __init__(self): self.runs = []
        def note(self): self.runs.append({"row": len(self.runs)})
    PLUGIN = Plugin()
    @pytest.fixture
    def noted(): PLUGIN.note(); return PLUGIN
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(item):
        item._noted = {}
        result = yield
        del item._noted
        return result
    def pytest_runtest_setup(item): item._noted["setup"] = item.nodeid
    def pytest_runtest_call(item):
        with open("calls.txt", "a") as file: print(item.nodeid, file=file)
    def pytest_runtest_makereport(item, call): item._noted[call.when] = call.when
    def pytest_configure(config): config.pluginmanager.register(PLUGIN, "noting-object")
    def pytest_unconfigure(config):
        with open("runs.txt", "w") as file: print(PLUGIN.runs, file=file)
"""


def test_an_installed_plugin_that_nobody_knows_sees_one_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = pytester.path / "lib" / "site-packages"
    place.mkdir(parents=True)
    (place / "noting.py").write_text("\n".join(line[4:] for line in INSTALLED.splitlines()))
    monkeypatch.setenv("PYTHONPATH", str(place))
    pytester.makepyfile(
        """
        import pytest
        KEPT = []
        @pytest.fixture(scope="module")
        def larger():
            yield 1
            raise RuntimeError("its tear-down fails, after everybody has gone")
        def test_one(noted): KEPT[:] = [[1]]
        def test_leaks(noted): KEPT.append([2])
        def test_last(noted, larger): assert noted.runs
        """
    )
    seen = []
    for options in ((), ON):
        (pytester.path / "calls.txt").unlink(missing_ok=True)
        result = pytester.runpytest_subprocess("-p", "noting", "-p", "no:cacheprovider", *options)
        texts = [(pytester.path / name).read_text() for name in ("calls.txt", "runs.txt")]
        seen.append((texts, result.parseoutcomes()))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] == {"passed": 3, "errors": 1}
    assert seen[1][1] == {"passed": 2, "failed": 1, "errors": 1}
    assert outcomes(pytester) == {"test_one": "clean", "test_leaks": "leak", "test_last": "clean"}


def test_fixtures_that_a_run_registers_are_taken_back(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_registers(request):
            manager = request.session._fixturemanager
            if hasattr(manager, "_arg2node2fixturedefs"):
                manager._register_fixture(name="made", func=lambda: [1], node=request.node)
            else:
                manager._register_fixture(name="made", func=lambda: [1], nodeid=request.node.nodeid)
            assert request.getfixturevalue("made") == [1]
        def test_sees_one(request):
            manager = request.session._fixturemanager
            registry = getattr(manager, "_arg2node2fixturedefs", None)
            found = manager._arg2fixturedefs["made"] if registry is None else [
                definition for entries in registry["made"].values() for definition in entries
            ]
            assert len(found) == 1
        """
    )
    pytester.runpytest_subprocess(*ON).assert_outcomes(passed=2)
    assert set(outcomes(pytester).values()) == {"clean"}


def test_parametrized_tests_of_hypothesis_are_checked(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from hypothesis import given, settings, strategies as st
        KEEP = []
        @pytest.mark.parametrize("n", [1, 2, 3])
        @given(st.integers())
        def test_clean(n, number): assert number == number
        @pytest.mark.parametrize("n", [1])
        @given(st.integers())
        def test_leaky(n, number): KEEP.append(object())
        class TestClass:
            @pytest.mark.parametrize("n", [1, 2])
            @given(st.integers())
            def test_method(self, n, number): pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "_hypothesis_pytestplugin", *ON)
    result.assert_outcomes(passed=5, failed=1)
    found = outcomes(pytester)
    assert found.pop("test_leaky[1]") == "leak"
    assert set(found.values()) == {"clean"}


# The process and its limits.

SOCKETS = """
    import socket, pytest
    KEEP = []
    def test_twelve(): KEEP.extend(socket.socket() for _ in range(12))
    @pytest.mark.parametrize("n", range(6))
    def test_one(n): KEEP.append(socket.socket())
    @pytest.mark.parametrize("n", range(6))
    def test_later(n, tmp_path):
        files = [open(tmp_path / str(number), "w") for number in range(8)]
        for file in files: file.close()
    def test_nothing_was_closed():
        for one in KEEP: one.getsockname()
"""


@pytest.mark.parametrize("limit", [64, 256, 1024])
def test_tests_that_leave_descriptors_leave_enough_for_the_others(
    limit: int, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(SOCKETS)
    limited = f'ulimit -S -n {limit} && exec "$0" -m pytest "$@"'
    result = pytester.run("sh", "-c", limited, sys.executable, *ON, timeout=300)
    result.assert_outcomes(passed=7, failed=7)
    found = outcomes(pytester)
    leaky = {found[name] for name in found if "twelve" in name or "one[" in name}
    assert leaky <= ({"leak"} if limit == 1024 else {"leak", "inconclusive"})
    assert found["test_twelve"] == ("inconclusive" if limit == 64 else "leak")
    if limit == 64:
        result.stdout.fnmatch_lines(["*of 64 descriptors are open, and a run leaves 12*"])


GROWING = """
    import threading
    KEEP, RUNS, EVENT = [], [], threading.Event()
    class Wrapped:
        def __init__(self, value): self.value = value
        def get(self): return 1 if self.value is None else self.value.get() + self.value.get()
    TOP = [None]
    def test_twice_as_long():
        TOP[0] = Wrapped(TOP[0])
        TOP[0].get()
    def test_second_run_hangs():
        KEEP.append([1])
        RUNS.append(1)
        if len(RUNS) > 1: EVENT.wait()
    def test_threads():
        for _ in range(20): threading.Thread(target=EVENT.wait, daemon=True).start()
    def test_after(): pass
"""


def test_a_run_that_takes_too_long_ends_and_the_runs_there_were_answer(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(GROWING)
    began_s = time.monotonic()
    result = pytester.runpytest_subprocess(*ON, "-v", timeout=300)
    assert time.monotonic() - began_s < 120
    result.assert_outcomes(passed=2, failed=2)
    assert outcomes(pytester) == {
        "test_twice_as_long": "leak",
        "test_second_run_hangs": "not_repeatable",
        "test_threads": "leak",
        "test_after": "clean",
    }
    result.stdout.fnmatch_lines(["*run 2 took longer than 3 s*"])


COMPILED = """
    TOP = [(), ()]
    def test_compiled_code_takes_twice_as_long():
        TOP[:] = [(one, one) for one in TOP]
        assert TOP[0] == TOP[1]
"""


def test_compiled_code_that_takes_ever_longer_is_not_begun_again(
    pytester: pytest.Pytester,
) -> None:
    """Nothing can interrupt it: at twenty more levels it would take a month."""
    pytester.makepyfile(COMPILED)
    result = pytester.runpytest_subprocess(*ON, "-v", timeout=300)
    result.assert_outcomes(failed=1)
    assert outcomes(pytester) == {"test_compiled_code_takes_twice_as_long": "leak"}


def test_large_losses_are_leaks_before_memory_is_gone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("KEEP = []\ndef test_large(): KEEP.append(bytes(100_000_000))\n")
    pytester.runpytest_subprocess(*ON).assert_outcomes(failed=1)
    assert outcomes(pytester) == {"test_large": "leak"}


FORKS = """
    import os, pytest
    KEPT = []
    def test_forks():
        if os.fork() == 0: return
    def test_forks_and_fails():
        if os.fork() == 0: raise ValueError
    def test_leaks(): KEPT.append([1])
"""


def test_a_child_that_comes_back_runs_the_rest_once_and_nothing_of_ours(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(FORKS)
    pytester.makeconftest(
        """
        import os
        def pytest_sessionfinish(session):
            with open("ends.txt", "a") as file: file.write(f"{os.getpid()}\\n")
        """
    )
    result = pytester.runpytest_subprocess(*ON, timeout=300)
    deadline_s = time.monotonic() + 60
    ends: set[str] = set()
    while len(ends) < 4 and time.monotonic() < deadline_s:
        ends = set((pytester.path / "ends.txt").read_text().split())
        time.sleep(0.1)
    time.sleep(0.5)
    assert len(set((pytester.path / "ends.txt").read_text().split())) == 4, "as without us"
    assert result.outlines.count("=" * 34 + " leakguard " + "=" * 35) <= 1
    found = outcomes(pytester)
    assert found["test_leaks"] == "leak"
    assert found["test_forks"] in ("leak", "clean"), "it collects no child"


# What is said.


def test_not_repeatable_says_why_and_a_run_of_mostly_such_tests_says_so(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        RUNS = {}
        def once(name):
            RUNS[name] = RUNS.get(name, 0) + 1
            assert RUNS[name] == 1, "only once"
        KEPT = []
        def test_one(): KEPT.append([1]); once("one")
        def test_two(): KEPT.append([1]); once("two")
        def test_three(): pass
        """
    )
    result = pytester.runpytest_subprocess(*ON, "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "not_repeatable *::test_one *",
            "*run 2: call failed: AssertionError: only once*",
            "ok leakguard: 1 test clean; 2 tests not repeatable; *most tests could not be repeated, *",
        ]
    )


# What a session has replaced.

REPLACED = {
    "clocks": """
        @pytest.fixture(autouse=True, scope="session")
        def stopped():
            patch = pytest.MonkeyPatch()
            for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
                patch.setattr(time, name, lambda: 1.0)
            patch.setattr(time, "sleep", lambda seconds: None)
            yield
    """,
    "clocks for good": """
        def pytest_collection_finish(session):
            for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
                setattr(time, name, lambda: 1.0)
            time.sleep = lambda seconds: None
    """,
    "os": """
        @pytest.fixture(autouse=True, scope="session")
        def broken():
            def refuse(*args, **kwargs): raise RuntimeError("replaced")
            patch = pytest.MonkeyPatch()
            for name in ("listdir", "waitid", "statvfs", "getpid", "chdir"):
                patch.setattr(os, name, refuse)
            stat = os.stat
            patch.setattr(os, "stat", lambda path, **more: refuse() if str(path).startswith("/proc") else stat(path, **more))
            yield
            patch.undo()
    """,
    "gc": """
        @pytest.fixture(autouse=True, scope="session")
        def broken():
            def refuse(*args, **kwargs): raise RuntimeError("replaced")
            patch = pytest.MonkeyPatch()
            for name in ("collect", "freeze", "unfreeze", "get_count", "get_threshold", "isenabled", "get_objects"):
                patch.setattr(gc, name, refuse)
            yield
            patch.undo()
    """,
    "open": """
        @pytest.fixture(autouse=True, scope="session")
        def broken():
            def refuse(*args, **kwargs): raise RuntimeError("replaced")
            patch = pytest.MonkeyPatch()
            patch.setattr(builtins, "open", refuse)
            yield
            patch.undo()
    """,
}  # fmt: skip


@contextmanager
def segments_of_another() -> Iterator[None]:
    """Meanwhile this process makes one segment of shared memory after another."""
    is_over = threading.Event()

    def make() -> None:
        for number in itertools.count():
            path = f"/dev/shm/leakguard-test-{os.getpid()}-{number}"
            handle = os.open(path, os.O_RDWR | os.O_CREAT)
            os.ftruncate(handle, mmap.PAGESIZE)
            with mmap.mmap(handle, mmap.PAGESIZE):
                os.close(handle)
                is_seen = is_over.wait(0.02)
                os.unlink(path)
            if is_seen:
                return

    maker = threading.Thread(target=make)
    maker.start()
    try:
        yield
    finally:
        is_over.set()
        maker.join()


@pytest.mark.parametrize("replaced", REPLACED)
def test_what_a_session_has_replaced_is_not_what_we_measure_with(
    replaced: str, pytester: pytest.Pytester
) -> None:
    """Also while another process makes segments of shared memory, whose owner is looked for."""
    text = "\n".join(line[8:] for line in REPLACED[replaced].splitlines())
    pytester.makeconftest("import builtins, gc, os, time\nimport pytest\n" + text)
    pytester.makepyfile(
        """
        KEEP, KEPT = [], []
        def test_leaks(): KEEP.append(object())
        def test_clean(): KEPT[:] = [[1]]
        """
    )
    with segments_of_another():
        result = pytester.runpytest_subprocess(*ON, timeout=120)
    result.assert_outcomes(passed=1, failed=1)
    assert outcomes(pytester) == {"test_leaks": "leak", "test_clean": "clean"}
