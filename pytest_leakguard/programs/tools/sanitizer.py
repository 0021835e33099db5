"""LeakSanitizer, alone or inside AddressSanitizer: how to make it prove its check, and its report.

Grammar and messages: compiler-rt's lsan_common.cpp and sanitizer_stacktrace_printer.cpp. A clean
run leaves no report at all, so the plan asks for ``log_threads=1``: every check then writes, for each thread, the
lines "Processing thread", "Stack at" and "TLS at", and they are the only proof that one was made.

The hole that stays: nothing is written after a clean check, so a log that was cut exactly between the last "TLS at"
line and the report looks clean. A line cut in the middle, a blank line or a piece of the report behind it do not, and
``demand`` refuses the log of a process that a signal ended. What remains is a copy truncated at that one byte, and a
forked child killed in that moment.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Launch, Process, Report, RunStatus, Target
from pytest_leakguard.programs import binary, symbolize
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.canary import Canaries, find_versioned, version_of
from pytest_leakguard.programs.tools.base import (
    MOST_PROCESSES,
    Backend,
    Trial,
    incomplete,
    line_number,
    lines,
    mark_inlined,
    root_is_missing,
)

FRAME_FORMAT = "FRAME\t%n\t%p\t%m\t%o\t%f\t%s\t%l\t%c"
"""Fields by tabs: module and function stay apart, which the default format does not promise."""
LINK_MAP = "ld"
"""Prefix of the loader's own log, which tells where libraries were that are closed by now."""

_OWN_END = (
    "abort_on_error=1:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0"
)
"""A program that crashes ends by its own signal, one with a memory error by SIGABRT: never with status 0."""

MOST_FAILURES = 20
"""Failures kept per process; a damaged heap can report one and the same thousands of times."""
MOST_RANDOM_BITS = 28
"""Bits of address randomisation that runtimes before gcc 13 and clang 17 bear; newer kernels draw 32."""
_RUNTIME_LIBRARIES = (b"file=libasan.so", b"file=liblsan.so", b"libclang_rt.")
_RUNTIME_PACKAGES = {
    "gcc": "apt-get install libasan8 liblsan0 gcc",
    "clang": "apt-get install libclang-rt-dev",
}
_NAMES = "apt-get install llvm (for llvm-symbolizer), or binutils (for addr2line)"
_SILENT = (
    "an instrumented child that left no proof of a leak check (killed, _exit, or its log was lost)"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REPORT = re.compile(r"==([0-9]{1,10})==ERROR: LeakSanitizer: detected memory leaks")
_HEAD = re.compile(
    r"^(Direct|Indirect) leak of ([0-9]{1,19}) byte\(s\) in ([0-9]{1,19}) object\(s\) allocated from:"
)
_SUMMARY = re.compile(
    r"^SUMMARY: [A-Za-z]{1,20}Sanitizer: ([0-9]{1,19}) byte\(s\) leaked in ([0-9]{1,19}) allocation\(s\)\."
)
_STACK_LINE = re.compile(r"^ +#[0-9]{1,4} 0x([0-9a-fA-F]{1,16}) ?(.*)$")
_CHECKED = re.compile(r"==[0-9]{1,10}==Processing thread ([0-9]{1,10})\.$")
_THREAD_DONE = re.compile(r"==[0-9]{1,10}==(D?TLS) .*[0-9a-fA-F]\.$")
_DASHES = re.compile(r"-+")
_REPORT_BEGINS = re.compile(r"=+")
_PID = re.compile(r"==([0-9]{1,10})==")
_RUNTIME = re.compile(
    rb"(Leak|Address)Sanitizer|^==\d{1,10}==(Processing|Running) thread |^ERROR: Can't open file: .* \(reason: ",
    re.MULTILINE,
)
_KINDS = {"Direct": LeakKind.DEFINITELY_LOST, "Indirect": LeakKind.INDIRECTLY_LOST}
_FAILURES = {
    "LeakSanitizer has encountered a fatal error": "the leak check could not stop the program's threads: ptrace is "
    "denied (containers need --cap-add SYS_PTRACE), or the program runs under a debugger or strace",
    "False leaks are possible": "a thread could not be stopped, so leaks may be false",
    "Sanitizer: CHECK failed": "the sanitizer's own check failed",
    "Sanitizer CHECK failed": "the sanitizer's own check failed",
    "LeakSanitizer: bad pointer": "the sanitizer met a damaged heap",
    "Sanitizer: failed to read suppressions file": "the suppressions file cannot be read",
    "Sanitizer: failed to parse suppressions": "the suppressions file is wrong",
    "ERROR: Can't open file: ": "the sanitizer could not write its log (the program gave up its rights to "
    "the directory)",
    "runtime does not come first in initial library list": "the sanitizer runtime must be loaded first (LD_PRELOAD)",
    "Shadow memory range interleaves": "the address layout is not usable; run under `setarch -R`",
    "Sanitizer:DEADLYSIGNAL": "the program crashed; with old runtimes and vm.mmap_rnd_bits above 28 it does so at "
    "start (`setarch -R`, or sysctl vm.mmap_rnd_bits=28)",
    "SEGV on unknown address": "the program crashed before its leak check",
    "Sanitizer: requested allocation size": "an allocation larger than the sanitizer allows stopped the program "
    "(allocator_may_return_null=1 lets it go on)",
    "ERROR: AddressSanitizer: ": "AddressSanitizer stopped the program at another error",
    "LeakSanitizer can not provide additional info": "the program crashed before its leak check",
}


class Sanitizer(Backend):
    """Programs built with ``-fsanitize=address`` or ``=leak``.

    They run at half the speed. Sees lost memory only.
    """

    name = "sanitizer"
    artifacts = "san.*"
    is_linked_by_addresses = True

    def suits(self, program: Binary) -> str:
        """Programs with a runtime inside."""
        return f"built with -fsanitize={program.sanitizer}" if program.sanitizer else ""

    def refuses(self, target: Target) -> str:
        """Programs without a runtime, and what its options have no place for."""
        program = binary.inspect(target.argv[0], target.cwd)
        is_preloaded = "LD_PRELOAD" in dict(target.env)
        if program.is_elf and not program.sanitizer and not is_preloaded:
            return (
                f"{target.argv[0]} has no sanitizer inside; build it with -fsanitize=address "
                "or -fsanitize=leak"
            )
        if target.tool_args or len(target.suppressions) > 1:
            return "sanitizer takes no tool arguments, and one suppression file"
        return ""

    def prepare(self, target: Target) -> Target:
        """With the caller's sanitizer options, and a symbolizer for clang's runtime."""
        given = dict(target.env)
        for name in ("ASAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                given.setdefault(name, os.environ[name])
        symbolizer = find_versioned("llvm-symbolizer")
        if symbolizer is not None and "ASAN_SYMBOLIZER_PATH" not in os.environ:
            given.setdefault("ASAN_SYMBOLIZER_PATH", symbolizer)
            given.setdefault("LSAN_SYMBOLIZER_PATH", symbolizer)
        return replace(target, env=tuple(given.items()))

    def plan(self, target: Target, workdir: Path) -> Launch:
        """The program as it is; everything is asked of the runtime through its options."""
        given = dict(target.env)
        suppressions = "".join(f':suppressions="{path}"' for path in target.suppressions[:1])
        common = (
            f'log_path="{workdir / "san"}":fast_unwind_on_malloc=0:malloc_context_size=40:color=never'
            f':symbolize=1:stack_trace_format="{FRAME_FORMAT}":{_OWN_END}'
        )
        # The leak check must not replace the program's own exit status; the log is the judge.
        given["LSAN_OPTIONS"] = _joined(
            given.get("LSAN_OPTIONS"), f"{common}:log_threads=1:exitcode=0{suppressions}"
        )
        given["ASAN_OPTIONS"] = _joined(
            given.get("ASAN_OPTIONS"), f"{common}:detect_leaks=1:leak_check_at_exit=1"
        )
        given["LD_DEBUG"], given["LD_DEBUG_OUTPUT"] = "files", str(workdir / LINK_MAP)
        return Launch(
            argv=target.argv,
            env=tuple(given.items()),
            cwd=target.cwd,
            timeout_s=target.timeout_s,
            stop_signals=((signal.SIGTERM, 5.0),),
            memory_limit_bytes=target.memory_limit_bytes,
            stdin=target.stdin,
        )

    def recognises(self, head: bytes) -> bool:
        """By the runtime's name in its own lines."""
        return _RUNTIME.search(head) is not None

    def parse(self, artifact: Path) -> Report:
        """One log; raises ``MalformedReport`` unless it shows a leak check from start to end."""
        logs: dict[int, _Log] = {}
        current, end = _Log(_pid_of(artifact)), _End()
        with artifact.open("rb") as stream:
            for text in lines(stream):
                line = _COLOUR.sub("", text)
                if (
                    line.endswith("\n") or not current.head
                ):  # one cut in its middle does not end the record before it
                    current = _take(line.removesuffix("\n"), current, logs)
                end.take(line)
                if len(logs) > MOST_PROCESSES:
                    why = f"more than {MOST_PROCESSES} processes in one log"
                    raise MalformedReport(f"{artifact}: {why}", _recovered(list(logs.values())))
        current.is_cut = (
            end.is_cut
        )  # a record that is still open is left out: its stack may be cut off, its name wrong
        logs.setdefault(current.pid, current)
        return _report(artifact, [log for log in logs.values() if log.has_content] or [current])

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started process must have left the proof of a check, and no process a broken one."""
        reasons = root_is_missing(report, status, _absent(status)) + incomplete(report.processes)
        if not reasons and (status.signal is not None or status.timed_out):
            reasons = (
                f"process {status.pid} was killed: nothing shows that the leak check at its end was made",
            )
        text = status.stderr.decode("utf-8", "backslashreplace")
        return reasons + tuple(
            dict.fromkeys(why for mark, why in _FAILURES.items() if mark in text)
        )

    def after_run(self, report: Report, target: Target, workdir: Path, status: RunStatus) -> Report:
        """With names for calls into closed libraries, and with the children that reported nothing.

        The loader writes a log for each program that is started, so a process without one is a
        forked child.
        """
        logs: dict[int, Path] = {}
        mappings: list[symbolize.Mapping] = []
        for path in workdir.glob(f"{LINK_MAP}.*"):
            if path.suffix[1:].isdecimal():
                logs[int(path.suffix[1:])] = path
                mappings.extend(symbolize.read_link_map(path))
        processes = [
            replace(process, is_fork=bool(logs) and process.pid not in logs)
            for process in report.processes
        ]
        reported = {status.pid, *(process.pid for process in processes)}
        for pid in sorted(logs.keys() - reported):
            if _is_instrumented(logs[pid]):
                processes.append(Process(pid, is_complete=False, reason=_SILENT))
        resolved = symbolize.resolve(report, mappings, target.cwd)
        return replace(resolved, processes=tuple(processes))

    def trials(self, canaries: Canaries) -> Iterator[Trial]:
        """Both runtimes of each compiler."""
        compilers = {name: find_versioned(name) for name in ("gcc", "clang")}
        if not any(compilers.values()):
            yield Trial(why="no C compiler to build a canary with", fix="apt-get install gcc")
        for name, path in compilers.items():
            if path is not None:
                yield from _trials_of_compiler(name, path, canaries)

    def advice(self, problem: str) -> str:
        """What helps where the runtime could not start or could not make its check."""
        if "ptrace" in problem:
            return (
                "docker run --cap-add SYS_PTRACE ...; sysctl -w kernel.yama.ptrace_scope=0; "
                "no debugger around it"
            )
        may_be_layout = any(
            mark in problem for mark in ("crash", "address layout", "left no proof")
        )
        if may_be_layout and _random_bits() > MOST_RANDOM_BITS:
            return (
                "sysctl -w vm.mmap_rnd_bits=28, or a compiler newer than gcc 12 / clang 16, "
                "or run under `setarch -R`"
            )
        if "left no" in problem:
            return (
                "run the canary by hand with ASAN_OPTIONS=verbosity=1 and read what stops "
                "the runtime"
            )
        return ""


def _trials_of_compiler(name: str, path: str, canaries: Canaries) -> Iterator[Trial]:
    version = version_of(path, "-dumpversion")
    for flag in ("address", "leak"):
        variant = f"({name} -fsanitize={flag})"
        canary = canaries.compiled(path, f"canary-{name}-{flag}", f"-fsanitize={flag}")
        if canary is None:
            yield Trial(
                variant=variant,
                path=path,
                version=version,
                why="the runtime is not installed",
                fix=_RUNTIME_PACKAGES[name],
            )
        else:
            yield Trial((str(canary),), variant, path, version, how_to_get_names=_NAMES)


def _random_bits() -> int:
    """How many bits of an address Linux draws at random; 0 where it does not say."""
    try:
        return int(Path("/proc/sys/vm/mmap_rnd_bits").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _is_instrumented(loader_log: Path) -> bool:
    """Whether the program that wrote this log had a sanitizer's runtime loaded."""
    content = loader_log.read_bytes()
    return any(mark in content for mark in _RUNTIME_LIBRARIES)


def _absent(status: RunStatus) -> str:
    if status.signal is not None or status.timed_out:
        return "proof of a leak check (LeakSanitizer makes none in a program that is killed)"
    return (
        "proof of a leak check (LeakSanitizer makes none after _exit, quick_exit or abort, nor in a program "
        "that was not built with -fsanitize=address or =leak, or is static)"
    )


def _joined(given: str | None, ours: str) -> str:
    return f"{given}:{ours}" if given else ours


@dataclass(slots=True)
class _Log:
    """What one process has written so far; only its last report counts, since each repeats the former."""

    pid: int
    leaks: list[Leak] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    head: tuple[LeakKind, int, int] | None = None
    is_in_report: bool = False
    was_checked: bool = False
    """The lines of the last thread are there, to the end."""
    is_cut: bool = False
    is_summed: bool = False
    omitted: bool = False
    has_content: bool = False
    failures: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _End:
    """The last lines of a file, which tell whether a report or a table of suppressions had begun there."""

    previous: str = ""
    last: str = "\n"
    is_in_table: bool = False

    def take(self, line: str) -> None:
        self.previous, self.last = self.last, line
        if line.startswith("Suppressions used:"):
            self.is_in_table = True
        elif _DASHES.fullmatch(line.rstrip("\n")):
            self.is_in_table = False

    @property
    def is_cut(self) -> bool:
        last, previous = self.last.removesuffix("\n"), self.previous.removesuffix("\n")
        if not self.last.endswith("\n") or self.is_in_table or _DASHES.fullmatch(last):
            return True
        if last:
            return bool(_REPORT_BEGINS.fullmatch(last))
        return not _DASHES.fullmatch(previous)  # a blank line ends a table and begins a report


def _pid_of(artifact: Path) -> int:
    suffix = artifact.name.rpartition(".")[2]
    return int(suffix) if suffix.isdecimal() and len(suffix) < 11 else 0


def _take(line: str, log: _Log, logs: dict[int, _Log]) -> _Log:
    if frame := _frame(line):
        if log.head:
            log.frames.append(frame)
        return log
    _close_record(log)
    if start := _REPORT.search(line):
        log = _switch(int(start.group(1)), log, logs)
        log.leaks.clear()
        log.problems.clear()
        log.is_in_report, log.is_summed, log.omitted, log.has_content = True, False, False, True
    elif checked := _CHECKED.search(line):
        log = _switch(int(checked.group(1)) if log.pid == 0 else log.pid, log, logs)
        log.has_content, log.was_checked = True, False
    elif _THREAD_DONE.match(line) and log.has_content:
        log.was_checked = True
    elif head := _HEAD.match(line):
        log.head = (_KINDS[head.group(1)], int(head.group(2)), int(head.group(3)))
    elif total := _SUMMARY.match(line):
        _sum(log, int(total.group(1)), int(total.group(2)))
    elif line.startswith("Omitting "):
        log.omitted = True
    else:
        log = _take_failure(line, log, logs)
    return log


def _switch(pid: int, log: _Log, logs: dict[int, _Log]) -> _Log:
    """The record of process ``pid``; standard error may hold those of several."""
    if log.pid == 0 and not log.has_content:
        log.pid = pid
    if log.pid != pid:
        logs.setdefault(log.pid, log)
        log = logs.get(pid) or _Log(pid)
    return logs.setdefault(pid, log)


def _take_failure(line: str, log: _Log, logs: dict[int, _Log]) -> _Log:
    for mark, why in _FAILURES.items():
        if mark in line:
            if pid := _PID.search(line):
                log = _switch(int(pid.group(1)), log, logs)
            log.has_content = True
            if len(log.failures) < MOST_FAILURES:
                log.failures[
                    f"{why}: {line.partition(mark)[2][:120]}" if "another error" in why else why
                ] = None
            break
    return log


def _close_record(log: _Log) -> None:
    if log.head:
        kind, size_bytes, objects = log.head
        log.leaks.append(Leak(kind, size_bytes, objects, mark_inlined(log.frames), log.pid))
    log.head, log.frames = None, []


def _sum(log: _Log, size_bytes: int, objects: int) -> None:
    log.is_summed, log.has_content = True, True
    seen = sum(leak.size_bytes for leak in log.leaks), sum(leak.blocks for leak in log.leaks)
    if seen != (size_bytes, objects) and not log.omitted:
        log.problems.append(
            f"leak records are missing: the summary says {size_bytes} bytes in {objects} blocks, "
            f"the records {seen[0]} in {seen[1]}"
        )
    missing = size_bytes - seen[0]
    if log.omitted and missing > 0:
        log.leaks.append(
            Leak(LeakKind.DEFINITELY_LOST, missing, max(1, objects - seen[1]), (), log.pid)
        )


def _frame(line: str) -> Frame | None:
    if line.startswith("FRAME"):
        return _tabbed(line.split("\t"))
    match = _STACK_LINE.match(line)
    return _described(int(match.group(1), 16), match.group(2)) if match else None


def _tabbed(fields: list[str]) -> Frame | None:
    if len(fields) != 9:
        return None  # cut off in the middle
    _, _, address, module, offset, function, file, line, _ = fields
    pc, place = _hexadecimal(address), _hexadecimal(offset)
    if pc is None or place is None:
        return None
    known = module not in ("", "<null>", "<unknown module>")
    return Frame(
        function=function if function not in ("", "<null>") else None,
        file=file if file not in ("", "<null>") else None,
        line=line_number(line),
        module=module if known else None,
        address=pc,
        offset=place if known else None,
    )


def _described(address: int, text: str) -> Frame:
    """``in FN FILE:LINE[:COL]``, ``in FN (MODULE+0xOFF)``, `` (MODULE+0xOFF)``; a build id may follow."""
    text, _, _ = text.partition(" (BuildId: ")
    text = text.strip()
    module, offset = None, None
    if text.endswith(")") and "+0x" in text:
        text, place = _before_place(text)
        module, _, digits = place.rpartition("+0x")
        offset = _hexadecimal(digits)
    if not text.startswith("in "):
        return Frame(module=module, address=address, offset=offset)
    function, file, line = (text[3:], None, None) if module else _source(text[3:])
    return Frame(function, file, line, module, address, offset)


def _before_place(text: str) -> tuple[str, str]:
    """``in FN`` and ``MODULE+0xOFF``; either may hold parentheses, but only a path begins with a slash."""
    at = text.find("(/")
    if at < 0:
        at = text.rfind("(")
    return text[:at].strip(), text[at + 1 : -1]


def _hexadecimal(digits: str) -> int | None:
    try:
        return int(digits, 16) if len(digits) <= 18 else None
    except ValueError:
        return None


def _source(text: str) -> tuple[str, str | None, int | None]:
    """Function, file and line; spaces may be in each of the first two."""
    starts = [at for at in (text.find(" /"), text.find(" ../"), text.find(" ./")) if at > 0]
    end = min(starts) if starts else _function_length(text)
    function, place = text[:end], text[end + 1 :]
    if not place:
        return text, None, None
    parts = place.split(":")
    return (
        function,
        parts[0],
        next((number for part in parts[1:] if (number := line_number(part))), None),
    )


def _function_length(text: str) -> int:
    """Where the function ends: behind its parameters, or at the first space if it has none (C shows none)."""
    depth = word = 0
    for index, char in enumerate(text):
        if char == " " and depth <= 0:
            if text[index - 1] == ")" and "(" in text[word + 1 : index]:
                qualifiers = (" const ", " & ", " && ")
                return index + next(
                    (len(one) - 1 for one in qualifiers if text.startswith(one, index)), 0
                )
            word = index + 1
        depth += (char in "<({") - (char in ">)}")
    return text.find(" ") if " " in text else len(text)


def _recovered(logs: list[_Log]) -> Report:
    return Report(
        tool="sanitizer",
        leaks=tuple(leak for log in logs for leak in log.leaks),
        processes=tuple(
            Process(log.pid, is_complete=not (why := _reason(log)), reason=why) for log in logs
        ),
        problems=tuple(problem for log in logs for problem in log.problems),
    )


def _report(artifact: Path, logs: list[_Log]) -> Report:
    report = _recovered(logs)
    reasons = [f"process {p.pid}: {p.reason}" for p in report.processes if p.reason] + list(
        report.problems
    )
    if reasons:
        raise MalformedReport(f"{artifact}: {'; '.join(dict.fromkeys(reasons))}", report)
    return report


def _reason(log: _Log) -> str:
    if log.failures:
        return "; ".join(log.failures)
    if log.is_in_report and not log.is_summed:
        return "the report ends before its SUMMARY line (cut off, or the program was killed)"
    if log.was_checked and not log.is_summed and log.is_cut:
        return "the log ends where a report may have begun (cut off, or the program was killed)"
    if not log.was_checked and not log.is_summed:
        return "nothing in it shows that a leak check was made (run with LSAN_OPTIONS=log_threads=1 for the proof)"
    return ""
