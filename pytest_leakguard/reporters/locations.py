"""Where in the repository a finding or a check is, as annotations and SARIF need it. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.fingerprint import (
    innermost_own,
    is_c_library,
    is_cxx_library,
    is_runtime,
    own_calls,
)
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.options import BASELINE_NAME
from pytest_leakguard.verdict import Run

_INSTALLED = frozenset(
    {"site-packages", "dist-packages", "node_modules", ".venv", "venv", ".tox", ".nox"}
)


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file in the repository."""

    file: str
    """Relative to the root of the repository, with slashes."""
    line: int


def of_finding(finding: Finding, run: Run) -> Location | None:
    """The innermost call in the repository, or else the line of the test that found it."""
    own = innermost_own(finding.stack)
    outward = own_calls(finding.stack)
    if own in outward:
        outward = outward[outward.index(own) :]
    elif own is not None:
        outward = (own, *outward)
    for frame in outward:
        if location := of_frame(frame, run):
            return location
    return next(of_checks(finding.checks, run), None)


def of_checks(ids: tuple[str, ...], run: Run) -> Iterator[Location]:
    """The lines of these tests that are known."""
    wanted = frozenset(ids)
    for check in run.checks:
        if check.id in wanted and (location := of_check(check, run)):
            yield location


def of_baseline(run: Run) -> Location:
    """The file where a leak without any line would be accepted."""
    return Location(run.baseline_file or BASELINE_NAME, 1)


def of_check(check: Check, run: Run) -> Location | None:
    """The line of the test that made it; ``None`` when it is no test in the repository."""
    if check.location is None:
        return None
    file, line = check.location
    inside = in_repository(file, run)
    return Location(inside, max(1, line)) if inside else None


def of_frame(frame: Frame, run: Run) -> Location | None:
    """Its line; ``None`` for libraries, generated code and what lies outside the repository."""
    if not frame.file or not frame.line:
        return None
    if is_runtime(frame) or is_c_library(frame) or is_cxx_library(frame):
        return None
    inside = in_repository(frame.file, run)
    return Location(inside, frame.line) if inside else None


def in_repository(file: str, run: Run) -> str:
    """``file`` relative to the root of the repository.

    Empty when it is not in the repository, or installed into it. A relative path is meant from the
    root of the tests, and compilers record what they were given: a path that leaves the repository
    is none of its files.
    """
    root = str(run.root or "")
    base = str(run.repository or run.root or "")
    path = posixpath.normpath(file if file.startswith("/") else posixpath.join(root, file))
    if base:
        if not path.startswith(f"{base}/"):
            return ""
        path = path[len(base) + 1 :]
    is_outside = path.startswith(("/", ".."))
    is_generated = path.startswith("<") or file.startswith("<")
    is_installed = not _INSTALLED.isdisjoint(path.split("/"))
    return "" if is_outside or is_generated or is_installed else path
