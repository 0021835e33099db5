"""What an explanation names: the package that loses memory, the holder that is there, and none of our own making."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest


def explained(pytester: pytest.Pytester, source: str, *more: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    """The one finding of a run in a process of its own."""
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-report=out", "--leakguard-confirm=1", "-p", "no:cacheprovider", *more
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
    assert finding["holders"] == ["a C extension, or a reference that C code took and never gave back", "list"]


NEW_NAMES = """
    import itertools, sys
    SEQUENCE = itertools.count()
    class Some: pass
    def test_compiled(leakguard): leakguard.loop(lambda: compile(f"name_{next(SEQUENCE)}", "x", "eval"))
    def test_attribute(leakguard): leakguard.loop(lambda: setattr(Some(), f"name_{next(SEQUENCE)}", 1))
    def test_interned(leakguard): leakguard.loop(lambda: sys.intern(f"name_{next(SEQUENCE)}"))
"""


def test_strings_that_the_interpreter_keeps_are_a_leak_only_of_who_has_them_interned(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(NEW_NAMES)
    result = pytester.runpytest_subprocess("--leakguard", "--leakguard-confirm=2", "-p", "no:cacheprovider")
    is_immortal = sys.version_info[:2] == (3, 12)
    result.assert_outcomes(passed=2 if is_immortal else 3, failed=1 if is_immortal else 0)
    if is_immortal:
        result.stdout.fnmatch_lines(["LEAK*", "*line: def test_interned*", "*held by*interned strings*"])
