"""Tests that change the process, fail later or end the session: they neither break the screening nor suffer from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ON = (
    "-p",
    "pytest_leakguard.plugin",
    "--leakguard",
    "--leakguard-report=out",
    "--leakguard-confirm=0.5",
)


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them takes longer than most of these runs."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def outcomes(pytester: pytest.Pytester) -> dict[str, str]:
    report: dict[str, Any] = json.loads((Path(pytester.path) / "out/report.json").read_text())
    return {check["id"].rpartition("::")[2]: check["outcome"] for check in report["checks"]}


HOSTILE = """
    import gc, locale, logging, multiprocessing, os, random, signal, subprocess, sys, threading, time, tracemalloc, warnings, weakref, io
    import pytest
    RUNS = {}
    def runs(name):
        RUNS[name] = RUNS.get(name, 0) + 1
        return RUNS[name]
    def first(name): return runs(name) == 1
    START = None
    class Node: pass

    def test_before():
        global START
        START = (os.getcwd(), sys.getrecursionlimit(), list(sys.path), signal.getsignal(signal.SIGUSR1), gc.isenabled(), random.getrandbits(8) and 1)
    def test_chdir(tmp_path): os.chdir(tmp_path)
    def test_chdir_later(tmp_path):
        if not first("chdir"): os.chdir(tmp_path)
    def test_environ_later():
        if not first("environ"): os.environ["LEAKGUARD_LATER"] = "1"; os.environ.pop("HOME", None)
    def test_signals_later():
        if not first("signals"): signal.signal(signal.SIGUSR1, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)
    def test_path_later():
        if not first("path"): sys.path.insert(0, "/nowhere"); sys.path[:] = sys.path[:1]
    def test_modules_later():
        if not first("modules"): sys.modules["json"] = None
    def test_limits_later():
        if not first("limits"):
            sys.setrecursionlimit(3000); gc.disable(); gc.set_threshold(5); logging.disable(50); logging.getLogger().setLevel(1)
            locale.setlocale(locale.LC_ALL, "C"); random.seed(4)
    def test_after():
        assert "LEAKGUARD_LATER" not in os.environ and "HOME" in os.environ
        assert "/nowhere" not in sys.path and len(sys.path) > 1
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert sys.modules["json"] is not None and sys.getrecursionlimit() != 3000 and gc.isenabled() and gc.get_threshold()[0] != 5
        assert logging.root.manager.disable == 0 and logging.root.level != 1
        assert os.getcwd().endswith("test_chdir0")
    def test_second_fails(): assert first("second")
    def test_second_skips():
        if not first("skips"): pytest.skip("no")
    def test_second_exits():
        if not first("exits"): raise SystemExit(3)
    def test_stdout(): sys.stdout = io.StringIO()
    def test_stdout_closed():
        fd = os.open(os.devnull, os.O_WRONLY); os.dup2(fd, 1); os.close(fd)
    def test_filters(): warnings.simplefilter("error"); warnings.filters.clear()
    def test_logging(): logging.getLogger("x").setLevel(10); logging.basicConfig(level=10)
    def test_locale(): locale.setlocale(locale.LC_ALL, "C")
    def test_recursion(): sys.setrecursionlimit(5000)
    def test_gc_disable(): gc.disable()
    def test_gc_toggle(): (gc.disable if gc.isenabled() else gc.enable)()
    def test_gc_unfreeze(): gc.unfreeze(); assert gc.get_freeze_count() == 0
    def test_gc_freeze(): gc.freeze()
    def test_gc_objects():
        one = Node(); assert any(x is one for x in gc.get_objects()); assert gc.get_referrers(one)
    @pytest.fixture(scope="module")
    def node():
        n = Node(); n.me = n
        return n
    def test_gc_fixture(node): assert any(x is node for x in gc.get_objects()); node.more = Node()
    def test_weak():
        n = Node(); n.me = n; r = weakref.ref(n); del n; gc.collect(); assert r() is None
    HELD = []
    @pytest.fixture(scope="module")
    def held():
        n = Node(); n.me = n; HELD.append(n)
    def test_weak_module(held):
        if HELD:
            r = weakref.ref(HELD.pop()); gc.collect(); assert r() is None
    def test_counted_after(): assert RUNS["second"] >= 1
    def test_tracemalloc_start(): tracemalloc.start()
    def test_tracemalloc_stop(): tracemalloc.stop()
    def test_thread():
        t = threading.Thread(target=int); t.start(); t.join()
    def test_timer(): threading.Timer(0.3, int).start()
    def test_pool():
        from concurrent.futures import ThreadPoolExecutor
        ThreadPoolExecutor(2).submit(int)
    def test_daemon_short():
        threading.Thread(target=time.sleep, args=(0.1,), daemon=True).start()
    def test_fork():
        pid = os.fork()
        if not pid: os._exit(0)
        os.waitpid(pid, 0)
    def test_multiprocessing():
        p = multiprocessing.get_context("fork").Process(target=int); p.start(); p.join()
    def test_popen_short(): subprocess.Popen(["sleep", "0.2"])
    def test_settrace(): sys.settrace(lambda *a: None)
    def test_settrace_off(): sys.settrace(None)
    def test_alarm(): signal.setitimer(signal.ITIMER_REAL, 100); signal.setitimer(signal.ITIMER_REAL, 0)
    def test_excepthook(): sys.excepthook = lambda *a: None
    def test_import_new(): import wave; sys.modules.pop("wave")
    def test_del_self(): sys.modules.pop("pytest_leakguard.counters.reader", None)
    @pytest.mark.xfail(strict=True)
    def test_xstrict(): assert 0
    @pytest.mark.xfail(strict=True)
    def test_xstrict_passes(): pass
    @pytest.mark.xfail
    def test_xpasses(): pass
    def test_xfail_inside(): pytest.xfail("x")
    def test_skip_inside(): pytest.skip("x")
    def test_warns():
        with pytest.warns(UserWarning): warnings.warn("x")
    def test_warning(): warnings.warn("seen once")
    HELD_ON = []
    def test_leak_last(): HELD_ON.append(Node())
"""


def test_hostile_tests_keep_their_results_and_disturb_no_other(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(HOSTILE)
    plain = pytester.runpytest_subprocess().parseoutcomes()
    ours = pytester.runpytest_subprocess(*ON).parseoutcomes()
    found = outcomes(pytester)
    assert {name for name, outcome in found.items() if outcome == "leak"} == {"test_leak_last"}, (
        found
    )
    assert {name for name, outcome in found.items() if outcome == "not_repeatable"} == {
        "test_second_fails",
        "test_second_skips",
        "test_second_exits",
    }
    assert set(found.values()) == {"leak", "not_repeatable", "clean"}
    assert ours | {"warnings": 0} == plain | {
        "warnings": 0,
        "passed": plain["passed"] - 1,
        "failed": plain["failed"] + 1,
    }


INTERRUPTED = """
    import os, signal, subprocess, pytest
    RUNS = []
    @pytest.fixture(scope="module")
    def server():
        process = subprocess.Popen(["sleep", "1000"])
        with open("pid", "w") as file: file.write(str(process.pid))
        yield
        process.kill(); process.wait()
        print("server stopped")
    def test_interrupted(server):
        RUNS.append(1)
        if len(RUNS) == 3: ENDING
    def test_never(): pass
"""


@pytest.mark.parametrize(
    "ending",
    ["raise KeyboardInterrupt", "pytest.exit('enough')", "os.kill(os.getpid(), signal.SIGINT)"],
)
def test_an_interrupted_repeat_ends_the_session_in_order(
    pytester: pytest.Pytester, ending: str
) -> None:
    pytester.makepyfile(INTERRUPTED.replace("ENDING", ending))
    result = pytester.runpytest_subprocess(*ON)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.parseoutcomes().get("passed") == 1, "the test's own run has passed"
    assert not Path(f"/proc/{(pytester.path / 'pid').read_text()}").exists(), (
        "fixtures are torn down"
    )
    assert outcomes(pytester) == {}


FIRST_FAILS = """
    import pytest
    KEEP = []
    @pytest.fixture(scope="module")
    def broken():
        yield
        raise RuntimeError("broken tear-down")
    def test_passes(): pass
    def test_leaks(broken): KEEP.append(object())
    def test_never(broken): pass
"""


def test_stopping_at_the_first_failure_and_running_it_again(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FIRST_FAILS)
    result = pytester.runpytest_subprocess(*ON, "-x")
    assert result.parseoutcomes() == {"passed": 1, "failed": 1, "errors": 1}
    result = pytester.runpytest_subprocess(*ON, "--lf", "-p", "no:terminal")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert outcomes(pytester) == {"test_leaks": "leak"}
    assert pytester.runpytest_subprocess(*ON, "--maxfail=1").parseoutcomes()["failed"] == 1


OTHERS = """
    def add(a, b):
        '''
        >>> add(1, 2)
        3
        '''
        return a + b
    def test_add(): assert add(1, 1) == 2
"""


def test_what_measured_nothing_is_never_green(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(OTHERS)
    pytester.makefile(".yaml", test_custom="one: 1")
    pytester.makeconftest(
        """
        import pytest
        class Custom(pytest.Item):
            def runtest(self): pass
        class File(pytest.File):
            def collect(self): yield Custom.from_parent(self, name="custom")
        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".yaml": return File.from_parent(parent, path=file_path)
        """
    )
    result = pytester.runpytest_subprocess(*ON, "--doctest-modules")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    assert outcomes(pytester) == {"test_add": "clean"}
    for options, status in (
        (("test_custom.yaml",), pytest.ExitCode.TESTS_FAILED),
        (("--leakguard-scope=marked",), pytest.ExitCode.TESTS_FAILED),
        (("-k", "nothing_is_called_so"), pytest.ExitCode.NO_TESTS_COLLECTED),
        (("--collect-only",), pytest.ExitCode.OK),
    ):
        assert pytester.runpytest_subprocess(*ON, *options).ret == status, options


ABOUT_TO_END = """
    import subprocess
    KEPT = []
    def test_soon_over(): subprocess.Popen(["sleep", "0.2"])
    def test_kept(): KEPT.append(subprocess.Popen(["sleep", "0.1"]))
"""


def test_processes_that_are_about_to_end_neither_leak_nor_hide_a_leak(
    pytester: pytest.Pytester,
) -> None:
    """Those that the first test has left end while the second one is repeated."""
    pytester.makepyfile(ABOUT_TO_END)
    pytester.runpytest_subprocess(*ON)
    assert outcomes(pytester) == {"test_soon_over": "clean", "test_kept": "leak"}
    report = json.loads((Path(pytester.path) / "out/report.json").read_text())
    assert [found["kind"] for found in report["findings"].values()] == ["child_processes"]
