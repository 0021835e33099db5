"""Reads valgrind's text log, line by line, several processes in one file.

The lines are those of memcheck's manual, "Memory leak detection": ``==PID==`` before each, a record
per loss, a LEAK SUMMARY at the end of each leak check. Only the ERROR SUMMARY, the last line of
all, proves that the check at exit is whole; with ``-q`` there is none, so such a log shows leaks
but never proves that there are no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Process, Report
from pytest_leakguard.programs.tools import valgrind_errors
from pytest_leakguard.programs.tools.base import MOST_PROCESSES, line_number, lines, mark_inlined

_PREFIX = re.compile(r"^==([0-9]{1,10})== ?(.*)$")
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
_END = re.compile(
    r"^ERROR SUMMARY: [0-9]+ errors from [0-9]+ contexts \(suppressed: [0-9]+ from [0-9]+\)$"
)
_KINDS = {kind.value.replace("_", " "): kind for kind in list(LeakKind)[:4]}


@dataclass(slots=True)
class _Log:
    """What one process has written so far."""

    pid: int
    ppid: int = 0
    command: str = ""
    version: str = ""
    leaks: list[Leak] = field(default_factory=list)
    hanging_bytes: list[int] = field(default_factory=list)
    """Per leak: bytes lost through it; they have records of their own only when those are shown."""
    frames: list[Frame] = field(default_factory=list)
    head: tuple[LeakKind, int, int, int] | None = None
    totals: dict[LeakKind, tuple[int, int]] = field(default_factory=dict)
    saw_summary: bool = False
    is_at_exit: bool = False
    """Its HEAP SUMMARY, with which the check at exit begins, was seen."""
    is_complete: bool = False
    signal: int | None = None
    other: str = ""
    """First line of an error that is no leak of memory, whose stack follows."""
    faults: dict[str, None] = field(default_factory=dict)
    has_unset: bool = False
    descriptors: list[tuple[Frame, ...]] = field(default_factory=list)
    """Where each was opened that was still open at the end."""


def parse(artifact: Path) -> Report:
    """The leaks of the last leak check of every process.

    Raises ``MalformedReport`` where the end of one is missing.
    """
    logs: dict[int, _Log] = {}
    with artifact.open("rb") as stream:
        for text in lines(stream):
            match = _PREFIX.match(text.rstrip("\n"))
            if match:
                pid = int(match.group(1))
                log = logs.setdefault(pid, _Log(pid))
                # A line that was cut in its middle does not end the record before it.
                if text.endswith("\n") or not log.head:
                    _take(match.group(2), log)
            if len(logs) > MOST_PROCESSES:
                why = f"more than {MOST_PROCESSES} processes in one log"
                raise MalformedReport(f"{artifact}: {why}", _report(logs))
    # Records that are still open are left out: their stacks may be cut off, so their names wrong.
    report = _report(logs)
    reasons: list[str] = []
    for process in report.processes:
        if process.reason:
            reasons.append(f"process {process.pid}: {process.reason}")
    reasons.extend(report.problems)
    if not logs or reasons:
        why = "; ".join(reasons) or "no line of valgrind's in it"
        raise MalformedReport(f"{artifact}: {why}", report)
    return report


def _take(line: str, log: _Log) -> None:
    if frame := _FRAME.match(line):
        if log.head or log.other:
            log.frames.append(_frame(int(frame.group(1), 16), frame.group(2)))
        return
    _close_record(log)
    if head := _HEAD.match(line):
        _begin(log)
        direct = head.group(2) or head.group(1)
        log.head = (
            _KINDS[head.group(5)],
            _number(direct),
            _number(head.group(3) or "0"),
            _number(head.group(4)),
        )
    elif total := _TOTAL.match(line):
        log.totals[_KINDS[total.group(1)]] = (_number(total.group(2)), _number(total.group(3)))
    elif line.startswith(("LEAK SUMMARY:", "All heap blocks were freed")):
        _begin(log)
        log.saw_summary = True
    elif line.startswith("HEAP SUMMARY:"):
        _forget(log)  # the check at exit begins; earlier ones showed the same blocks
        log.saw_summary, log.is_at_exit = False, True
    elif valgrind_errors.is_invalid(line) or valgrind_errors.OPEN_DESCRIPTOR.match(line):
        log.other = line
    elif valgrind_errors.is_unset(line):
        log.has_unset = True
    elif line.startswith("ERROR SUMMARY:"):
        log.is_complete = log.is_at_exit and log.saw_summary and bool(_END.match(line))
    else:
        _take_header(line, log)


def _begin(log: _Log) -> None:
    """A record after a summary belongs to a new leak check."""
    if log.saw_summary:
        _forget(log)
        log.totals.clear()
        log.saw_summary = False


def _forget(log: _Log) -> None:
    log.leaks.clear()
    log.hanging_bytes.clear()


def _take_header(line: str, log: _Log) -> None:
    if line.startswith("Memcheck, a memory error detector"):
        _forget(log)  # after an exec the same pid begins anew
        log.totals.clear()
        log.saw_summary = log.is_at_exit = log.is_complete = False
    elif line.startswith("Command: "):
        log.command = line[9:]
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


def _report(logs: dict[int, _Log]) -> Report:
    first_pid = next(iter(logs), 0)
    leaks: list[Leak] = []
    processes: list[Process] = []
    problems: list[str] = []
    for log in logs.values():
        leaks.extend(_leaks(log))
        processes.append(_process(log, first_pid))
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


def _process(log: _Log, first_pid: int) -> Process:
    """A process without a header of its own was forked, from the first unless it names another."""
    is_fork = log.pid != first_pid and not log.command
    return Process(
        pid=log.pid,
        ppid=log.ppid or (first_pid if is_fork else 0),
        command=log.command,
        is_fork=is_fork,
        is_complete=log.is_complete,
        reason=_reason(log),
        signal=log.signal,
    )


def _reason(log: _Log) -> str:
    if log.is_complete:
        return ""
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
    return problems
