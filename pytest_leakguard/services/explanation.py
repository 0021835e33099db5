"""Has the line and the holder of a leak found that is confirmed, while the service runs.

The loop goes on meanwhile, by windows of requests, at most as many again as it has taken so far.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.explain.in_service import WINDOWS
from pytest_leakguard.services import node_heap
from pytest_leakguard.services.causes import Explanation, of_process, with_causes
from pytest_leakguard.services.java_heap import JavaHeap
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.load import LoadCommand, RequestFailed, Work
from pytest_leakguard.services.native_calls import NativeCalls
from pytest_leakguard.services.timeline import Timeline

_LONGEST_WINDOW = 200
"""Upper limit of the requests in a window; a leak in one request of a hundred is then in each."""
_SHORTEST_WINDOW = 10
"""Least number of requests in a window."""
_ANSWER_S = 60.0
"""Upper limit of the time that an agent may take between two windows, in seconds; looking through
a heap of millions of objects takes some."""
_GROWING_SHARE = 0.05
"""Least growth of a process that is asked, as a share of that of the one that grows most."""


class Witness(Protocol):
    """Whoever can say what processes leave, from what it sees while the loop goes on."""

    def waits(self) -> bool:
        """Return whether it has a use for another window of requests."""

    def note(self) -> None:
        """Take note of what a window of requests has left."""

    def explanations(self, requests: int) -> Iterable[Explanation]:
        """Return what windows of so many requests each have left."""

    def close(self) -> None:
        """Leave the processes as they were."""


def explained(
    check: Check, work: Work, heap: HeapReader, pids: Iterable[int], timeline: Timeline
) -> Check:
    """Return it with a site and holders for what leaks, where anybody in the service can tell."""
    done, batches = timeline.done, len(timeline.requests) - 1
    if heap.directory is None or not any(finding.rate for finding in check.findings):
        return check
    # A buffer that doubles does so once more in as many requests again, and not in fewer.
    longest = done if timeline.is_in_steps else _LONGEST_WINDOW
    window = min(longest, max(_SHORTEST_WINDOW, done // WINDOWS))
    if isinstance(work, LoadCommand):
        window = max(1, done // max(1, batches))
    pids = list(pids)
    witnesses: list[Witness] = [*_callers(heap.directory, pids, window)]
    witnesses += [*NativeCalls.of(heap, pids), *JavaHeap.of(pids)]
    try:
        _drive(witnesses, work, done, window)
        found = [one for witness in witnesses for one in witness.explanations(window)]
    except RequestFailed as failed:
        why = f"the line could not be looked for, as requests failed meanwhile: {failed}"
        return replace(check, notes=(*check.notes, why))
    finally:
        work.close()
        for witness in witnesses:
            witness.close()
    return with_causes(check, found, is_one_of_many=len(pids) > 1)


def _drive(witnesses: list[Witness], work: Work, done: int, window: int) -> None:
    """Send a window of requests whenever all of them wait for one."""
    for _ in range(WINDOWS):
        waiting = [witness for witness in witnesses if witness.waits()]
        if not waiting:
            return
        done += work.run(done, window)
        for witness in waiting:
            witness.note()


def growing(timeline: Timeline, check: Check, pids: Iterable[int]) -> list[int]:
    """Of these processes those that grow: asking the others takes time and says nothing."""
    metrics = {finding.rate.metric for finding in check.findings if finding.rate}
    gained: dict[str, dict[int, float]] = {metric: {} for metric in metrics}
    for (pid, _), worker in timeline.workers.items():
        for metric in metrics:
            known = [value for value in worker.series.get(metric, ()) if value is not None]
            if known:  # what it gave back before it began to grow says nothing of the leak
                gained[metric][pid] = known[-1] - min(known)
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

    def note(self) -> None:
        """Say that the requests were served."""
        with suppress(OSError):
            self.socket.sendall(b"done\n")

    def explanations(self, requests: int) -> Iterable[Explanation]:
        """Return what it has found, and the lines that have opened something."""
        text = self.answers[0] if self.answers else self.line()
        try:
            answer = json.loads(text)
        except ValueError:
            return
        if not isinstance(answer, dict) or not answer:
            return
        if "snapshots" in answer:
            with suppress(KeyError, TypeError, ValueError):
                yield from node_heap.explanations(answer, self.pid, requests)
                yield from node_heap.opened(answer, self.pid, requests)
            return
        found = _read(answer, self.pid)
        if found is not None:
            yield found
        for one in answer.get("opened", ()):
            call = _read({"holders": (), "held_by": "", **one}, self.pid)
            if call is not None:
                yield replace(call, kind=str(one["kind"]), path=str(one["path"]))

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
            processes=(of_process(pid),),
        )
    except (KeyError, TypeError, ValueError):
        return None
