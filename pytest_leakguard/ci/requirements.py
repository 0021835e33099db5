"""Whether the checks of a project need a tool on the machine; reads declarations and test files.

It runs nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pytest_leakguard.programs.binary import inspect
from pytest_leakguard.programs.declarations import DeclaredTarget, read_targets
from pytest_leakguard.programs.toml_table import read_table
from pytest_leakguard.programs.tools import pick
from pytest_leakguard.programs.tools.base import Backend
from pytest_leakguard.services.declarations import read_services

_NOT_TESTS = {"node_modules", "site-packages", "__pycache__", "build", "dist"}
_RUNS_A_PROGRAM = re.compile(r"\bleakguard\s*\.\s*run\s*\(")
_LARGEST_BYTES = 1 << 20
"""Bytes of a file that are searched; what a test imports stands at its beginning."""


def why_needed(backend: Backend, root: Path) -> str:
    """What needs the tool below ``root``; empty when nothing does, or when it is installed.

    Rather once too often than too seldom: a missing tool fails the run, a needless one costs
    seconds. Raises ``UsageProblem`` for a wrong ``pyproject.toml``.
    """
    if backend.is_present():
        return ""
    project = root / "pyproject.toml"
    for target in read_targets(project, 1.0):
        if _target_needs(target, backend):
            return f"target {target.name}"
    for service in read_services(read_table(project), project):
        if service.tool == backend.name:
            return f"service {service.name}"
    for path in _python_files(root):
        if _file_needs(path, backend):
            return str(path.relative_to(root))
    return ""


def _target_needs(declared: DeclaredTarget, backend: Backend) -> bool:
    if declared.tool not in (None, "auto"):
        return declared.tool == backend.name
    chosen, _ = pick(inspect(declared.target.argv[0], declared.target.cwd))
    return chosen is backend


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


def _file_needs(path: Path, backend: Backend) -> bool:
    """Whether a test names the tool, or runs a program that ``auto`` may pick it for."""
    try:
        text = path.read_bytes()[:_LARGEST_BYTES].decode("utf-8", "replace")
    except OSError:
        return False
    return "leakguard" in text and (backend.name in text or bool(_RUNS_A_PROGRAM.search(text)))
