"""What screening does not see is never called clean, and the same is found whatever measures beside it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = """
    import ctypes
    C = ctypes.CDLL(None)
    KEEP = []

    def test_native():
        C.malloc(24)

    def test_python():
        KEEP.append(bytearray(100))

    def test_clean():
        bytearray(100)
"""
ALLOCATORS = ("libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2.0")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, written_order: None) -> Iterator[None]:
    options = os.environ.get("PYTEST_ADDOPTS", "")
    monkeypatch.setenv("PYTEST_ADDOPTS", f"{options} -p no:asyncio -p no:anyio")
    yield


def report_of(pytester: pytest.Pytester, *arguments: str) -> dict[str, dict[str, object]]:
    """The checks of a run of its own process, by the name of the test."""
    pytester.runpytest_subprocess("--leakguard", "--leakguard-report=out", *arguments)
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    sizes = {key: finding["size_bytes"] for key, finding in report["findings"].items()}
    found = {}
    for check in report["checks"]:
        check["sizes"] = [sizes[key] for key in check["findings"]]
        found[check["id"].rpartition("::")[2]] = check
    return found


def answers(checks: dict[str, dict[str, object]]) -> dict[str, tuple[object, object]]:
    return {name: (check["outcome"], check["sizes"]) for name, check in checks.items()}


ALL_FOUND = {
    "test_native": ("leak", [24]),
    "test_python": ("leak", [157]),
    "test_clean": ("clean", []),
}


@pytest.mark.parametrize("library", ALLOCATORS)
def test_the_same_leaks_are_found_under_another_allocator(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    paths = sorted(map(str, Path("/usr/lib").glob(f"*/{library}")))
    if not paths:
        if os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
            pytest.fail(f"{library} is not installed; ci/install-tools test installs it")
        pytest.skip(f"{library} is not installed")
    monkeypatch.setenv("LD_PRELOAD", paths[0])
    pytester.makepyfile(TESTS)
    assert answers(report_of(pytester)) == ALL_FOUND


@pytest.mark.parametrize(
    ("name", "value"),
    [("PYTHONMALLOC", "malloc"), ("PYTHONMALLOC", "debug"), ("PYTHONTRACEMALLOC", "1")],
)
def test_the_same_leaks_are_found_with_other_settings_of_the_interpreter(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    pytester.makepyfile(TESTS)
    assert answers(report_of(pytester)) == ALL_FOUND


def test_the_same_leaks_are_found_while_pytest_memray_measures(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_memray")
    many = "".join(f"\ndef test_other_{number}(): pass" for number in range(101))
    pytester.makepyfile(TESTS.replace("\n    ", "\n") + many)  # too many for a second look at each
    found = answers(report_of(pytester, "--memray"))
    assert {name: found[name] for name in ALL_FOUND} == ALL_FOUND


def test_a_test_that_memray_hides_from_us_is_inconclusive(pytester: pytest.Pytester) -> None:
    pytest.importorskip("memray")
    pytester.makepyfile(
        """
        import memray
        def test_measures(tmp_path):
            with memray.Tracker(tmp_path / "out.bin"):
                pass
        def test_after():
            pass
        """
    )
    checks = report_of(pytester)
    assert checks["test_measures"]["outcome"] == "inconclusive"
    assert checks["test_after"]["outcome"] == "clean"


def test_native_calls_are_left_alone_where_that_is_asked_for_and_the_run_says_so(
    pytester: pytest.Pytester,
) -> None:
    state = """
    def test_state():
        from pytest_leakguard.tracker.installed import installed
        assert installed().tracker.native_state.name == "NOT_INSTALLED"
    """
    pytester.makepyfile(TESTS + state)
    result = pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-native=off", "--leakguard-report=out"
    )
    result.stdout.fnmatch_lines(["note: native memory is not tracked (--leakguard-native=off)*"])
    result.stdout.fnmatch_lines(["FAIL leakguard: 1 new leak (*) in 1 test; 3 tests clean; *"])
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    assert [note.partition(":")[0] for note in report["notes"]] == [
        "native memory is not tracked (--leakguard-native=off)"
    ]


BLIND = {
    "descriptors": (
        "from pytest_leakguard.counters import reader; reader._DESCRIPTORS = '/nowhere'",
        "file descriptors cannot be counted here: /nowhere: No such file or directory",
    ),
    "threads": (
        "from pytest_leakguard.counters import reader; reader._TASKS = '/nowhere'",
        "threads cannot be counted here: /nowhere: No such file or directory",
    ),
}


@pytest.mark.parametrize("counter", ["descriptors", "threads"])
@pytest.mark.parametrize("code", [TESTS, "def test_clean(leakguard): leakguard.loop(int, 20)"])
def test_no_check_is_clean_where_a_counter_does_not_see(
    pytester: pytest.Pytester, counter: str, code: str
) -> None:
    patch, sentence = BLIND[counter]
    pytester.makeconftest(patch)
    pytester.makepyfile(code)
    checks = report_of(pytester)
    for check in checks.values():
        assert check["outcome"] == "inconclusive"
        assert sentence in check["reasons"]  # type: ignore[operator]


def test_no_check_is_clean_where_the_canary_of_native_memory_does_not_move(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        "from pytest_leakguard.tracker.tracker import Tracker\nTracker.install_native = lambda self: None\n"
    )
    pytester.makepyfile("def test_clean(): pass")
    result = pytester.runpytest_subprocess("--leakguard")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "INCONCLUSIVE*",
            "*a block that ctypes takes from malloc is not seen here: the native hooks are not installed*",
            "*a mapping is not seen here: *",
        ]
    )


def test_without_the_library_nothing_is_clean_and_the_run_says_what_to_do(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        "from pathlib import Path\n"
        "from pytest_leakguard.tracker import library, tracker\n"
        "tracker.load = lambda: library.load(Path('/nowhere/_tracker.so'))\n"
    )
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("--leakguard")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*/nowhere/_tracker.so is missing*install a C compiler*pip install*",
            "FAIL leakguard: 3 tests inconclusive*",
        ]
    )


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may hide /proc")
def test_nothing_is_clean_where_there_is_no_proc(
    pytester: pytest.Pytester, tool: Callable[[str], str]
) -> None:
    pytester.makepyfile("def test_clean(): pass")
    script = f"mount -t tmpfs none /proc && {sys.executable} -m pytest --leakguard"
    result = pytester.run(tool("unshare"), "--mount", "sh", "-c", script)
    if "mount:" in result.stderr.str():
        pytest.skip("this container may not mount anything")
    result.stdout.fnmatch_lines(["FAIL leakguard: 1 test inconclusive*"])


ENDLESS = """
    import asyncio, threading
    LOOP = asyncio.new_event_loop()
    threading.Thread(target=LOOP.run_forever, daemon=True).start()

    async def wait(seconds):
        await asyncio.sleep(seconds)

    async def start(seconds):
        asyncio.create_task(wait(seconds))

    def test_kept():
        asyncio.run_coroutine_threadsafe(start(3600), LOOP).result()

    def test_ends_by_itself():
        asyncio.run_coroutine_threadsafe(start(0.3), LOOP).result()
"""


def test_a_task_kept_in_each_run_is_a_finding_with_the_line_that_made_it(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(ENDLESS)
    result = pytester.runpytest_subprocess("--leakguard")
    result.stdout.fnmatch_lines(
        ["*NEW LEAK  1 task and * B per run *", "     asyncio.create_task(wait(seconds))"]
    )
    result.stdout.fnmatch_lines(["FAIL leakguard: 1 new leak (*) in 1 test; 1 test clean; *"])


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there are no such segments here")
def test_a_segment_that_each_run_leaves_is_a_finding_with_its_line(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import ctypes, itertools, os
        from multiprocessing import shared_memory
        C = ctypes.CDLL(None)
        C.sem_open.restype = ctypes.c_void_p
        C.sem_close.argtypes = [ctypes.c_void_p]
        NAMES = (b"/leakguard-%d-%d" % (os.getpid(), n) for n in itertools.count())

        def test_segment():
            shared_memory.SharedMemory(create=True, size=100).close()

        def test_semaphore():
            C.sem_close(C.sem_open(next(NAMES), 64, 0o600, 1))

        def test_clean():
            segment = shared_memory.SharedMemory(create=True, size=100)
            segment.close()
            segment.unlink()
        """
    )
    before = set(Path("/dev/shm").iterdir())
    try:
        result = pytester.runpytest_subprocess("--leakguard")
    finally:
        for segment in set(Path("/dev/shm").iterdir()) - before:
            if segment.name.startswith(("psm_", "sem.leakguard-")):
                segment.unlink(missing_ok=True)  # another test beside this one has its own
    result.stdout.fnmatch_lines(
        ["2. NEW LEAK  1 temporary file per run *", "     C.sem_close(C.sem_open(*"]
    )
    result.stdout.fnmatch_lines(["FAIL leakguard: 2 new leaks (*) in 2 tests; 1 test clean; *"])
