"""Reports that somebody else's runner (ctest, make) has left: which belong together, and what they say."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.programs import ExitStatus, Report
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.check import finish
from pytest_leakguard.programs.tools import recognise
from pytest_leakguard.programs.tools.base import merge

_Read = tuple[Path, Report, tuple[str, ...]]


def check_files(paths: Sequence[Path], settings: Settings) -> tuple[Check, ...]:
    """Reports that somebody else's runner left, one check per tree of processes."""
    parsed = [_read_file(path) for path in paths]
    return tuple(_check_family(family, settings) for family in _families(parsed))


def _read_file(path: Path) -> _Read:
    try:
        backend = recognise(path)
        return path, backend.parse(path), ()
    except MalformedReport as error:
        return path, error.recovered or Report("unknown"), (str(error),)
    except OSError as error:
        return path, Report("unknown"), (f"{path}: cannot be read: {error.strerror or error}",)


def _families(read: Sequence[_Read]) -> list[list[_Read]]:
    """Files that belong to one run: a process and its children, by parent pid or by shared addresses."""
    families: list[list[_Read]] = []
    for one in read:
        related = [
            family for family in families if any(_is_related(one, other) for other in family)
        ]
        joined = [*(other for family in related for other in family), one]
        families = [family for family in families if family not in related]
        families.append(joined)
    return families


def _is_related(one: _Read, other: _Read) -> bool:
    first, second = one[1], other[1]
    if first.tool != second.tool or one[0].parent != other[0].parent:
        return False
    pids, other_pids = ({p.pid for p in r.processes if p.pid} for r in (first, second))
    if any(p.ppid in other_pids for p in first.processes) or any(
        p.ppid in pids for p in second.processes
    ):
        return True
    return first.tool == "sanitizer" and not _stacks(first).isdisjoint(_stacks(second))


def _stacks(report: Report) -> set[tuple[int, ...]]:
    return {
        tuple(frame.address for frame in leak.stack) for leak in report.leaks if len(leak.stack) > 1
    }


def _check_family(family: list[_Read], settings: Settings) -> Check:
    family = sorted(family, key=lambda one: min((p.pid for p in one[1].processes), default=0))
    report = merge(family[0][1].tool, tuple(one[1] for one in family))
    if report.tool == "sanitizer" and len(family) > 1:
        first = family[0][1].processes[0].pid
        report = replace(
            report, processes=tuple(replace(p, is_fork=p.pid != first) for p in report.processes)
        )
    root = report.processes[0] if report.processes else None
    paths = [str(one[0]) for one in family]
    check = Check(
        id=paths[0],
        kind="program",
        tool=report.tool,
        problems=tuple(problem for one in family for problem in one[2]),
        exit=ExitStatus(None if root and root.signal else 0, root.signal if root else None),
        command=(root.command,) if root and root.command else (),
        reproduce=f"pytest-leakguard check {shlex.join(paths)}",
    )
    return finish(check, report, settings)
