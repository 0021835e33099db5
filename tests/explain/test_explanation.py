"""What an explanation names: the package that loses memory, the holder that is there, and none of our own making."""

from __future__ import annotations

import json
import sys
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.explain.code_owner import Owner, owner, package_of


def explained(
    pytester: pytest.Pytester, source: str, *more: str
) -> tuple[pytest.RunResult, dict[str, Any]]:
    """The one finding of a run in a process of its own."""
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess(
        "--leakguard",
        "--leakguard-report=out",
        "--leakguard-confirm=1",
        "-p",
        "no:cacheprovider",
        *more,
    )
    report = json.loads((Path(pytester.path) / "out/report.json").read_text())
    assert len(report["findings"]) == 1, report["checks"]
    return result, next(iter(report["findings"].values()))


TAKES_REFERENCE = """
    import ctypes
    def work(): ctypes.pythonapi.Py_IncRef(ctypes.py_object([0]))
    def test_work(leakguard): leakguard.loop(work, iterations=200)
"""


def test_what_only_c_code_holds_has_no_other_holder(pytester: pytest.Pytester) -> None:
    _, finding = explained(pytester, TAKES_REFERENCE)
    assert finding["holders"] == [
        "a C extension, or a reference that C code took and never gave back",
        "list",
    ]


TAKES_FREED_CHUNKS_FIRST = """
    import ctypes, itertools, sys
    allocate, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
    allocate.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    FREED, CALLS = [allocate(64) for _ in range(7)], itertools.count()
    def work():
        while FREED and sys.gettrace(): free(FREED.pop())  # the allocator goes on counting them as used
        if next(CALLS) % 10 == 0: allocate(64)
    def test_work(leakguard): leakguard.loop(work)
"""


def test_chunks_that_the_allocator_has_kept_do_not_hide_the_line(pytester: pytest.Pytester) -> None:
    _, finding = explained(pytester, TAKES_FREED_CHUNKS_FIRST)
    assert finding["kind"] == "growth"
    assert "line: if next(CALLS) % 10 == 0: allocate(64)" in finding["details"]


LOSES_AS_A_TEST = """
    import ctypes
    ALLOCATE = ctypes.CDLL(None).malloc
    def work(): ALLOCATE(64)
    def test_work(): work()
"""


def test_what_the_jit_compiles_while_lines_are_followed_does_not_hide_the_line(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    jit: Any = getattr(sys, "_jit", None)
    if jit is None or not jit.is_available():
        pytest.skip("this interpreter has no JIT")
    monkeypatch.setenv("PYTHON_JIT", "1")
    _, finding = explained(pytester, LOSES_AS_A_TEST)
    assert "line: def work(): ALLOCATE(64)" in finding["details"]


NEW_NAMES = """
    import itertools, sys
    SEQUENCE = itertools.count()
    class Some: pass
    def compiled(): compile(f"name_{next(SEQUENCE)}", "x", "eval")
    def attribute(): setattr(Some(), f"name_{next(SEQUENCE)}", 1)
    def interned(): sys.intern(f"name_{next(SEQUENCE)}")
    def test_compiled(): compiled()
    def test_attribute(): attribute()
    def test_interned(): interned()
    def test_path(tmp_path): (tmp_path / "x").write_text("x")
    def test_compiled_in_a_loop(leakguard): leakguard.loop(compiled)
    def test_attribute_in_a_loop(leakguard): leakguard.loop(attribute)
    def test_interned_in_a_loop(leakguard): leakguard.loop(interned)
"""


def test_strings_that_the_interpreter_keeps_are_a_leak_only_of_who_has_them_interned(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(NEW_NAMES)
    result = pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-confirm=2", "-p", "no:cacheprovider"
    )
    is_immortal = sys.version_info[:2] == (3, 12)
    result.assert_outcomes(passed=5 if is_immortal else 7, failed=2 if is_immortal else 0)
    if is_immortal:
        result.stdout.fnmatch_lines(
            ["*NEW LEAK*", "*def interned*", "*kept alive by*interned strings*", "*test_interned*"]
        )


LOSING = """
    #include <Python.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <string.h>
    __attribute__((noinline)) static PyObject *made_here(void) { return PyList_New(3); }
    static PyObject *object(PyObject *self, PyObject *none) { made_here(); Py_RETURN_NONE; }
    static PyObject *text(PyObject *self, PyObject *none) { PyUnicode_FromFormat("%p", &object); Py_RETURN_NONE; }
    static PyObject *memory(PyObject *self, PyObject *none) { memset(malloc(500), 1, 500); Py_RETURN_NONE; }
    static char *pool; static size_t used, most = 1 << 30;
    static PyObject *pages(PyObject *self, PyObject *limit) {
        if (!pool) pool = mmap(0, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        memset(pool + used, 1, 1024);
        used = (used + 1024) % PyLong_AsLong(limit);
        Py_RETURN_NONE;
    }
    static PyMethodDef methods[] = {
        {"object", object, METH_NOARGS, ""}, {"text", text, METH_NOARGS, ""}, {"memory", memory, METH_NOARGS, ""},
        {"pages", pages, METH_O, ""}, {0}
    };
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "losing", "", -1, methods};
    PyMODINIT_FUNC PyInit_losing(void) { return PyModule_Create(&module); }
"""


@pytest.fixture
def losing(pytester: pytest.Pytester, compile_c: Callable[..., Path]) -> Path:
    """An installed package of compiled code that loses what it allocates, and one of Python that uses it."""
    packages = Path(pytester.path) / "site-packages"
    include = f"-I{sysconfig.get_path('include')}"
    compile_c(
        textwrap.dedent(LOSING), "-shared", "-fPIC", include, name="losing.so", folder=packages
    )
    (packages / "wrapping.py").write_text("import losing\ndef wrapped():\n    losing.object()\n")
    pytester.makeini("[pytest]\npythonpath = site-packages\n")
    return packages


@pytest.mark.parametrize(
    ("call", "told", "package"),
    [
        ("losing.object()", "calls losing.object", "losing"),
        ("losing.text()", "calls losing.text", "losing"),
        ("losing.memory()", "calls losing.memory", "losing"),
        ("wrapping.wrapped()", "wrapped (*wrapping.py:3)", "losing"),
    ],
)
@pytest.mark.usefixtures("losing")
def test_the_package_whose_compiled_code_loses_memory_is_named(
    pytester: pytest.Pytester, call: str, told: str, package: str
) -> None:
    source = f"import losing, wrapping\ndef test_it(leakguard):\n    leakguard.loop(lambda: {call}, iterations=200)\n"
    result, finding = explained(pytester, source)
    assert finding["holders"][0].endswith(f"never gave back ({package})")
    assert finding["stack"][0]["file"].endswith(".py")
    assert finding["stack"][0]["line"] == 3
    result.stdout.fnmatch_lines([f"*{told}*", f"*in the package {package}*"])


@pytest.mark.usefixtures("losing")
def test_a_pool_that_is_used_over_and_over_is_no_leak(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import losing\ndef test_it(leakguard): leakguard.loop(lambda: losing.pages(1 << 20))\n"
    )
    pytester.runpytest_subprocess("--leakguard", "-p", "no:cacheprovider").assert_outcomes(passed=1)


@pytest.mark.usefixtures("losing")
def test_the_function_that_loses_memory_is_named(pytester: pytest.Pytester) -> None:
    source = "import losing\ndef test_it(leakguard):\n    leakguard.loop(lambda: losing.object(), iterations=200)\n"
    result, _ = explained(pytester, source)
    result.stdout.fnmatch_lines(
        ["*allocated inside made_here (*losing.so.c:*), called by object (*losing.so.c:*"]
    )


@pytest.mark.parametrize(
    "file", ["", "<string>", "Objects/call.c", "/builder/src/lib.rs", "nowhere/_speedups.c"]
)
def test_a_source_that_is_not_here_is_not_the_users(file: str) -> None:
    assert owner(file) is Owner.INTERPRETER


def test_a_compiled_source_is_its_packages() -> None:
    assert owner("hypothesis/_speedups.c") is Owner.LIBRARY
    assert package_of("hypothesis/_speedups.c") == "hypothesis"


NOW_AND_THEN = """
    import itertools, os
    RUNS = itertools.count(1)
    def test_it():
        if next(RUNS) % 10 == 0:
            os.open(os.devnull, os.O_RDONLY)
"""


def test_the_size_is_what_one_run_loses(pytester: pytest.Pytester) -> None:
    source = "KEEP = []\ndef remember(): KEEP.append(bytes(100))\ndef test_it(): remember()\n"
    _, finding = explained(pytester, source)
    assert finding["size_bytes"] == sys.getsizeof(bytes(100)), "to the byte"


def test_objects_that_are_merely_new_hold_nothing(pytester: pytest.Pytester) -> None:
    _, finding = explained(pytester, NOW_AND_THEN)
    assert finding["kind"] == "file_descriptors"
    assert finding["holders"] == []


UNEXPLAINED = """
    import sys, tracemalloc
    KEEP = []
    def remember():
        assert not tracemalloc.is_tracing() and sys.gettrace() is None, "too slow"
        KEEP.append(object())
    def test_it(): remember()
    def test_loop(leakguard): leakguard.loop(remember, iterations=200)
"""


def test_a_leak_that_cannot_be_explained_is_still_a_leak(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(UNEXPLAINED)
    result = pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-confirm=1", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*no explanation: *too slow*"])
    names = {line.split()[-1] for line in result.outlines if " NEW LEAK  " in line}
    assert len(names) == 2, "accepting one of them must not accept the other"


IN_CONTEXT = """
    import contextvars
    class Request: pass
    def serve(): contextvars.ContextVar("request").set(Request())
    def test_serve(leakguard): leakguard.loop(serve, iterations=200)
"""


def test_what_the_current_context_holds_is_said_to_be_there(pytester: pytest.Pytester) -> None:
    _, finding = explained(pytester, IN_CONTEXT)
    assert finding["holders"][0] == "context variable request"
    assert len(finding["holders"]) == 2, "without the inner nodes of the context"


FILLS = """
    import functools
    KEEP = []
    class Order: pass
    @functools.lru_cache(maxsize=500_000)
    def price(order): return 7
    def fills(): price(Order())
    def fills_and_leaks():
        price(Order()), price(Order())
        KEEP.append(object())
    def test_fills(leakguard): leakguard.loop(fills)
    def test_leaks(leakguard): leakguard.loop(fills_and_leaks)
"""


def test_a_cache_with_a_limit_that_fills_faster_hides_no_leak_beside_it(
    pytester: pytest.Pytester,
) -> None:
    _, finding = explained(pytester, FILLS)
    assert [name.rpartition("::")[2] for name in finding["checks"]] == ["test_leaks"]
    assert "list KEEP" in finding["holders"]


OF_FIXTURE = """
    import asyncio, pytest
    async def retry():
        while True: await asyncio.sleep(3600)
    @pytest.fixture(scope="module")
    def loop():
        loop = asyncio.new_event_loop()
        yield loop
        loop.close()
    def test_request(loop):
        async def go():
            loop.create_task(retry())
            await asyncio.sleep(0)
        loop.run_until_complete(go())
"""


def test_what_the_value_of_a_fixture_holds_is_said_to_be_there(pytester: pytest.Pytester) -> None:
    _, finding = explained(pytester, OF_FIXTURE, "-p", "no:asyncio")
    assert finding["holders"][0] == "fixture loop", "thousands of tasks refer to the loop as well"


HELD_BY_NAMES = """
    import os, uuid
    SETTINGS, COUNTS, ERRORS = {}, {}, []
    def settings_copied():
        global SETTINGS
        SETTINGS = {**SETTINGS, uuid.uuid4().hex: True}
    def new_key(): COUNTS[uuid.uuid4().hex] = 1
    def fails():
        scratch = bytearray(4000)
        try:
            raise ValueError(str(scratch[:1]))
        except ValueError as problem:
            ERRORS.append(problem)
    def test_settings_copied(): settings_copied()
    def test_new_key(): new_key()
    def test_fails(): fails()
    def test_environment(monkeypatch): monkeypatch.setenv("NAME_" + uuid.uuid4().hex, "1")
"""
UNKNOWN_HOLDER = "a C extension, or a reference that C code took and never gave back"
HOLDERS = {
    "test_settings_copied": ["dict SETTINGS", "key of type str"],
    "test_new_key": ["dict COUNTS", "key of type str"],
    "test_fails": ["list ERRORS", "item of type ValueError"],
    "test_environment": [UNKNOWN_HOLDER],
}


def test_keys_exceptions_and_the_environment_are_held_by_what_has_them(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(HELD_BY_NAMES)
    options = ("--leakguard", "--leakguard-report=out", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*options)
    report = json.loads((Path(pytester.path) / "out/report.json").read_text())
    holders, lines = {}, {}
    for check in report["checks"]:
        name = check["id"].rpartition("::")[2]
        finding = report["findings"][check["findings"][0]]
        holders[name] = finding["holders"][-2:]
        lines[name] = next((one for one in finding["details"] if one.startswith("line: ")), "")
    assert holders == HOLDERS
    assert lines["test_fails"] == "line: raise ValueError(str(scratch[:1]))"
