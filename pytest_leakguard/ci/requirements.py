"""Whether the checks of a project need valgrind on the machine; looks at declarations and test files, runs nothing."""

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


def why_valgrind(root: Path) -> str:
    """What needs valgrind below ``root``; empty when nothing does, or when it is installed. Raises ``UsageProblem``.

    Rather once too often than too seldom: a missing tool fails the run, a needless one costs seconds.
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
    return next(
        (str(path.relative_to(root)) for path in _python_files(root) if _file_needs(path)), ""
    )


def _target_needs(declared: DeclaredTarget) -> bool:
    if declared.tool not in (None, "auto"):
        return declared.tool == "valgrind"
    program = inspect(declared.target.argv[0], declared.target.cwd)
    return not program.sanitizer and not (
        program.is_python and check.is_present(BACKENDS["memray"])
    )


def _python_files(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(
            name for name in names if not name.startswith(".") and name not in _NOT_TESTS
        )
        if (Path(folder) / "pyvenv.cfg").exists():
            names.clear()
            continue
        yield from (Path(folder) / name for name in sorted(files) if name.endswith(".py"))


def _file_needs(path: Path) -> bool:
    try:
        text = path.read_bytes()[:_LARGEST_BYTES].decode("utf-8", "replace")
    except OSError:
        return False
    return "leakguard" in text and ("valgrind" in text or bool(_RUNS_A_PROGRAM.search(text)))
