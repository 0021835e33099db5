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

import re
import signal
from dataclasses import dataclass, field
from pathlib import Path

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Launch, Process, Report, RunStatus, Target
from pytest_leakguard.programs.tools.base import (
    MOST_PROCESSES,
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


class Sanitizer:
    """Programs built with ``-fsanitize=address`` or ``=leak``; twice as slow; sees lost memory only."""

    name = "sanitizer"
    executable = ""
    artifacts = "san.*"

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
