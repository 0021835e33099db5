"""Reports that somebody else's runner (ctest, make) left: which belong together, what they say."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.programs import SUCCESS, ExitStatus, Report
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.check import finish
from pytest_leakguard.programs.tools import BACKENDS, recognise
from pytest_leakguard.programs.tools.base import merge


@dataclass(frozen=True, slots=True)
class _File:
    """One report and what keeps it from being a whole one."""

    path: Path
    report: Report
    problems: tuple[str, ...] = ()

    @property
    def pids(self) -> set[int]:
        return {process.pid for process in self.report.processes if process.pid}

    @property
    def parent_pids(self) -> set[int]:
        return {process.ppid for process in self.report.processes}

    @property
    def first_pid(self) -> int:
        return min((process.pid for process in self.report.processes), default=0)


def check_files(paths: Sequence[Path], settings: Settings) -> tuple[Check, ...]:
    """One check per tree of processes; what cannot be read is a problem of its check."""
    families = _families(_read_file(path) for path in paths)
    return tuple(_check_family(family, settings) for family in families)


def _read_file(path: Path) -> _File:
    try:
        return _File(path, recognise(path).parse(path))
    except MalformedReport as error:
        return _File(path, error.recovered or Report("unknown"), (str(error),))
    except OSError as error:
        why = f"{path}: cannot be read: {error.strerror or error}"
        return _File(path, Report("unknown"), (why,))


def _families(files: Iterable[_File]) -> list[list[_File]]:
    """Files that belong to one run: a process and its children."""
    families: list[list[_File]] = []
    for file in files:
        joined: list[_File] = []
        others: list[list[_File]] = []
        for family in families:
            # One file may link families that had nothing in common before it.
            if any(_is_related(file, member) for member in family):
                joined.extend(family)
            else:
                others.append(family)
        families = [*others, [*joined, file]]
    return families


def _is_related(file: _File, other: _File) -> bool:
    """By parent pid, or by shared addresses where a tool's reports name no parent."""
    if file.report.tool != other.report.tool or file.path.parent != other.path.parent:
        return False
    if file.parent_pids & other.pids or other.parent_pids & file.pids:
        return True
    return _is_linked_by_addresses(file.report) and not _stacks(file.report).isdisjoint(
        _stacks(other.report)
    )


def _is_linked_by_addresses(report: Report) -> bool:
    backend = BACKENDS.get(report.tool)
    return backend is not None and backend.is_linked_by_addresses


def _stacks(report: Report) -> set[tuple[int, ...]]:
    """Addresses of each stack; a single call is too little to tell a run by."""
    stacks = set()
    for leak in report.leaks:
        if len(leak.stack) > 1:
            stacks.add(tuple(frame.address for frame in leak.stack))
    return stacks


def _check_family(family: list[_File], settings: Settings) -> Check:
    family = sorted(family, key=lambda file: file.first_pid)
    report = merge(family[0].report.tool, tuple(file.report for file in family))
    if len(family) > 1 and _is_linked_by_addresses(report):
        report = _with_forks_of(report, family[0].report.processes[0].pid)
    exit_status, command = _end_and_command(report)
    paths = [str(file.path) for file in family]
    check = Check(
        id=paths[0],
        kind="program",
        tool=report.tool,
        problems=tuple(problem for file in family for problem in file.problems),
        notes=report.notes,
        exit=exit_status,
        command=command,
        reproduce=f"pytest-leakguard check {shlex.join(paths)}",
    )
    return finish(check, report, settings)


def _end_and_command(report: Report) -> tuple[ExitStatus, tuple[str, ...]]:
    """How the first process ended and what it was, as far as its report says."""
    if not report.processes:
        return SUCCESS, ()
    root = report.processes[0]
    command = (root.command,) if root.command else ()
    if root.signal:
        return ExitStatus(None, root.signal), command
    return SUCCESS, command


def _with_forks_of(report: Report, first_pid: int) -> Report:
    """``report`` with every process but the first marked as forked: the same addresses show it."""
    processes = [replace(process, is_fork=process.pid != first_pid) for process in report.processes]
    return replace(report, processes=tuple(processes))
