"""Reads valgrind's text log, line by line, several processes and several runs in one file.

The lines are those of memcheck's manual, "Memory leak detection": ``==PID==`` before each, a record
per loss, a LEAK SUMMARY at the end of each leak check. Only the ERROR SUMMARY, the last line of
all, proves that the check at exit is whole; with ``-q`` there is none, so such a log shows leaks
but never proves that there are no more.

A program may write into the same file, and its output need not end with a line feed, so the mark is
looked for in the whole line. What begins after the ERROR SUMMARY of all processes is another run,
which may have the same process ids: in a container every first process is 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Process, Report
from pytest_leakguard.core.text import counted
from pytest_leakguard.programs.tools import valgrind_errors
from pytest_leakguard.programs.tools.base import (
    MOST_PROCESSES,
    line_number,
    lines,
    mark_inlined,
    whole,
)

_MARK = re.compile(r"==([0-9]{1,10})==(?: |$)")
_HEADER = re.compile(r"^([A-Z][\w-]{2,20}), an? [a-z -]{3,60}|^Nulgrind, the minimal Valgrind tool")
_MEMCHECK = "Memcheck, a memory error detector"
_OWN_FAILURE = re.compile(r"(?:^|\s)(?:valgrind|vex): +(.{1,200})")
"""valgrind's words about itself, which no process id stands before."""
_OF_XML = re.compile(r"</(?:valgrindoutput|error|xwhat|leakedbytes)>|<kind>Leak_")
_CONTEXT = re.compile(r"^[0-9]+ errors in context [0-9]+ of [0-9]+:")
_NOTHING_LOST = "All heap blocks were freed"
_NO_CHECK = "For a detailed leak analysis, rerun with: --leak-check=full"
_SUMMED = 4
"""Lines of a LEAK SUMMARY that count kinds of leaks; one more counts what was suppressed."""
_NUMBER = r"([0-9,]{1,25})"
_DELTA = r"(?: \([+-][0-9,]{1,25}\))?"
_HEAD = re.compile(
    rf"^{_NUMBER}{_DELTA} (?:\({_NUMBER}{_DELTA} direct, {_NUMBER}{_DELTA} indirect\) )?"
    rf"bytes in {_NUMBER}{_DELTA} blocks are "
    r"(definitely lost|indirectly lost|possibly lost|still reachable) in (?:new )?loss record"
)
_FRAME = re.compile(r"^ {2,}(?:at|by) 0x([0-9A-Fa-f]{1,16}): (.*)$")
_TOTAL = re.compile(
    r"^ +(definitely lost|indirectly lost|possibly lost|still reachable): "
    rf"{_NUMBER}{_DELTA} bytes in {_NUMBER}{_DELTA} blocks"
)
_SUPPRESSED = re.compile(rf"^ +suppressed: {_NUMBER}{_DELTA} bytes in ")
_IN_USE = re.compile(rf"^ +in use at exit: {_NUMBER} bytes in {_NUMBER} blocks")
_END = re.compile(
    r"^ERROR SUMMARY: [0-9]+ errors from ([0-9]+) contexts \(suppressed: [0-9]+ from [0-9]+\)"
)
_KINDS = {kind.value.replace("_", " "): kind for kind in list(LeakKind)[:4]}
LONGEST_COUNT = 20
"""Digits of a number of errors; a longer one is damage, and Python refuses to read endless ones."""


@dataclass(slots=True)
class _Log:
    """What one process has written so far."""

    pid: int
    ppid: int = 0
    command: str = ""
    version: str = ""
    tool: str = ""
    leaks: list[Leak] = field(default_factory=list)
    hanging_bytes: list[int] = field(default_factory=list)
    """Per leak: bytes lost through it; they have records of their own only when those are shown."""
    frames: list[Frame] = field(default_factory=list)
    head: tuple[LeakKind, int, int, int] | None = None
    totals: dict[LeakKind, tuple[int, int]] = field(default_factory=dict)
    in_use_bytes: int = 0
    suppressed_bytes: int = 0
    stacks: int = 0
    """Stacks of any kind of error; a log that counts errors and shows none was damaged."""
    contexts: int = 0
    """Different errors that its ERROR SUMMARY counts."""
    saw_summary: bool = False
    was_freed: bool = False
    """The line instead of a LEAK SUMMARY that says that nothing is left."""
    was_not_asked: bool = False
    """``--leak-check=no``."""
    is_at_exit: bool = False
    """Its HEAP SUMMARY, with which the check at exit begins, was seen."""
    has_ended: bool = False
    """Its ERROR SUMMARY, the last line of all, was seen."""
    is_repeating: bool = False
    """After it ``-s`` shows the errors again."""
    is_complete: bool = False
    signal: int | None = None
    other: str = ""
    """First line of an error that is no leak of memory, whose stack follows."""
    faults: dict[str, None] = field(default_factory=dict)
    has_unset: bool = False
    descriptors: list[tuple[Frame, ...]] = field(default_factory=list)
    """Where each was opened that was still open at the end."""


class _Runs:
    """The processes of each run in one file, in the order in which they began."""

    def __init__(self) -> None:
        self.runs: list[dict[int, _Log]] = []

    def count(self) -> int:
        """How many processes there are."""
        return sum(map(len, self.runs))

    def knows(self, pid: int) -> bool:
        """Whether a process with this id has written before."""
        return any(pid in run for run in self.runs)

    def log_of(self, pid: int, line: str) -> _Log:
        """Where ``line`` belongs: the last run that knows ``pid``, or one that begins with it."""
        run = next((run for run in reversed(self.runs) if pid in run), None)
        if run is None:
            return self._first_line_of(pid, line)
        log = run[pid]
        if _begins_anew(line, log):
            # Another run of its own, also where other processes of the former have not ended.
            self.runs.append({pid: _Log(pid)})
            return self.runs[-1][pid]
        return log

    def _first_line_of(self, pid: int, line: str) -> _Log:
        has_header = _HEADER.match(line) is not None
        if not self.runs or (has_header and all(log.has_ended for log in self.runs[-1].values())):
            self.runs.append({})
        return self.runs[-1].setdefault(pid, _Log(pid))


def _begins_anew(line: str, log: _Log) -> bool:
    """Whether ``line`` cannot belong to the run that ``log`` is of.

    A program that is replaced by exec writes another header without having ended.
    """
    is_header = _HEADER.match(line) is not None
    if log.has_ended:
        begins = line.startswith(("HEAP SUMMARY:", "LEAK SUMMARY:", _NOTHING_LOST))
        return is_header or begins or (_HEAD.match(line) is not None and not log.is_repeating)
    return is_header and log.is_at_exit


def parse(artifact: Path) -> Report:
    """The leaks of the last leak check of every process.

    Raises ``MalformedReport`` where the end of one is missing.
    """
    runs, failures = _Runs(), dict[str, None]()
    with artifact.open("rb") as stream:
        for text in lines(stream):
            if failure := _OWN_FAILURE.search(text):
                failures.setdefault(f"valgrind itself failed: {failure.group(1).strip()}")
            if _OF_XML.search(text):
                failures.setdefault("parts of a report in XML are in it whose beginning is lost")
            for pid, line in _marked(text.rstrip("\n"), runs):
                log = runs.log_of(pid, line)
                # A line that was cut in its middle does not end the record before it.
                if text.endswith("\n") or not log.head:
                    _take(line, log)
            if runs.count() > MOST_PROCESSES:
                why = f"more than {MOST_PROCESSES} processes in one log"
                raise MalformedReport(f"{artifact}: {why}", _reports(runs, ())[0])
    # Records that are still open are left out: their stacks may be cut off, so their names wrong.
    if not runs.runs:
        why = "; ".join(failures) or "no line of valgrind's in it"
        raise MalformedReport(f"{artifact}: {why}", Report("valgrind", problems=(why,)))
    reports = _reports(runs, tuple(failures)[:1])
    if damage := tuple(why for why in failures if why.startswith("parts")):
        reports[-1] = replace(reports[-1], problems=(*reports[-1].problems, *damage))
    return whole(artifact, reports)


def _marked(text: str, runs: _Runs) -> Iterator[tuple[int, str]]:
    """Each piece of a line that stands behind the mark of a process.

    The mark may follow a program's own output. Only at the start of a line it needs nothing else to
    be one.
    """
    at, pid = 0, None
    for mark in _MARK.finditer(text):
        number, line = int(mark.group(1)), text[mark.end() :]
        if mark.start() and not runs.knows(number) and not _is_own(line):
            continue
        if pid is not None:
            yield pid, text[at : mark.start()]
        at, pid = mark.end(), number
    if pid is not None:
        yield pid, text[at:]


def _is_own(line: str) -> bool:
    """Whether only valgrind writes such a line."""
    begins = line.startswith(("HEAP SUMMARY:", "LEAK SUMMARY:", "ERROR SUMMARY:", _NOTHING_LOST))
    return begins or any(pattern.match(line) for pattern in (_HEADER, _HEAD, _FRAME, _TOTAL))


def _take(line: str, log: _Log) -> None:
    if frame := _FRAME.match(line):
        _take_frame(frame, log)
        return
    _close_record(log)
    if head := _HEAD.match(line):
        if not log.is_repeating:
            _begin_record(head, log)
    elif total := _TOTAL.match(line):
        log.totals[_KINDS[total.group(1)]] = (_number(total.group(2)), _number(total.group(3)))
    elif line.startswith(("LEAK SUMMARY:", _NOTHING_LOST)):
        _begin(log)
        log.saw_summary, log.was_freed = True, line.startswith(_NOTHING_LOST)
    elif line.startswith("HEAP SUMMARY:"):
        _forget(log)  # the check at exit begins; earlier ones showed the same blocks
        log.saw_summary, log.is_at_exit = False, True
    elif line.startswith("ERROR SUMMARY:"):
        _end(line, log)
    elif _CONTEXT.match(line):
        log.is_repeating = log.has_ended
    elif not _begins_other(line, log):
        _take_header(line, log)


def _take_frame(frame: re.Match[str], log: _Log) -> None:
    log.stacks += 1
    if log.head or log.other:
        log.frames.append(_frame(int(frame.group(1), 16), frame.group(2)))


def _begins_other(line: str, log: _Log) -> bool:
    """Whether an error that is no leak of memory begins; one that is shown again is no new one."""
    if valgrind_errors.is_unset(line):
        log.has_unset = True
        return True
    if valgrind_errors.is_invalid(line) or valgrind_errors.OPEN_DESCRIPTOR.match(line):
        log.other = "" if log.is_repeating else line
        return True
    return False


def _begin_record(head: re.Match[str], log: _Log) -> None:
    _begin(log)
    direct = head.group(2) or head.group(1)
    log.head = (
        _KINDS[head.group(5)],
        _number(direct),
        _number(head.group(3) or "0"),
        _number(head.group(4)),
    )


def _end(line: str, log: _Log) -> None:
    end = _END.match(line)
    log.has_ended, log.is_repeating = True, False
    log.is_complete = log.is_at_exit and log.saw_summary and end is not None
    log.contexts = _number(end.group(1)[:LONGEST_COUNT]) if end else 0


def _begin(log: _Log) -> None:
    """A record after a summary belongs to a new leak check."""
    if log.saw_summary:
        _forget(log)
        log.totals.clear()
        log.saw_summary = log.was_freed = False


def _forget(log: _Log) -> None:
    log.leaks.clear()
    log.hanging_bytes.clear()


def _take_header(line: str, log: _Log) -> None:
    if header := _HEADER.match(line):
        _forget(log)  # after an exec the same pid begins anew
        log.totals.clear()
        log.saw_summary = log.was_freed = log.is_at_exit = log.is_complete = False
        log.tool = "" if line.startswith(_MEMCHECK) else header.group(1) or "Nulgrind"
    elif line.startswith("Command: "):
        log.command = line[9:]
    elif in_use := _IN_USE.match(line):
        log.in_use_bytes = _number(in_use.group(1))
    elif suppressed := _SUPPRESSED.match(line):
        log.suppressed_bytes = _number(suppressed.group(1))
    elif line.startswith(_NO_CHECK):
        log.was_not_asked = True
    elif parent := re.fullmatch(r"Parent PID: ([0-9]{1,10})", line):
        log.ppid = int(parent.group(1))
    elif line.startswith("Using Valgrind-"):
        log.version = line[15:55].split(" ", 1)[0]
    elif signal := re.match(
        r"^Process terminating with default action of signal ([0-9]{1,3})\b", line
    ):
        log.signal = int(signal.group(1))


def _close_record(log: _Log) -> None:
    if log.head:
        kind, direct, indirect, blocks = log.head
        log.leaks.append(Leak(kind, direct, blocks, mark_inlined(log.frames), log.pid))
        log.hanging_bytes.append(indirect)
    elif log.other:
        _close_other(log)
    log.head, log.frames, log.other = None, [], ""


def _close_other(log: _Log) -> None:
    """An error without a stack is a descriptor that was inherited, or damage."""
    stack = mark_inlined(log.frames)
    if valgrind_errors.OPEN_DESCRIPTOR.match(log.other):
        if stack:
            log.descriptors.append(stack)
    elif len(log.faults) < valgrind_errors.MOST_ERRORS:
        log.faults[valgrind_errors.described(log.other, stack)] = None


def _frame(address: int, text: str) -> Frame:
    """``NAME (FILE:LINE)``, ``NAME (in OBJECT)`` or ``???``; a name may itself hold parentheses."""
    name, _, place = text.rpartition(" (")
    if not place.endswith(")") or not name:
        return Frame(None if text.startswith("???") else text, address=address)
    function, place = (None if name == "???" else name), place[:-1]
    if place.startswith("in "):
        return Frame(function, module=place[3:], address=address)
    file, _, line = place.rpartition(":")
    return Frame(function, file or place, line_number(line), address=address)


def _number(text: str) -> int:
    return int(text.replace(",", "") or "0")


def _reports(runs: _Runs, failures: tuple[str, ...]) -> list[Report]:
    return [_report(logs, failures) for logs in runs.runs]


def _report(logs: dict[int, _Log], failures: tuple[str, ...]) -> Report:
    first_pid = next(iter(logs), 0)
    leaks: list[Leak] = []
    processes: list[Process] = []
    problems: list[str] = []
    for log in logs.values():
        leaks.extend(_leaks(log))
        processes.append(_process(log, first_pid, failures))
        problems.extend(_problems(log))
    return Report(
        tool="valgrind",
        leaks=tuple(leaks),
        processes=tuple(processes),
        tool_version=next((log.version for log in logs.values() if log.version), ""),
        problems=tuple(problems),
        errors=tuple(error for log in logs.values() for error in log.faults),
        notes=(valgrind_errors.UNINITIALISED,)
        if any(log.has_unset for log in logs.values())
        else (),
    )


def _process(log: _Log, first_pid: int, failures: tuple[str, ...]) -> Process:
    """A process without a header of its own was forked, from the first unless it names another."""
    is_fork = log.pid != first_pid and not log.command
    return Process(
        pid=log.pid,
        ppid=log.ppid or (first_pid if is_fork else 0),
        command=log.command,
        is_fork=is_fork,
        is_complete=log.is_complete and not log.tool,
        reason=_reason(log) if log.has_ended or not failures else failures[0],
        signal=log.signal,
    )


def _reason(log: _Log) -> str:
    if log.tool:
        return (
            f"valgrind ran its tool {log.tool.lower()}, which checks no leaks; use --tool=memcheck"
        )
    if log.is_complete:
        return ""
    if log.was_not_asked and not log.saw_summary:
        return "no leak check was asked for (--leak-check=no); use --leak-check=full"
    if not log.saw_summary:
        return (
            "no LEAK SUMMARY: the log ends before the leak check at exit, or valgrind ran with -q"
        )
    if not log.is_at_exit:
        return "only leak checks made during the run, none at exit"
    return "no ERROR SUMMARY: the log ends inside the leak check at exit"


def _leaks(log: _Log) -> list[Leak]:
    """The records, and what the summary counts beyond them as leaks without a stack."""
    shown = {leak.kind for leak in log.leaks}
    leaks = list(log.leaks)
    if LeakKind.INDIRECTLY_LOST not in shown:
        leaks = [
            replace(leak, size_bytes=leak.size_bytes + hanging)
            for leak, hanging in zip(leaks, log.hanging_bytes, strict=True)
        ]
    for kind, (size_bytes, blocks) in log.totals.items():
        is_inside_definite = kind is LeakKind.INDIRECTLY_LOST and any(log.hanging_bytes)
        if size_bytes and kind not in shown and not is_inside_definite:
            leaks.append(Leak(kind, size_bytes, blocks, (), log.pid))
    for stack in log.descriptors:
        leaks.append(Leak(LeakKind.FILE_DESCRIPTORS, 0, 1, stack, log.pid))
    return leaks


def _problems(log: _Log) -> list[str]:
    problems = []
    for kind, (size_bytes, _) in log.totals.items():
        shown = sum(leak.size_bytes for leak in log.leaks if leak.kind is kind)
        if 0 < shown < size_bytes:
            problems.append(
                f"leak records are missing: the summary says {size_bytes} bytes {kind.value}, "
                f"the records {shown}"
            )
    if not log.is_complete:
        return problems
    # What follows are signs of damage in a log that has all that a whole one ends with.
    if log.was_freed and (log.in_use_bytes or log.leaks):
        problems.append(
            f"it says that all blocks were freed, and that {log.in_use_bytes} bytes were in use"
        )
    if not log.was_freed and len(log.totals) < _SUMMED:
        problems.append("lines of the LEAK SUMMARY are missing")
    elif not log.was_freed and log.in_use_bytes and not (_summed_bytes(log) or log.leaks):
        problems.append(
            f"{log.in_use_bytes} bytes were in use at exit, and the LEAK SUMMARY has none of them"
        )
    if log.contexts and not log.stacks:
        errors = counted(log.contexts, "error")
        problems.append(f"its ERROR SUMMARY counts {errors}, and none is in the log")
    return problems


def _summed_bytes(log: _Log) -> int:
    return log.suppressed_bytes + sum(size_bytes for size_bytes, _ in log.totals.values())
