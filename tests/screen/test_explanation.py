"""What an explanation names: the package that loses memory, the holder that is there, and none of our own making."""

from __future__ import annotations

import json
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
