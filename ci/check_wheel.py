#!/usr/bin/env python3
"""Checks the installed package as a user meets it: two leaks and a clean test, each told right.

Usage: python ci/check_wheel.py [PACKAGE FOLDER]    the folder that the package must come from

Runs in the environment that has it, for cibuildwheel and for the tests of the installation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

SUITE = """
import ctypes

KEPT = []
allocate = ctypes.CDLL(None).malloc
allocate.argtypes, allocate.restype = (ctypes.c_size_t,), ctypes.c_void_p


def test_native():
    allocate(24)


def test_python():
    KEPT.append(bytearray(100))


def test_clean():
    assert sorted([3, 1]) == [1, 3]
"""
SEES_NATIVE = sys.platform == "linux"
"""On macOS the tracker sees Python's blocks, and says that it sees no others."""
EXPECTED = {"test_native": "leak", "test_python": "leak", "test_clean": "clean"}
NEEDED = (
    "py.typed",
    "schemas/report.schema.json",
    "templates/report.html.j2",
    "templates/report.css",
    "templates/init/github.yml.j2",
    "templates/action/action.yml",
    "templates/action/gate.sh",
    "agents/python/sitecustomize.py",
    "agents/node/agent.js",
    "agents/node/heap_growth.js",
    "agents/java/HeapGrowth.java",
)
"""What code loads at run time, beside the modules."""
TIMEOUT_S = 600


def main(folder: str | None) -> None:
    package = Path(str(files("pytest_leakguard")))
    expect(folder is None or package.parent == Path(folder).resolve(), f"it comes from {package}")
    for name in NEEDED:
        expect((package / name).is_file(), f"{name} is not in the package")
    names = {point.name for point in distribution("pytest-leakguard").entry_points}
    expect(names >= {"leakguard", "pytest-leakguard"}, f"its entry points are {names}")
    with tempfile.TemporaryDirectory() as suite:
        check_report(run_suite(Path(suite)))
    print(f"{package}: two leaks found on Python {sys.version.split()[0]}")


def run_suite(suite: Path) -> dict[str, Any]:
    """The report of the suite, which must have failed with leaks."""
    (suite / "test_leaks.py").write_text(SUITE, encoding="utf-8")
    (suite / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--leakguard", "--leakguard-report=report"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        command, cwd=suite, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    expect(
        done.returncode == 1, f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    report: dict[str, Any] = json.loads((suite / "report" / "report.json").read_text("utf-8"))
    return report


def check_report(report: dict[str, Any]) -> None:
    outcomes = {check["id"].partition("::")[2]: check["outcome"] for check in report["checks"]}
    expected = EXPECTED
    if not SEES_NATIVE:
        expected = {name: EXPECTED[name] for name in EXPECTED if name != "test_native"}
        outcomes.pop("test_native", None)
    expect(outcomes == expected, f"it says {outcomes}")
    if SEES_NATIVE:
        sizes = {finding["checks"][0]: finding for finding in report["findings"].values()}
        native = sizes["test_leaks.py::test_native"]
        expect((native["size_bytes"], native["blocks"]) == (24, 1), f"the native leak is {native}")


def expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        sys.exit(f"check_wheel: {otherwise}")


main(sys.argv[1] if len(sys.argv) > 1 else None)
