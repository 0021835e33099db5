"""Reads the log of LeakSanitizer, alone or inside AddressSanitizer.

Grammar and messages: compiler-rt's lsan_common.cpp and sanitizer_stacktrace_printer.cpp. With
``log_threads=1`` every check writes, for each thread, the lines "Processing thread", "Stack at" and
"TLS at". They are the only proof that a check was made, since a clean one leaves no report at all.

Nothing is written after a clean check by older runtimes, so a log that was cut exactly between the
last "TLS at" line and the report looks like a clean one. ``Process.open_end`` says so: such a log
is whole for who saw the process end (``Sanitizer.demand``), and for nobody else. It is not open
where anything follows: the list of threads of newer runtimes (gcc 16, clang 21), the statistics of
AddressSanitizer's ``atexit=1``, which are written behind the check, the table of the suppressions
that were used, or a line of somebody else's, such as the build system's.

A process may make several checks, each of which repeats what the former has said. A report that
does not is of another run, whose process had the same id, as the first in a container has.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Process, Report
from pytest_leakguard.programs.tools.base import (
    MOST_PROCESSES,
    line_number,
    lines,
    mark_inlined,
    whole,
)

MOST_FAILURES = 20
"""Failures kept per process; a damaged heap can report one and the same thousands of times."""
_LONGEST_ADDRESS = 18
"""Characters of a 64-bit address with its 0x; a longer number is damage."""
_LONGEST_DETAIL = 120
"""Characters of a runtime's own words that are repeated in a reason."""
_NOTHING = ("", "<null>", "<unknown module>")
_TABBED_FIELDS = 9
"""Fields of a line in ``FRAME_FORMAT``; one with fewer was cut off."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REPORT = re.compile(r"==([0-9]{1,10})==ERROR: LeakSanitizer: detected memory leaks")
_HEAD = re.compile(
    r"(Direct|Indirect) leak of ([0-9]{1,19}) byte\(s\) "
    r"in ([0-9]{1,19}) object\(s\) allocated from:"
)
_SUMMARY = re.compile(
    r"SUMMARY: [A-Za-z]{1,20}Sanitizer: ([0-9]{1,19}) byte\(s\) "
    r"leaked in ([0-9]{1,19}) allocation\(s\)\."
)
_STACK_LINE = re.compile(r"(?:^ +|    )#[0-9]{1,4} 0x([0-9a-fA-F]{1,16}) ?(.*)$")
_CHECKED = re.compile(r"==[0-9]{1,10}==Processing thread ([0-9]{1,10})\.$")
_THREAD_DONE = re.compile(
    r"==[0-9]{1,10}==D?TLS (?:[0-9]{1,10} )?at 0x([0-9a-fA-F]{1,16})-0x([0-9a-fA-F]{1,16})\.$"
)
"""With where the thread's storage begins and ends, if it has any."""
_THREADS = re.compile(r"^(?:==[0-9]{1,10}==)?Thread T-?[0-9]{1,10}.* was created by T-?[0-9]{1,10}")
"""The list that newer runtimes end a check with."""
_FIRST_THREAD = re.compile(r"==([0-9]{1,10})==Thread T0/([0-9]{1,10}) ")
"""The thread that has the number of its process."""
_THREADS_REST = re.compile(r" {4,}(?:<empty stack>|#.*)|FRAME\t.*|")
_REMAINS = re.compile(
    r"(?:Direct|Indirect) leak|leak of [0-9]|byte\(s\) (?:in|leaked)|object\(s\) alloc"
    r"|\) alloc.*from:|ory leaks$|[0-9] allocation\(s\)|LeakSanitizer: det"
)
"""Words of a report in a line that cannot be read: it was damaged."""
_OWN_LINE = re.compile(r"==[0-9]{1,10}==[^ ]")
"""A line of the runtime's, behind which a report may follow; valgrind's has a space there."""
_OPEN_END = (
    "the log ends with the check's own lines, where a report would begin: it may be cut there. "
    "Something has to follow: with ASAN_OPTIONS=atexit=1 AddressSanitizer writes it, behind "
    'LeakSanitizer alone let the shell write a line into the log (echo "exit status $?")'
)
_END_OF_SUMMARY = re.compile(r"\(s\)\.$|^s?\)?\.$")
_TABLE = "Suppressions used:"
_DASHES = re.compile(r"-+")
_REPORT_BEGINS = re.compile(r"=+")
_SEPARATOR = re.compile(r"(?!==[0-9]{1,10}==)=(?!== (?:RUN|PAUSE|CONT|NAME) )")
"""The line that a report begins with, or what a hole has left of it: no line of a runtime's.

Go's test runner writes lines that are neither.
"""
_PID = re.compile(r"==([0-9]{1,10})==")
_KINDS = {"Direct": LeakKind.DEFINITELY_LOST, "Indirect": LeakKind.INDIRECTLY_LOST}
_OTHER_ERROR = "ERROR: AddressSanitizer: "
_FAILURES = {
    "LeakSanitizer has encountered a fatal error": (
        "the leak check could not stop the program's threads: ptrace is denied "
        "(containers need --cap-add SYS_PTRACE), or the program runs under a debugger or strace"
    ),
    "False leaks are possible": "a thread could not be stopped, so leaks may be false",
    "Sanitizer: CHECK failed": "the sanitizer's own check failed",
    "Sanitizer CHECK failed": "the sanitizer's own check failed",
    "LeakSanitizer: bad pointer": "the sanitizer met a damaged heap",
    "Sanitizer: failed to read suppressions file": "the suppressions file cannot be read",
    "Sanitizer: failed to parse suppressions": "the suppressions file is wrong",
    "ERROR: Can't open file: ": (
        "the sanitizer could not write its log (the program gave up its rights to the directory)"
    ),
    "runtime does not come first in initial library list": (
        "the sanitizer runtime must be loaded first (LD_PRELOAD)"
    ),
    "Shadow memory range interleaves": ("the address layout is not usable; run under `setarch -R`"),
    "Sanitizer:DEADLYSIGNAL": (
        "the program crashed; with old runtimes and vm.mmap_rnd_bits above 28 it does so at start "
        "(`setarch -R`, or sysctl vm.mmap_rnd_bits=28)"
    ),
    "SEGV on unknown address": "the program crashed before its leak check",
    "Sanitizer: requested allocation size": (
        "an allocation larger than the sanitizer allows stopped the program "
        "(allocator_may_return_null=1 lets it go on)"
    ),
    _OTHER_ERROR: "AddressSanitizer stopped the program at another error",
    "LeakSanitizer can not provide additional info": "the program crashed before its leak check",
}
"""What a runtime writes when it makes no check, or none that can be trusted, and what it means. The
first that a line holds counts."""


def parse(artifact: Path) -> Report:
    """One log; raises ``MalformedReport`` unless it shows a leak check from start to end."""
    logs: dict[int, _Log] = {}
    current, end = _Log(_pid_of(artifact)), _End()
    with artifact.open("rb") as stream:
        for text in lines(stream):
            line = _COLOUR.sub("", text)
            # A line that was cut in its middle does not end the record before it.
            if line.endswith("\n") or not current.head:
                current = _take(line.removesuffix("\n"), current, logs)
            end.take(line)
            if len(logs) + len(current.former) > MOST_PROCESSES:
                why = f"more than {MOST_PROCESSES} processes in one log"
                raise MalformedReport(f"{artifact}: {why}", _recovered(list(logs.values())))
    # A record that is still open is left out: its stack may be cut off, and then its name is wrong.
    current.is_cut = end.is_cut
    current.was_checked = current.was_checked or end.has_table
    current.is_open = end.is_open
    logs.setdefault(current.pid, current)
    written = [log for log in logs.values() if log.has_content] or [current]
    runs = [_recovered([former]) for log in written for former in _other_runs(log)]
    return whole(artifact, [_recovered(written), *runs])


def failures_in(text: str) -> tuple[str, ...]:
    """What a runtime says in ``text`` that keeps its check from being trusted."""
    found = [why for mark, why in _FAILURES.items() if mark in text]
    return tuple(dict.fromkeys(found))


@dataclass(slots=True)
class _Log:
    """What one process has written so far."""

    pid: int
    leaks: list[Leak] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    head: tuple[LeakKind, int, int] | None = None
    is_in_report: bool = False
    was_checked: bool = False
    """The lines of the last thread are there, to the end."""
    is_cut: bool = False
    is_open: bool = False
    """Nothing follows the lines of the check, not even a report."""
    is_summed: bool = False
    omitted: bool = False
    has_content: bool = False
    failures: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    last_line: str = " "
    """The last one that was no call of a stack."""
    is_after_check: bool = False
    """Nothing but blank lines since the last thread was done."""
    has_begun: bool = False
    """The line before a report was seen, and not yet the report."""
    has_remains: bool = False
    """There are parts of a report in it whose beginning is lost."""
    former: list[_Log] = field(default_factory=list)
    """Earlier reports under the same process id."""


@dataclass(slots=True)
class _End:
    """The last lines of a file: they tell whether a report or a table of suppressions had begun."""

    previous: str = ""
    last: str = "\n"
    is_in_table: bool = False
    is_in_threads: bool = False
    has_table: bool = False
    """A whole table of suppressions, which only a check prints."""

    def take(self, line: str) -> None:
        self.previous, self.last = self.last, line
        text = line.rstrip("\n")
        if text.strip() == _TABLE:
            self.is_in_table = True
        elif _DASHES.fullmatch(text.strip()):
            self.has_table = self.has_table or self.is_in_table
            self.is_in_table = False
        if _THREADS.search(text):
            self.is_in_threads = True
        elif not _THREADS_REST.fullmatch(text):
            self.is_in_threads = False

    @property
    def is_open(self) -> bool:
        """Whether a report may have followed that is not there."""
        return not self.is_in_threads and _OWN_LINE.match(self.last) is not None

    @property
    def is_cut(self) -> bool:
        if self.is_in_threads:  # the report that they follow is whole
            return not self.last.endswith("\n")
        last, previous = self.last.strip(), self.previous.strip()
        if not self.last.endswith("\n") or self.is_in_table or _DASHES.fullmatch(last):
            return True
        if last:
            return bool(_REPORT_BEGINS.fullmatch(last))
        return not _DASHES.fullmatch(previous)  # a blank line ends a table and begins a report


def _pid_of(artifact: Path) -> int:
    """The runtime appends the process id to the name it is given; 0 where it is not there."""
    suffix = artifact.name.rpartition(".")[2]
    return int(suffix) if suffix.isdecimal() and len(suffix) < 11 else 0


def _take(line: str, log: _Log, logs: dict[int, _Log]) -> _Log:
    """Adds one line; the log that the next line belongs to."""
    if (frame := _frame(line)) and not _HEAD.search(line):
        _take_frame(frame, log)
        log.has_remains = log.has_remains or _REMAINS.search(line) is not None
        return log
    _close_record(log)
    if start := _REPORT.search(line):
        log = _switch(int(start.group(1)), log, logs)
        _begin_report(log)
    elif _REMAINS.search(line) and (_CHECKED.search(line) or _THREAD_DONE.match(line)):
        log.has_remains, log.has_content = True, True  # two lines that a hole has joined
    elif checked := _CHECKED.search(line):
        log = _switch(int(checked.group(1)) if log.pid == 0 else log.pid, log, logs)
        log.has_content, log.was_checked = True, False
    elif (done := _THREAD_DONE.match(line)) and log.has_content:
        begin, end = int(done.group(1), 16), int(done.group(2), 16)
        log.was_checked = begin <= end  # otherwise a hole has joined two lines inside the number
    elif (first := _FIRST_THREAD.match(line)) and first.group(1) != first.group(2):
        log.has_remains = True
    elif not _take_record(line, log):
        log = _take_failure(line, log, logs)
    log.last_line = line
    log.is_after_check = bool(_THREAD_DONE.match(line)) or (log.is_after_check and not line)
    return log


def _take_frame(frame: Frame, log: _Log) -> None:
    if log.head:
        log.frames.append(frame)
    elif not log.last_line or _PID.match(log.last_line):
        # Otherwise the program has printed a stack, or it is that of a thread in the list.
        log.has_remains = log.has_remains or not _THREADS.match(log.last_line)


def _take_record(line: str, log: _Log) -> bool:
    """Whether the line is one of a report."""
    if head := _HEAD.search(line):
        log.head = (_KINDS[head.group(1)], int(head.group(2)), int(head.group(3)))
    elif total := _SUMMARY.search(line):
        _sum(log, int(total.group(1)), int(total.group(2)))
    elif line.startswith("Omitting "):
        log.omitted = True
    elif line.strip() == _TABLE:
        log.has_content = True
    elif log.is_after_check and (_SEPARATOR.match(line) or _END_OF_SUMMARY.search(line)):
        log.has_begun = True
    elif _REMAINS.search(line):
        log.has_remains = True
    else:
        return False
    return True


def _begin_report(log: _Log) -> None:
    """Puts aside what this process has reported before."""
    if log.is_in_report or log.leaks:
        former = _Log(log.pid, log.leaks, is_in_report=True, is_summed=log.is_summed)
        former.problems, former.was_checked = log.problems, log.was_checked
        log.former.append(former)
        log.leaks, log.problems = [], []
    log.is_in_report, log.is_summed, log.omitted, log.has_content = True, False, False, True
    log.has_begun = False


def _other_runs(log: _Log) -> list[_Log]:
    """Earlier reports under this process id that the next one does not repeat."""
    reports = [*log.former, log]
    return [
        former
        for former, following in pairwise(reports)
        if not (former.is_summed and _repeats(following, former))
    ]


def _repeats(following: _Log, former: _Log) -> bool:
    """Whether every leak of ``former`` is in ``following`` as well, as it would be in one process.

    Addresses are drawn anew for each process, so two runs have hardly a stack in common.
    """
    later: Counter[tuple[int, ...]] = Counter()
    for leak in following.leaks:
        later[tuple(frame.address for frame in leak.stack)] += leak.blocks
    earlier: Counter[tuple[int, ...]] = Counter()
    for leak in former.leaks:
        earlier[tuple(frame.address for frame in leak.stack)] += leak.blocks
    return earlier <= later


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
        if mark not in line:
            continue
        if pid := _PID.search(line):
            log = _switch(int(pid.group(1)), log, logs)
        log.has_content = True
        if mark == _OTHER_ERROR:
            why = f"{why}: {line.partition(mark)[2][:_LONGEST_DETAIL]}"
        if len(log.failures) < MOST_FAILURES:
            log.failures[why] = None
        break
    return log


def _close_record(log: _Log) -> None:
    if log.head:
        kind, size_bytes, objects = log.head
        log.leaks.append(Leak(kind, size_bytes, objects, mark_inlined(log.frames), log.pid))
    log.head, log.frames = None, []


def _sum(log: _Log, size_bytes: int, objects: int) -> None:
    """Compares the records with the summary; what was omitted becomes a leak without a stack."""
    log.is_summed, log.has_content = True, True
    seen_bytes = sum(leak.size_bytes for leak in log.leaks)
    seen_objects = sum(leak.blocks for leak in log.leaks)
    if log.omitted:
        missing = size_bytes - seen_bytes
        if missing > 0:
            blocks = max(1, objects - seen_objects)
            log.leaks.append(Leak(LeakKind.DEFINITELY_LOST, missing, blocks, (), log.pid))
    elif (seen_bytes, seen_objects) != (size_bytes, objects) or not objects:
        log.problems.append(
            f"leak records are missing: the summary says {size_bytes} bytes in {objects} blocks, "
            f"the records {seen_bytes} in {seen_objects}"
        )


def _frame(line: str) -> Frame | None:
    if line.startswith("FRAME"):
        return _tabbed(line.split("\t"))
    match = _STACK_LINE.match(line)
    return _described(int(match.group(1), 16), match.group(2)) if match else None


def _tabbed(fields: list[str]) -> Frame | None:
    """A line in the format that our plan asks for; ``None`` for one that was cut off."""
    if len(fields) != _TABBED_FIELDS:
        return None
    _, _, address, module, offset, function, file, line, _ = fields
    pc, place = _hexadecimal(address), _hexadecimal(offset)
    if pc is None or place is None:
        return None
    frame = Frame(_word(function), _word(file), line_number(line), _word(module), pc)
    return frame if frame.module is None else replace(frame, offset=place)


def _word(text: str) -> str | None:
    """What the runtime has found; ``None`` for the words that it writes where it found nothing."""
    return None if text in _NOTHING else text


def _described(address: int, text: str) -> Frame:
    """A line in the default format, behind its address.

    ``in FN FILE:LINE[:COL]``, ``in FN (MODULE+0xOFF)`` or `` (MODULE+0xOFF)``; a build id may
    follow.
    """
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
    """``in FN`` and ``MODULE+0xOFF``.

    Either may hold parentheses, but only a path begins with a slash.
    """
    at = text.find("(/")
    if at < 0:
        at = text.rfind("(")
    return text[:at].strip(), text[at + 1 : -1]


def _hexadecimal(digits: str) -> int | None:
    try:
        return int(digits, 16) if len(digits) <= _LONGEST_ADDRESS else None
    except ValueError:
        return None


def _source(text: str) -> tuple[str, str | None, int | None]:
    """Function, file and line; spaces may be in each of the first two."""
    starts = [at for at in (text.find(" /"), text.find(" ../"), text.find(" ./")) if at > 0]
    end = min(starts) if starts else _function_length(text)
    function, place = text[:end], text[end + 1 :]
    if not place:
        return text, None, None
    file, *numbers = place.split(":")
    for number in numbers:
        if line := line_number(number):
            return function, file, line
    return function, file, None


def _function_length(text: str) -> int:
    """Where the function ends: behind its parameters, or at the first space if it has none.

    C shows no parameters.
    """
    depth = word = 0
    for index, char in enumerate(text):
        if char == " " and depth <= 0:
            if text[index - 1] == ")" and "(" in text[word + 1 : index]:
                return index + _qualifier_length(text[index:])
            word = index + 1
        depth += (char in "<({") - (char in ">)}")
    return text.find(" ") if " " in text else len(text)


def _qualifier_length(text: str) -> int:
    """Characters of a member function's qualifier at the beginning of ``text``, its space left."""
    for qualifier in (" const ", " & ", " && "):
        if text.startswith(qualifier):
            return len(qualifier) - 1
    return 0


def _recovered(logs: list[_Log]) -> Report:
    leaks: list[Leak] = []
    processes: list[Process] = []
    problems: list[str] = []
    for log in logs:
        reason = _reason(log)
        leaks.extend(log.leaks)
        open_end = _OPEN_END if log.is_open and not log.is_summed else ""
        processes.append(Process(log.pid, is_complete=not reason, reason=reason, open_end=open_end))
        problems.extend(log.problems)
    return Report("sanitizer", tuple(leaks), tuple(processes), problems=tuple(problems))


def _reason(log: _Log) -> str:
    """Why this process's check is not proved to be whole; empty when it is."""
    if log.failures:
        return "; ".join(log.failures)
    if log.is_in_report and not log.is_summed:
        return "the report ends before its SUMMARY line (cut off, or the program was killed)"
    if (log.has_remains or log.has_begun or log.head) and not log.is_summed:
        return "parts of a leak report are in it whose beginning or end is lost"
    if log.was_checked and not log.is_summed and log.is_cut:
        return "the log ends where a report may have begun (cut off, or the program was killed)"
    if not log.was_checked and not log.is_summed:
        return (
            "nothing in it shows that a leak check was made "
            "(run with LSAN_OPTIONS=log_threads=1 ASAN_OPTIONS=atexit=1 for the proof)"
        )
    return ""
