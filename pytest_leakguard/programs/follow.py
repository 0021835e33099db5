"""Which processes of a run count: the user's programs, not the tools that a script calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_leakguard.core.programs import Process, Report, Target
from pytest_leakguard.programs import launchers
from pytest_leakguard.programs.binary import find

_MOST_NAMES = 6
"""Names of programs in one note."""


def chosen(report: Report, target: Target, root_pid: int) -> Report:
    """``report`` without what processes have left that are not meant, and with a note of them.

    Where a tool's reports name no program nothing is left out.
    """
    if not target.follows_children or not any(process.command for process in report.processes):
        return report
    left_out: dict[int, str] = {}
    named = launchers.named_by(target.argv, target.cwd)
    for process in report.processes:
        program = _program(process, report.processes)
        if program and not _counts(program, target, named):
            left_out[process.pid] = program
    if not left_out:
        return report
    names = sorted({program.rpartition("/")[2] for program in left_out.values()})
    shown = ", ".join(names[:_MOST_NAMES]) + (" ..." if len(names) > _MOST_NAMES else "")
    note = f"not checked: {shown} (of the system, and not named; --follow=PATTERN checks them)"
    if target.follow:
        note = f"not checked: {shown} (not among those to follow: {', '.join(target.follow)})"
    problems = report.problems
    if len(left_out) == len(report.processes):
        problems = (*problems, _nothing_left(target, shown))
    return replace(
        report,
        leaks=tuple(leak for leak in report.leaks if leak.pid not in left_out),
        processes=tuple(
            _proven(process, process.pid in left_out)
            for process in report.processes
            if process.pid not in left_out or process.pid == root_pid
        ),
        problems=problems,
        notes=(*report.notes, note),
    )


def _nothing_left(target: Target, shown: str) -> str:
    if target.follow:
        return f"no process matches {', '.join(target.follow)}: {shown} ran"
    return (
        f"only programs of the system ran ({shown}), so nothing of yours was checked: "
        "name what is meant with --follow=PATTERN"
    )


def _proven(process: Process, is_left_out: bool) -> Process:
    """Of a launcher only that it ran counts, not whether its own check was whole."""
    return replace(process, is_complete=True, reason="") if is_left_out else process


def _program(process: Process, processes: tuple[Process, ...]) -> str:
    """The path of what runs in ``process``; a forked one runs what its parent does."""
    command, seen = process.command, {process.pid}
    parent = process.ppid
    while not command and parent and parent not in seen:
        seen.add(parent)
        above = next((other for other in processes if other.pid == parent), None)
        if above is None:
            break
        command, parent = above.command, above.ppid
    return command.split(" ", 1)[0]


def _counts(program: str, target: Target, named: frozenset[Path]) -> bool:
    found = find(program, target.cwd)
    resolved = found.resolve() if found else Path(program)
    if target.follow:
        places = (program, str(found or program), str(resolved))
        return any(launchers.matches(place, target.follow) for place in places)
    if resolved in named:
        return True
    if found is not None and launchers.is_shell_script(found):
        return False  # what runs there is the shell
    return not launchers.is_of_the_system(str(resolved))
