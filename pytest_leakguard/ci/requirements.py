"""Whether the checks of a project need valgrind on the machine.

Looks at declarations and test files; runs nothing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pytest_leakguard.programs import check
from pytest_leakguard.programs.binary import inspect
from pytest_leakguard.programs.declarations import DeclaredTarget, read_table, read_targets
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.services.declarations import read_services

_NOT_TESTS = {"node_modules", "site-packages", "__pycache__", "build", "dist"}
_RUNS_A_PROGRAM = re.compile(r"\bleakguard\s*\.\s*run\s*\(")
_LARGEST_BYTES = 1 << 20
"""Read of one test file; the rest of a larger one is data."""


def why_valgrind(root: Path) -> str:
    """What needs valgrind below ``root``; empty when nothing does, or when it is installed.

    In doubt it is needed: a missing tool fails the run, a needless one costs seconds. Raises
    ``UsageProblem``.
    """
    if shutil.which("valgrind"):
        return ""
    project = root / "pyproject.toml"
    for target in read_targets(project, 1.0):
        if _target_needs(target):
            return f"target {target.name}"
    for service in read_services(read_table(project), project):
        if service.tool == "valgrind":
            return f"service {service.name}"
    for path in _python_files(root):
        if _file_needs(path):
            return str(path.relative_to(root))
    return ""


def _target_needs(declared: DeclaredTarget) -> bool:
    if declared.tool not in (None, "auto"):
        return declared.tool == "valgrind"
    program = inspect(declared.target.argv[0], declared.target.cwd)
    if program.sanitizer:
        return False
    return not (program.is_python and check.is_present(BACKENDS["memray"]))


def _python_files(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        # os.walk goes into the folders that are left in names.
        names[:] = sorted(filter(_may_hold_tests, names))
        if (Path(folder) / "pyvenv.cfg").exists():
            names.clear()
            continue
        for file in sorted(files):
            if file.endswith(".py"):
                yield Path(folder) / file


def _may_hold_tests(folder: str) -> bool:
    return not folder.startswith(".") and folder not in _NOT_TESTS


def _file_needs(path: Path) -> bool:
    try:
        text = path.read_bytes()[:_LARGEST_BYTES].decode("utf-8", "replace")
    except OSError:
        return False
    return "leakguard" in text and ("valgrind" in text or bool(_RUNS_A_PROGRAM.search(text)))
