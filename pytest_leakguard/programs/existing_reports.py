"""Reports that somebody else's runner (ctest, make) left: which belong together, what they say."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import MalformedReport, UnknownFormat
from pytest_leakguard.core.programs import SUCCESS, ExitStatus, Report
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.core.text import command_without_secrets, counted
from pytest_leakguard.programs import inputs, log_streams
from pytest_leakguard.programs.check import finish
from pytest_leakguard.programs.tools import BACKENDS, recognise_all
from pytest_leakguard.programs.tools.base import incomplete, merge, runs_of


@dataclass(frozen=True, slots=True)
class _File:
    """One report and what keeps it from being a whole one."""

    name: str
    """As the user gave it, with the writer in a log of several."""
    source: str
    """The file it stands in, as the user gave it."""
    report: Report
    problems: tuple[str, ...] = ()
    run: int = 1
    """Which of the runs in the file it is."""

    @property
    def check_id(self) -> str:
        """Its name; further runs in the same file carry their number."""
        return self.name if self.run == 1 else f"{self.name}#{self.run}"

    @property
    def pids(self) -> set[int]:
        return {process.pid for process in self.report.processes if process.pid}

    @property
    def parent_pids(self) -> set[int]:
        return {process.ppid for process in self.report.processes}

    @property
    def first_pid(self) -> int:
        return min((process.pid for process in self.report.processes), default=0)


def check_files(paths: Sequence[Path | str], settings: Settings) -> tuple[Check, ...]:
    """One check per tree of processes; what cannot be read is a problem of its check.

    A path may be a directory, a pattern, an archive, a pipe, or ``-`` for standard input.
    """
    with tempfile.TemporaryDirectory(prefix="leakguard-") as name:
        workdir, files = Path(name), list[_File]()
        others = 0
        for given in inputs.collect(map(str, paths), workdir, settings.timeout_s):
            found = _read(given, workdir)
            files.extend(found)
            others += not found
    if not files:
        where = ", ".join(map(str, paths))
        why = f"{where}: no report among {counted(others, 'file')}"
        files = [_File(str(paths[0]), where, Report("unknown"), (why,))]
    return tuple(_check_family(family, settings) for family in _families(files))


def _read(given: inputs.Input, workdir: Path) -> list[_File]:
    """The reports in one file; none in a file of a directory that is nobody's report."""
    if not given.path.is_file():
        why = given.problem or f"{given.name}: cannot be read: No such file or directory"
        return [_File(given.name, given.name, Report("unknown"), (why,))]
    place = Path(tempfile.mkdtemp(dir=workdir))
    try:
        streams, missing = log_streams.split(given.path, place)
        files = [file for stream in streams for file in _in_stream(stream, given)]
    except OSError as error:
        why = f"{given.name}: cannot be read: {error.strerror or error}"
        return [_File(given.name, given.name, Report("unknown"), (why,))]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if not files and (given.is_chosen or given.problem):
        files = [_nobodys(given)]
    problem = given.problem or (missing and f"{given.name}: {missing}")
    if problem and files:
        files[-1] = replace(files[-1], problems=(*files[-1].problems, problem))
    return files


def _in_stream(stream: log_streams.Stream, given: inputs.Input) -> Iterator[_File]:
    """Each run of each tool in one stream."""
    name = f"{given.name}[{stream.writer}]" if stream.writer else given.name
    try:
        backends = recognise_all(stream.path)
    except UnknownFormat:
        return
    for backend in backends:
        try:
            report = _closed(backend.parse(stream.path))
            error = "; ".join(incomplete(report.processes))
        except MalformedReport as malformed:
            report, error = malformed.recovered or Report(backend.name), str(malformed)
        yield from _runs(name, given.name, report, error.replace(str(stream.path), name))


def _closed(report: Report) -> Report:
    """``report`` without the trust that only somebody who saw its processes end may have."""
    processes = [
        replace(process, is_complete=False, reason=process.open_end)
        if process.open_end
        else process
        for process in report.processes
    ]
    further = tuple(_closed(run) for run in report.further)
    return replace(report, processes=tuple(processes), further=further)


def _nobodys(given: inputs.Input) -> _File:
    try:
        recognise_all(given.path)
        why = f"{given.name}: no report in it"
    except UnknownFormat as error:
        why = str(error).replace(str(given.path), given.name)
    return _File(given.name, given.name, Report("unknown"), (why,))


def _runs(name: str, source: str, report: Report, error: str) -> list[_File]:
    """Each run in the file with what is wrong with it; ``error`` is what is wrong with the file."""
    runs = runs_of(report)
    if len(runs) == 1:
        return [_File(name, source, report, (error,) if error else ())]
    files = []
    for number, run in enumerate(runs, 1):
        reasons = (*incomplete(run.processes), *run.problems)
        problems = (f"{name}: {'; '.join(dict.fromkeys(reasons))}",) if reasons else ()
        files.append(_File(name, source, run, problems, number))
    if error and not any(file.problems for file in files):
        files[0] = replace(files[0], problems=(error,))
    return files


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
    if file.report.tool != other.report.tool:
        return False
    if Path(file.source).parent != Path(other.source).parent:
        return False
    if file.source == other.source:
        return False  # its reader has told the runs in it apart
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
    paths = list(dict.fromkeys(file.source for file in family))
    check = Check(
        id=family[0].check_id,
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
    command = (command_without_secrets(root.command),) if root.command else ()
    if root.signal:
        return ExitStatus(None, root.signal), command
    return SUCCESS, command


def _with_forks_of(report: Report, first_pid: int) -> Report:
    """``report`` with every process but the first marked as forked: the same addresses show it."""
    processes = [replace(process, is_fork=process.pid != first_pid) for process in report.processes]
    return replace(report, processes=tuple(processes))
