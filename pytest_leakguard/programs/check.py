"""The steps in order: look, plan, run, parse, count once, name. What comes out is a ``Check`` without a verdict."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_leakguard.core import fingerprint, forks
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import LeakguardError, MalformedReport, ToolMissing, UsageProblem
from pytest_leakguard.core.leaks import Finding, LeakKind
from pytest_leakguard.core.programs import ExitStatus, Process, Report, RunStatus, Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs import binary, symbolize
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.programs.tools.base import Backend, merge

HOW_TO_GET = {
    "valgrind": "valgrind is not installed: `apt-get install valgrind` (dnf, pacman, brew likewise)",
    "memray": "memray is not installed: `pip install 'pytest-leakguard[memray]'`",
}
_OUTPUT_TAIL_BYTES = 4000
_THREAD_BLOCKS = frozenset(
    {"_dl_allocate_tls", "allocate_dtv", "allocate_tls_init", "_dl_early_allocate"}
)


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
        command=target.argv,
        reproduce=_reproduce(target, tool or settings.tool),
    )
    try:
        backend, notes = choose(target, tool or settings.tool)
    except ToolMissing as missing:
        return _missing(blank, str(missing), settings)
    blank = replace(
        blank, tool=backend.name, notes=notes, reproduce=_reproduce(target, backend.name)
    )
    if refusal := _unfit(target, backend.name):
        return replace(blank, problems=(refusal,))
    with tempfile.TemporaryDirectory(prefix="leakguard-") as name:
        return _run(backend, with_environment(target), Path(name), blank, settings)


def choose(target: Target, tool: str) -> tuple[Backend, tuple[str, ...]]:
    """The backend for ``tool`` and, for ``auto``, why it was picked; raises ``ToolMissing`` or ``UsageProblem``."""
    program = binary.inspect(target.argv[0], target.cwd)
    if program.path is None:
        raise UsageProblem(
            f"{target.argv[0]}: no such program{f' in {target.cwd}' if target.cwd else ''}; build it first"
        )
    notes: tuple[str, ...] = ()
    if tool == "auto":
        tool, why = _pick(program)
        notes = (f"tool={tool}: {why}",)
    if tool not in BACKENDS:
        raise UsageProblem(
            f"tool {tool!r} cannot run a program; known: auto, {', '.join(BACKENDS)}"
        )
    backend = BACKENDS[tool]
    if not is_present(backend):
        raise ToolMissing(HOW_TO_GET[backend.name])
    return backend, notes


def _pick(program: binary.Binary) -> tuple[str, str]:
    if program.sanitizer:
        return "sanitizer", f"built with -fsanitize={program.sanitizer}"
    if program.is_python and is_present(BACKENDS["memray"]):
        return "memray", "a Python program"
    if program.is_python:
        return "valgrind", "a Python program, and memray is not installed"
    return "valgrind", "no sanitizer runtime in the binary"


def is_present(backend: Backend) -> bool:
    """Whether the tool itself is on this machine; a sanitizer is inside the target."""
    if backend.name == "memray":
        from importlib.util import find_spec

        return find_spec("memray") is not None
    return not backend.executable or shutil.which(backend.executable) is not None


def _missing(blank: Check, why: str, settings: Settings) -> Check:
    if settings.missing_tool == "skip":
        return replace(blank, skipped=why)
    return replace(blank, problems=(why,))


def _unfit(target: Target, tool: str) -> str:
    """Why this program cannot be checked with this tool at all; empty when it can."""
    program = binary.inspect(target.argv[0], target.cwd)
    if program.is_static:
        return f"{target.argv[0]} is statically linked: no tool can see its allocations; link it dynamically"
    if (
        tool == "sanitizer"
        and program.is_elf
        and not program.sanitizer
        and "LD_PRELOAD" not in dict(target.env)
    ):
        return f"{target.argv[0]} has no sanitizer inside; build it with -fsanitize=address or -fsanitize=leak"
    if tool != "valgrind" and (
        target.tool_args or len(target.suppressions) > (tool == "sanitizer")
    ):
        most = "one suppression file" if tool == "sanitizer" else "no suppressions"
        return f"{tool} takes no tool arguments, and {most}"
    if tool == "valgrind" and program.sanitizer:
        return f'{target.argv[0]} is built with a sanitizer, which does not work under valgrind; use tool="sanitizer"'
    return ""


def with_environment(target: Target) -> Target:
    """Adds what a pure plan cannot look up: the caller's sanitizer options and a symbolizer for clang's runtime."""
    given = dict(target.env)
    for name in ("ASAN_OPTIONS", "LSAN_OPTIONS"):
        if name in os.environ:
            given.setdefault(name, os.environ[name])
    if "ASAN_SYMBOLIZER_PATH" not in os.environ and (symbolizer := find_symbolizer()):
        given.setdefault("ASAN_SYMBOLIZER_PATH", symbolizer)
        given.setdefault("LSAN_SYMBOLIZER_PATH", symbolizer)
    return replace(target, env=tuple(given.items()))


def find_symbolizer() -> str | None:
    """llvm-symbolizer, also under the versioned names distributions give it."""
    names = ("llvm-symbolizer", *(f"llvm-symbolizer-{version}" for version in range(22, 12, -1)))
    return next((found for name in names if (found := shutil.which(name))), None)


def _run(
    backend: Backend, target: Target, workdir: Path, blank: Check, settings: Settings
) -> Check:
    try:
        status = supervisor.run(backend.plan(target, workdir))
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
    report = merge(backend.name, reports)
    if backend.name == "sanitizer":
        report = _with_loader_logs(report, workdir, target, status.pid)
    if not target.follows_children:
        report = _only(report, status.pid)
    problems = (
        *damage,
        *report.problems,
        *backend.demand(report, status),
        *_unseen_children(report, target),
    )
    return finish(
        replace(
            blank,
            problems=tuple(dict.fromkeys((*problems, *_enforced(status, target)))),
            notes=(*blank.notes, *report.notes, *_notes(status)),
            exit=ExitStatus(status.exit_code, status.signal, status.timed_out),
            duration_s=round(status.duration_s, 3),
            output=status.stderr[-_OUTPUT_TAIL_BYTES:].decode("utf-8", "backslashreplace"),
        ),
        report,
        settings,
    )


def _only(report: Report, pid: int) -> Report:
    """What the started process itself reported."""
    return replace(
        report,
        leaks=tuple(leak for leak in report.leaks if leak.pid == pid),
        processes=tuple(one for one in report.processes if one.pid == pid),
    )


def _parse_all(backend: Backend, artifacts: Iterable[Path]) -> tuple[tuple[Report, ...], list[str]]:
    """What each report says; from damaged ones what was recovered, which then shows in its processes."""
    reports: list[Report] = []
    damage: list[str] = []
    for path in artifacts:
        try:
            reports.append(backend.parse(path))
        except MalformedReport as error:
            if error.recovered is None:
                damage.append(str(error))
                continue
            reports.append(error.recovered)
            if len(error.recovered.processes) > 1 and backend.name == "valgrind":
                damage.append(str(error))
    return tuple(reports), damage


def _with_loader_logs(report: Report, workdir: Path, target: Target, root_pid: int) -> Report:
    """Names calls into closed libraries, and tells forked children (no loader log of their own) from others."""
    logs = {
        int(path.suffix[1:]): path for path in workdir.glob("ld.*") if path.suffix[1:].isdecimal()
    }
    mappings = tuple(mapping for path in logs.values() for mapping in symbolize.read_link_map(path))
    processes = tuple(
        replace(one, is_fork=bool(logs) and one.pid not in logs) for one in report.processes
    )
    report = symbolize.resolve(replace(report, processes=processes), mappings, target.cwd)
    reported = {one.pid for one in processes}
    silent = [
        pid
        for pid, path in logs.items()
        if pid not in (root_pid, *reported) and _is_instrumented(path)
    ]
    return replace(
        report,
        processes=(
            *processes,
            *(Process(pid, is_complete=False, reason=_SILENT) for pid in sorted(silent)),
        ),
    )


_SILENT = (
    "an instrumented child that left no proof of a leak check (killed, _exit, or its log was lost)"
)


def _is_instrumented(loader_log: Path) -> bool:
    content = loader_log.read_bytes()
    return (
        b"file=libasan.so" in content or b"file=liblsan.so" in content or b"libclang_rt." in content
    )


def _unseen_children(report: Report, target: Target) -> list[str]:
    """Statically linked children: they run under the tool, but it sees none of their allocations."""
    if report.tool != "valgrind" or not target.follows_children:
        return []
    programs = {
        one.command.split(" ", 1)[0] for one in report.processes if one.command and not one.is_fork
    }
    return [
        f"its child {program} is statically linked: no tool can see its allocations"
        for program in sorted(programs)
        if program != target.argv[0] and binary.inspect(program, target.cwd).is_static
    ]


def _enforced(status: RunStatus, target: Target) -> list[str]:
    if status.memory_exceeded_bytes is None:
        return []
    limit = target.memory_limit_bytes
    return [
        f"killed for memory: {status.memory_exceeded_bytes} bytes resident, the limit was {limit}"
    ]


def _notes(status: RunStatus) -> list[str]:
    if not status.leftover:
        return []
    return [f"{len(status.leftover)} process(es) outlived the program and were stopped"]


def finish(check: Check, report: Report, settings: Settings) -> Check:
    """``check`` with the findings of ``report``: each block once, one finding per name, failing kinds marked."""
    leaks = forks.counted_once(report)
    return replace(
        check,
        findings=tuple(_gated(finding, settings.kinds) for finding in fingerprint.group(leaks)),
        totals=forks.totals(leaks),
        tool_version=report.tool_version,
        processes=report.processes,
    )


def _gated(finding: Finding, kinds: Sequence[LeakKind]) -> Finding:
    """Marks what fails. The block that a running thread holds for itself is possibly lost to valgrind, and no leak."""
    is_thread_block = finding.kind is LeakKind.POSSIBLY_LOST and any(
        frame.function in _THREAD_BLOCKS for frame in finding.stack[:6]
    )
    return replace(finding, is_gating=finding.kind in kinds and not is_thread_block)


def _reproduce(target: Target, tool: str) -> str:
    here = f"{Path.cwd()}{os.sep}"
    argv = [part.removeprefix(here) for part in target.argv]
    if os.sep not in argv[0] and argv[0] != target.argv[0]:
        argv[0] = f".{os.sep}{argv[0]}"  # a program of this directory, not one on PATH
    change = (
        f"cd {shlex.quote(str(target.cwd))} && "
        if target.cwd and target.cwd.resolve() != Path.cwd()
        else ""
    )
    return f"{change}pytest-leakguard run --tool {tool} -- {shlex.join(argv)}"
