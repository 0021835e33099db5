"""Whoever wrapped Python's allocators before us may take us out: that is noticed and mended."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import tracemalloc
HEAD = [None]
def test_leaks_before(): HEAD[0] = [HEAD[0]]
def test_stops():
    if tracemalloc.is_tracing(): tracemalloc.stop()
def test_clean(): assert len([1]) == 1
def test_leaks_after(): HEAD[0] = [HEAD[0]]
"""


def run(place: Path, *interpreter: str) -> list[str]:
    (place / "test_it.py").write_text(SUITE)
    options = ["-p", "no:cacheprovider", "-p", "no:randomly", "--leakguard", "-v"]
    done = subprocess.run(
        [sys.executable, *interpreter, "-m", "pytest", *options],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = re.findall(r"^test_it\.py::(\w+ [A-Z]+)", done.stdout, re.MULTILINE)
    assert told, done.stdout
    return told


@pytest.mark.parametrize("interpreter", [(), ("-X", "tracemalloc")])
def test_leaks_after_tracing_has_ended_are_found(
    tmp_path: Path, interpreter: tuple[str, ...]
) -> None:
    outcomes = run(tmp_path, *interpreter)
    assert outcomes[:4] == [
        "test_leaks_before LEAK",
        "test_stops PASSED",
        "test_clean PASSED",
        "test_leaks_after LEAK",
    ]
