"""Libraries and programs built for these tests, and scenarios run in an interpreter of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.tracker.library import LIBRARY

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NATIVE = ROOT / "pytest_leakguard" / "tracker" / "native"
TIMEOUT_S = 120
"""A deadlock ends the test, not the suite."""

Scenarios = Callable[..., dict[str, Any]]


def missing(what: str) -> None:
    """Skips, or fails where tools are required."""
    if os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
        pytest.fail(what)
    pytest.skip(what)


def run_program(command: list[str], **environment: str) -> str:
    """What it prints; fails with its errors when it does not end well."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **environment},
        cwd=ROOT,
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds C and C++ sources with gcc; returns the output."""
    folder = tmp_path_factory.mktemp("native")

    def compile_sources(name: str, *arguments: str, compiler: str = "gcc") -> Path:
        if shutil.which(compiler) is None:
            missing(f"{compiler} is not installed")
        run_program([compiler, "-g", *arguments, "-o", str(folder / name)])
        return folder / name

    return compile_sources


@pytest.fixture(scope="session")
def tracker_library() -> Path:
    """The library that the package's build left."""
    if not LIBRARY.is_file():
        missing("the native library is not built: pip install -e .")
    return LIBRARY


@pytest.fixture(scope="session")
def libraries(build: Callable[..., Path]) -> dict[str, str]:
    """A C and a C++ library that allocate, by the names of environment variables."""
    source = HERE / "native"
    shared = ("-shared", "-fPIC", "-O0")
    return {
        "C_LIBRARY": str(build("library.so", *shared, "-pthread", str(source / "library.c"))),
        "CPP_LIBRARY": str(
            build("plugin.so", *shared, "-std=c++17", str(source / "plugin.cpp"), compiler="g++")
        ),
    }


@pytest.fixture(scope="session")
def scenarios(tracker_library: Path, libraries: dict[str, str]) -> Scenarios:
    """Runs scenarios by name, one after the other in one fresh interpreter."""

    def run(*names: str, interpreter: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
        command = [sys.executable, *interpreter, str(HERE / "scenarios.py"), *names]
        # Traces that a JIT makes are objects of the run in which they are made, once.
        given = {**libraries, "PYTHON_JIT": "0", "PYTHONPATH": str(ROOT), **environment}
        printed = run_program(command, **given)
        result: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return result

    return run
