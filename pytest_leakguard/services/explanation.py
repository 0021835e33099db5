"""Asks the agents in a service for the line and the holder of a leak that is confirmed.

The loop goes on meanwhile, by windows of requests, at most as many again as it has taken so far.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.checks import Check, Diagnosis
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.explain.in_service import PACE, WINDOWS
from pytest_leakguard.explain.references import root_of
from pytest_leakguard.processes import tree
from pytest_leakguard.services.load import LoadCommand, RequestFailed, Work
from pytest_leakguard.services.timeline import Timeline

_LONGEST_WINDOW = 200
"""Upper limit of the requests in a window; a leak in one request of a hundred is then in each."""
_SHORTEST_WINDOW = 10
"""Least number of requests in a window."""
_ANSWER_S = 60.0
"""Upper limit of the time that an agent may take between two windows, in seconds; looking through
a heap of millions of objects takes some."""
_LEAST_SHARE = 0.25
"""Least part of the growth that a line has to leave to be its cause; the rest may be what the
allocator or compiled code adds, while lines that leave less are chance."""
_GROWING_SHARE = 0.05
"""Least growth of a process that is asked, as a share of that of the one that grows most."""
_SAME_PACE = 0.2
"""A container that grows as fast as a counter, to this share, holds what the counter counts."""
_WHOLE = 0.1
"""A pace so near to a whole number is that number; a window may cut a request in two."""
_MOST_PROCESSES = 4
"""Upper limit of the processes that a finding names."""
_COMMAND = 80
"""Upper limit of what is told of a command, in characters."""
_STEP = "mend the line that the finding names"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a process leaves what it leaves, and what keeps it alive."""

    stack: tuple[Frame, ...] = ()
    """The innermost call of the service's own code first."""
    names: tuple[str, ...] = ()
    """What distinguishes causes, without lines."""
    holders: tuple[str, ...] = ()
    held_by: str = ""
    details: tuple[str, ...] = ()
    bytes_per_request: float = 0.0
    entries_per_request: float = 0.0
    processes: tuple[str, ...] = ()
    """Which processes said so."""
    kind: str = ""
    """Of a line that opens something: ``file``, ``socket`` or ``child``."""
    path: str = ""
    """Of the file that the line opens."""


def explained(
    check: Check, work: Work, folder: Path | None, pids: Iterable[int], done: int, batches: int
) -> Check:
    """Return it with a site and holders for what leaks, where the service's agents can tell."""
    if folder is None or not any(finding.rate for finding in check.findings):
        return check
    window = min(_LONGEST_WINDOW, max(_SHORTEST_WINDOW, done // WINDOWS))
    if isinstance(work, LoadCommand):
        window = max(1, done // max(1, batches))
    callers = list(_callers(folder, pids, window))
    try:
        _drive(callers, work, done, window)
        found = [caller.explanation() for caller in callers]
    except RequestFailed as failed:
        why = f"the line could not be looked for, as requests failed meanwhile: {failed}"
        return replace(check, notes=(*check.notes, why))
    finally:
        work.close()
        for caller in callers:
            caller.close()
    known = _together(one for one in found if one is not None)
    opened = _together(one for caller in callers for one in caller.opened)
    return _with_causes(check, known, opened, is_one_of_many=len(callers) > 1)


def _together(known: Iterable[Explanation]) -> list[Explanation]:
    """The causes, what leaves most first; each process serves a part of the requests."""
    together: dict[tuple[tuple[str, ...], str, str, str], Explanation] = {}
    for one in known:
        key = one.names, root_of(one.holders), one.kind, one.path
        before = together.get(key)
        together[key] = one if before is None else _added(before, one)
    return sorted(
        together.values(),
        key=lambda one: (-one.bytes_per_request, -one.entries_per_request, one.processes),
    )


def _added(first: Explanation, second: Explanation) -> Explanation:
    larger = max(first, second, key=lambda one: one.bytes_per_request)
    return replace(
        larger,
        bytes_per_request=first.bytes_per_request + second.bytes_per_request,
        entries_per_request=first.entries_per_request + second.entries_per_request,
        processes=(*first.processes, *second.processes),
    )


def pace_of(per_request: float) -> str:
    """``+1 item per request``, ``+1 item in 100 requests``."""
    if 0 < per_request < 1 - _WHOLE:
        return f"+1 item in {round(1 / per_request):,} requests"
    is_whole = abs(per_request - round(per_request)) <= _WHOLE * per_request
    number = f"{round(per_request)}" if is_whole else f"{per_request:.3g}"
    return f"+{number} {'item' if number == '1' else 'items'} per request"


def growing(timeline: Timeline, check: Check, pids: Iterable[int]) -> list[int]:
    """Of these processes those that grow: asking the others takes time and says nothing."""
    metrics = {finding.rate.metric for finding in check.findings if finding.rate}
    gained: dict[str, dict[int, float]] = {metric: {} for metric in metrics}
    for (pid, _), worker in timeline.workers.items():
        for metric in metrics:
            known = [value for value in worker.series.get(metric, ()) if value is not None]
            if known:
                gained[metric][pid] = known[-1] - known[0]
    left_out: set[int] = set()
    for by_pid in gained.values():
        most = max(by_pid.values(), default=0.0)
        left_out |= {pid for pid, rise in by_pid.items() if rise < _GROWING_SHARE * most}
    for by_pid in gained.values():
        most = max(by_pid.values(), default=0.0)
        left_out -= {pid for pid, rise in by_pid.items() if rise >= _GROWING_SHARE * most}
    return [pid for pid in pids if pid not in left_out]


@dataclass(slots=True)
class _Caller:
    """The conversation with the agent of one process."""

    pid: int
    socket: socket.socket
    received: bytes = b""
    is_over: bool = False
    answers: list[str] = field(default_factory=list)
    opened: list[Explanation] = field(default_factory=list)
    """Lines that have opened something."""

    def line(self) -> str:
        """Return what it says next; empty when nothing comes any more."""
        while b"\n" not in self.received and not self.is_over:
            try:
                part = self.socket.recv(1 << 16)
            except OSError:
                part = b""
            self.is_over = not part
            self.received += part
        text, _, self.received = self.received.partition(b"\n")
        return text.decode("utf-8", "replace")

    def waits(self) -> bool:
        """Return whether it waits for requests; what else it says is its answer."""
        if self.answers or self.is_over:
            return False
        text = self.line()
        if text != "window":
            self.answers.append(text)
        return text == "window"

    def go_on(self) -> None:
        """Say that the requests were served."""
        with suppress(OSError):
            self.socket.sendall(b"done\n")

    def explanation(self) -> Explanation | None:
        """Return what it has found; ``None`` for nothing."""
        text = self.answers[0] if self.answers else self.line()
        try:
            answer = json.loads(text)
        except ValueError:
            return None
        if not isinstance(answer, dict) or not answer:
            return None
        for one in answer.get("opened", ()):
            call = _read({"holders": (), "held_by": "", **one}, self.pid)
            if call is not None:
                self.opened.append(replace(call, kind=str(one["kind"]), path=str(one["path"])))
        return _read(answer, self.pid)

    def close(self) -> None:
        """End the conversation; an agent that still waits gives up then."""
        self.socket.close()


def _callers(folder: Path, pids: Iterable[int], window: int) -> Iterable[_Caller]:
    for pid in pids:
        if not (folder / f"{pid}.sock").exists():
            continue
        caller = socket.socket(socket.AF_UNIX)
        caller.settimeout(_ANSWER_S)
        try:
            caller.connect(f"{folder}/{pid}.sock")
            caller.sendall(b"explain %d\n" % window)
        except OSError:  # it has ended
            caller.close()
            continue
        yield _Caller(pid, caller)


def _drive(callers: list[_Caller], work: Work, done: int, window: int) -> None:
    """Send a window of requests whenever all of them wait for one."""
    for _ in range(WINDOWS):
        waiting = [caller for caller in callers if caller.waits()]
        if not waiting:
            return
        done += work.run(done, window)
        for caller in waiting:
            caller.go_on()


def _read(answer: Mapping[str, Any], pid: int) -> Explanation | None:
    """Read an agent's answer; it is somebody else's process, so nothing in it is taken on trust."""
    try:
        stack = tuple(
            Frame(str(function), str(file), int(line)) for function, file, line in answer["stack"]
        )
        return Explanation(
            stack=stack,
            names=tuple(map(str, answer["names"])),
            holders=tuple(map(str, answer["holders"])),
            held_by=str(answer["held_by"]),
            details=tuple(map(str, answer["details"])),
            bytes_per_request=float(answer["bytes"]),
            entries_per_request=float(answer["entries"]),
            processes=(f"process {pid} ({tree.command(pid)[:_COMMAND]})",),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _with_causes(
    check: Check, causes: list[Explanation], opened: list[Explanation], is_one_of_many: bool
) -> Check:
    """Return it with line and holder of each finding that they account for."""
    findings: list[Finding] = []
    for finding in check.findings:
        cause = _cause_of(finding, causes, opened)
        findings.append(_with_site(finding, cause, is_one_of_many) if cause else finding)
    if findings == list(check.findings):
        return check
    is_first_known = bool(findings[0].stack or findings[0].holders)
    diagnosis = check.diagnosis
    if diagnosis is not None and is_first_known:
        diagnosis = _with_step(diagnosis)
    return replace(check, findings=tuple(findings), diagnosis=diagnosis)


def _cause_of(
    finding: Finding, causes: list[Explanation], opened: list[Explanation]
) -> Explanation | None:
    """Return what accounts for this growth; of what is opened the line that opens it."""
    rate = finding.rate
    if rate is None:
        return None
    first = causes[0] if causes else None
    if rate.unit == "bytes":
        is_enough = first and first.bytes_per_request >= _LEAST_SHARE * rate.per_iteration
        return first if is_enough else None
    holding = first if first and _is_as_fast(first, rate.per_iteration) else None
    for call in opened:
        is_named = any(_names(detail, call) for detail in finding.details)
        if is_named and call.stack and _is_as_fast(call, rate.per_iteration):
            holders = holding.holders if holding else ()
            held_by = holding.held_by if holding else ""
            return replace(call, holders=holders, held_by=held_by)
    return holding


def _is_as_fast(cause: Explanation, per_request: float) -> bool:
    return abs(cause.entries_per_request - per_request) <= _SAME_PACE * per_request


def _names(detail: str, call: Explanation) -> bool:
    """Return whether what a process has gained is what the call opens."""
    _, _, gained = detail.partition(" x ")
    if call.kind == "file":
        return bool(call.path) and gained.startswith(f"{call.path} in process")
    if call.kind == "socket":
        return gained.startswith(("tcp ", "udp ", "unix ", "socket "))
    return gained.startswith("child ")


def _with_site(finding: Finding, cause: Explanation, is_one_of_many: bool) -> Finding:
    own = cause.stack[0] if cause.stack else None
    root = (root_of(cause.holders),) if cause.holders else ()
    names = (*cause.names, *root)
    found_in = ", ".join(cause.processes[:_MOST_PROCESSES])
    where = (f"found in {found_in}",) if is_one_of_many else ()
    pace = pace_of(cause.entries_per_request)
    return replace(
        finding,
        fingerprint=fingerprint.of_names(finding.kind.value, names),
        former=(*finding.former, finding.fingerprint),
        stack=cause.stack,
        holders=cause.holders,
        held_by=cause.held_by.replace(PACE, pace),
        sites=(f"{own.file}:{own.line}",) if own else (),
        details=(*finding.details, *cause.details, *where),
    )


def _with_step(diagnosis: Diagnosis) -> Diagnosis:
    changed = []
    for hypothesis in diagnosis.hypotheses:
        is_leak = hypothesis.letter == "A"
        changed.append(replace(hypothesis, next_step=_STEP) if is_leak else hypothesis)
    return replace(diagnosis, hypotheses=tuple(changed))
