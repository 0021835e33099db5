"""Checks one program under a tool: plan, run, parse, count each block once, name the findings.

What comes out is a ``Check`` without a verdict. Knows no tool by name.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pytest_leakguard.core import fingerprint, forks
from pytest_leakguard.core.checks import MEMORY_ERROR, Check
from pytest_leakguard.core.errors import LeakguardError, MalformedReport, ToolMissing, UsageProblem
from pytest_leakguard.core.leaks import Finding, LeakKind
from pytest_leakguard.core.programs import ExitStatus, Report, RunStatus, Target
from pytest_leakguard.core.runtimes import keeps_interior_pointers
from pytest_leakguard.core.settings import GATING, Settings
from pytest_leakguard.core.text import command_without_secrets, counted, without_secrets
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs import binary, follow, launchers
from pytest_leakguard.programs.source_paths import straightened
from pytest_leakguard.programs.tools import BACKENDS, pick
from pytest_leakguard.programs.tools.base import Backend, merge, runs_of

_OUTPUT_TAIL_BYTES = 4000
"""Bytes of the program's standard error that a check keeps: about a screen."""
_LEAST_ROOM_BYTES = 1 << 16
"""Bytes that must be free beside the reports when the run has ended: one large write of a tool."""
_THREAD_BLOCKS = frozenset(
    {"_dl_allocate_tls", "allocate_dtv", "allocate_tls_init", "_dl_early_allocate"}
)
"""Functions of glibc's loader that allocate the block which a running thread holds for itself."""
_NAMELESS = (
    "its stack is not known, so it cannot be accepted: the acceptance would cover every leak "
    "without one"
)
_THREAD_BLOCK_DEPTH = 6
"""Innermost calls of a stack among which they stand; deeper ones belong to the program."""


def check_program(
    target: Target,
    settings: Settings,
    check_id: str,
    tool: str | None = None,
    expected_exit: int | None = 0,
    kind: str = "program",
) -> Check:
    """Runs ``target`` once under a tool and says what leaked and whether the answer is whole.

    Raises ``UsageProblem`` for a program or a tool that cannot be meant; everything that goes wrong
    during the run is in ``Check.problems`` beside what was seen until then.
    """
    blank = Check(
        check_id,
        kind,
        tool or settings.tool,
        expected_exit=expected_exit,
        command=without_secrets(target.argv),
        reproduce=_reproduce(target, tool or settings.tool),
    )
    try:
        backend, notes = choose(target, tool or settings.tool)
        prepared = backend.prepare(target)
    except ToolMissing as absent:
        return missing(blank, str(absent), settings)
    blank = replace(
        blank, tool=backend.name, notes=notes, reproduce=_reproduce(target, backend.name)
    )
    if refusal := _unfit(target, backend):
        return replace(blank, problems=(refusal,))
    with tempfile.TemporaryDirectory(prefix="leakguard-") as name:
        return _run(backend, prepared, Path(name), blank, settings)


def choose(target: Target, tool: str) -> tuple[Backend, tuple[str, ...]]:
    """The backend for ``tool`` and, for ``auto``, why it was picked.

    Raises ``ToolMissing`` where it is not installed, ``UsageProblem`` for no such tool or program.
    """
    program = binary.inspect(target.argv[0], target.cwd)
    if program.path is None:
        place = f" in {target.cwd}" if target.cwd else ""
        raise UsageProblem(f"{target.argv[0]}: no such program{place}; build it first")
    notes: tuple[str, ...] = ()
    if tool == "auto":
        inner = launchers.sanitized(target.argv, target.cwd)
        inner = inner or launchers.python_behind(target.argv, target.cwd)
        backend, why = pick(inner or program)
        if inner:
            why = f"{inner.path} is {why}"
        notes = (f"tool={backend.name}: {why}",)
    elif tool in BACKENDS:
        backend = BACKENDS[tool]
    else:
        raise UsageProblem(
            f"tool {tool!r} cannot run a program; known: auto, {', '.join(BACKENDS)}"
        )
    if not backend.is_present():
        raise ToolMissing(backend.how_to_get)
    return backend, notes


def missing(blank: Check, why: str, settings: Settings) -> Check:
    """The check where a tool is not on this machine: skipped or inconclusive, as is asked for."""
    if settings.missing_tool == "skip":
        return replace(blank, skipped=why)
    return replace(blank, problems=(why,))


def _unfit(target: Target, backend: Backend) -> str:
    """Why this program cannot be checked with this tool at all; empty when it can."""
    if binary.inspect(target.argv[0], target.cwd).is_static:
        return (
            f"{target.argv[0]} is statically linked: no tool can see its allocations; "
            "link it dynamically"
        )
    return backend.refuses(target)


def _run(
    backend: Backend, target: Target, workdir: Path, blank: Check, settings: Settings
) -> Check:
    try:
        status = supervisor.run(replace(backend.plan(target, workdir), scratch=workdir))
    except LeakguardError as error:
        return replace(blank, problems=(str(error),))
    return conclude(backend, target, workdir, blank, settings, status)


def conclude(
    backend: Backend,
    target: Target,
    workdir: Path,
    blank: Check,
    settings: Settings,
    status: RunStatus,
) -> Check:
    """What a run that has ended left in ``workdir`` says; raises nothing."""
    artifacts = sorted(path for path in workdir.glob(backend.artifacts) if path.is_file())
    reports, damage = _parse_all(backend, artifacts)
    report = backend.after_run(merge(backend.name, reports), target, workdir, status)
    if not target.follows_children:
        report = _only(report, status.pid)
    report = follow.chosen(report, target, status.pid)
    problems = (
        *damage,
        *report.problems,
        *backend.demand(report, status),
        *_enforced(status, target),
        *_full(workdir),
    )
    check = replace(
        blank,
        problems=tuple(dict.fromkeys(problems)),
        notes=(*blank.notes, *report.notes, *_notes(status)),
        exit=ExitStatus(status.exit_code, status.signal, status.timed_out),
        duration_s=round(status.duration_s, 3),
        output=status.stderr[-_OUTPUT_TAIL_BYTES:].decode("utf-8", "backslashreplace"),
    )
    return finish(check, report, settings)


def _only(report: Report, pid: int) -> Report:
    """What the started process itself reported."""
    return replace(
        report,
        leaks=tuple(leak for leak in report.leaks if leak.pid == pid),
        processes=tuple(process for process in report.processes if process.pid == pid),
    )


def _parse_all(backend: Backend, artifacts: Iterable[Path]) -> tuple[tuple[Report, ...], list[str]]:
    """What each report says, and the errors of those of which nothing could be recovered.

    What a damaged report lacks stands in its processes and problems.
    """
    reports: list[Report] = []
    damage: list[str] = []
    for path in artifacts:
        try:
            reports.extend(runs_of(backend.parse(path)))
        except MalformedReport as error:
            if error.recovered is None:
                damage.append(str(error))
            else:
                reports.extend(runs_of(error.recovered))
    return tuple(reports), damage


def _enforced(status: RunStatus, target: Target) -> list[str]:
    if status.memory_exceeded_bytes is None:
        return []
    limit = target.memory_limit_bytes
    return [
        f"killed for memory: {status.memory_exceeded_bytes} bytes resident, the limit was {limit}"
    ]


def _full(workdir: Path) -> list[str]:
    """The reason not to trust the reports where there is no room left for them.

    A sanitizer's runtime does not look whether its log was written.
    """
    if shutil.disk_usage(workdir).free >= _LEAST_ROOM_BYTES:
        return []
    return [
        f"no space is left in {workdir.parent}, so reports may be cut: make room, or set TMPDIR "
        "to another place"
    ]


def _notes(status: RunStatus) -> list[str]:
    if not status.leftover:
        return []
    return [
        f"{counted(len(status.leftover), 'process')} outlived the program and had to be stopped"
    ]


def finish(check: Check, report: Report, settings: Settings) -> Check:
    """``check`` with the findings of ``report``.

    Each block counts once, there is one finding per name, and those of failing kinds are marked.
    """
    leaks = forks.counted_once(report)
    findings = tuple(
        _with_advice(straightened(finding, settings.root)) for finding in fingerprint.group(leaks)
    )
    errors = tuple(f"{MEMORY_ERROR}{error}" for error in report.errors)
    is_failing = settings.errors == "fail"
    return replace(
        check,
        faults=errors if is_failing else (),
        notes=check.notes if is_failing else (*check.notes, *errors),
        findings=tuple(_gated(finding, settings) for finding in findings),
        totals=forks.totals(leaks),
        tool_version=report.tool_version,
        processes=tuple(
            replace(process, command=command_without_secrets(process.command))
            for process in report.processes
        ),
    )


def _with_advice(finding: Finding) -> Finding:
    """``finding``, with a word where nothing is known that could tell it from others."""
    if not fingerprint.is_nameless(finding.fingerprint):
        return finding
    return replace(finding, details=(*finding.details, _NAMELESS))


def _gated(finding: Finding, settings: Settings) -> Finding:
    """``finding``, marked when it fails the check."""
    is_gating = finding.kind in settings.kinds
    if is_gating and finding.kind is LeakKind.POSSIBLY_LOST:
        is_gating = not _only_looks_lost(finding, settings)
    return replace(finding, is_gating=is_gating)


def _only_looks_lost(finding: Finding, settings: Settings) -> bool:
    """Whether a block that is possibly lost to a tool is none to us.

    Such is the block that a running thread holds for itself, and, unless kinds were chosen by hand,
    what runtimes allocate that keep pointers into the middle of blocks.
    """
    if any(frame.function in _THREAD_BLOCKS for frame in finding.stack[:_THREAD_BLOCK_DEPTH]):
        return True
    return settings.kinds is GATING and keeps_interior_pointers(finding.stack)


def _reproduce(target: Target, tool: str) -> str:
    """The command line that repeats this check, with paths relative to where it is to be run."""
    here = f"{target.cwd.resolve() if target.cwd else Path.cwd()}{os.sep}"
    argv = [part.removeprefix(here) for part in without_secrets(target.argv)]
    if os.sep not in argv[0] and argv[0] != target.argv[0]:
        argv[0] = f".{os.sep}{argv[0]}"  # a program of this directory, not one on PATH
    command = f"pytest-leakguard run --tool {tool} -- {shlex.join(argv)}"
    if target.cwd and target.cwd.resolve() != Path.cwd():
        # Below here as seen from here: a report is read on other machines than it was made on.
        place = str(target.cwd.resolve()).removeprefix(f"{Path.cwd()}{os.sep}")
        return f"cd {shlex.quote(place)} && {command}"
    return command
