"""A service under test: started, driven with requests, judged, stopped.

What ``leakguard.serve`` hands out.
"""

from __future__ import annotations

import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import LeakguardError, TargetNotStarted, ToolMissing
from pytest_leakguard.core.leaks import Finding, LeakKind
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.diagnosis import Production
from pytest_leakguard.growth.stopping import FULL, Preset
from pytest_leakguard.processes import memory
from pytest_leakguard.processes.holdings import holdings
from pytest_leakguard.programs import binary
from pytest_leakguard.programs import check as pipeline
from pytest_leakguard.programs.tools.base import Backend
from pytest_leakguard.services import check as service_check
from pytest_leakguard.services import explanation, launch, load, resources
from pytest_leakguard.services import measure as measurement
from pytest_leakguard.services.client import Verify
from pytest_leakguard.services.launch import Service, ServiceTarget
from pytest_leakguard.services.lines import one_per_line
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.load import Sending
from pytest_leakguard.services.timeline import Timeline
from pytest_leakguard.verdict import Judged

UNDER_TOOL = 200
"""Requests to send where the service runs under a tool and the caller names no number; tools are
slow, and one request per leak would do."""
_BATCH_UNDER_TOOL = 50
"""Requests that are sent at once under a tool."""
_OUTPUT_TAIL = 4000
"""Upper limit of the service's output that a check keeps, in characters; the last of it."""
_STOPS_FOR_A_REPORT_S = 30.0
"""Time between two stop signals under a tool, in seconds; it writes its report when the service
ends, and valgrind's leak check of a large one takes its time."""

_ENDS_BY_ITSELF = (
    "the service died of the signal that was to stop it; "
    "so that the tool can write its report, it has to end by itself on SIGTERM: "
    "with a handler after which main returns or exit is called"
)

Finish = Callable[[Check], Judged]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Context:
    """What a served service needs of the test it is in."""

    settings: Settings
    next_id: Callable[[], str]
    finish: Finish
    """Records a check and fails the test when it must."""
    progress: Progress = lambda text: None
    """Shows how far a loop is; nothing when it is over."""


_MOST_PIDS = 5
"""Processes that one reason names."""
_NEVER_DRIVEN = (
    "the service was started and never driven, so nothing was measured: call service.loop(...)"
)


class Served:
    """A service that answers. ``url``, ``port`` and ``pid`` are what a test's own requests need."""

    def __init__(
        self, running: Service, heap: HeapReader, context: Context, blank: Check, limit_bytes: int
    ) -> None:
        self._service, self._heap, self._context, self._blank = running, heap, context, blank
        self._limit_bytes = limit_bytes
        self._verify: Verify = True
        self._is_under_tool = bool(blank.tool)
        self.driven = 0
        self.has_looped = False

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return self._service.url

    @property
    def port(self) -> int:
        return self._service.port

    @property
    def pid(self) -> int:
        """The first process; its children are measured too."""
        return self._service.pid

    @property
    def output(self) -> str:
        """What the service wrote so far."""
        return self._service.output()

    def loop(
        self,
        work: object,
        requests: int | None = None,
        *,
        concurrency: int = 1,
        rate: float = 0.0,
        memory_limit_bytes: int = 0,
        timeout_s: float | None = None,
        budget_bytes: float = 0.0,
        stops_early: bool = True,
        sending: Sending = load.NOTHING_MORE,
    ) -> Judged | None:
        """Drive the service and judge its growth.

        ``None`` under a tool, whose answer comes when the service has stopped.
        """
        self.has_looped = True
        if sending.verify is True:
            sending = replace(sending, verify=self._verify)
        planned = load.plan(work, self.url, concurrency, self._placed, sending)
        if self._is_under_tool:
            self._exercise(planned, requests or UNDER_TOOL)
            return None
        preset = measurement.preset_for(planned, requests)
        if not stops_early:
            preset = replace(FULL, max_requests=preset.max_requests, is_elastic=preset.is_elastic)
        started = time.monotonic()
        before = holdings(self._service.pids())
        timeline = measurement.measure(
            self._service,
            planned,
            preset,
            timeout_s or self._context.settings.timeout_s,
            self._heap,
            self._report,
        )
        self._context.progress("")
        if timeline.failure:
            timeline.failure = self._explained(timeline.failure)
        production = Production(rate, memory_limit_bytes or self._limit_bytes)
        blank = self._blank_of(planned)
        check = service_check.check_of(timeline, blank, production, budget_bytes)
        check = replace(check, problems=(*check.problems, *self._hidden()))
        check = resources.named(check, before, self._service.pids())
        if check.findings and not timeline.failure:
            self._context.progress("a leak is confirmed; looking for its line and its holder")
            pids = explanation.growing(timeline, check, self._service.pids())
            check = explanation.explained(check, planned, self._heap, pids, timeline)
            self._context.progress("")
        # With the search for the line, which takes longer than the verdict on a busy machine.
        return self._context.finish(replace(check, duration_s=round(time.monotonic() - started, 3)))

    def trust(self, verify: Verify) -> None:
        """Whose certificates request lines trust, where the loop says nothing else."""
        self._verify = verify

    def _placed(self, text: str) -> str:
        return text.replace("{port}", str(self.port)).replace("{url}", self.url)

    def _blank_of(self, planned: load.Work) -> Check:
        """Return the check of a loop before anything is known of its growth."""
        check_id = self._context.next_id()
        return replace(
            self._blank,
            id=check_id,
            notes=(*self._blank.notes, *self._service.notes, *_about(planned)),
            output=self.output[-_OUTPUT_TAIL:],
            reproduce=self._blank.reproduce or f"pytest --leakguard {shlex.quote(check_id)}",
        )

    def _exercise(self, planned: load.Work, requests: int) -> None:
        done = 0
        try:
            while done < requests:
                done += planned.run(done, min(_BATCH_UNDER_TOOL, requests - done))
        except load.RequestFailed as failed:
            check = replace(
                self._blank,
                id=self._context.next_id(),
                problems=(f"{self._explained(str(failed))} (after {done:,} requests)",),
                output=self.output[-_OUTPUT_TAIL:],
            )
            self._context.finish(check)
        finally:
            planned.close()
            self.driven += done

    def _hidden(self) -> tuple[str, ...]:
        """What could not be measured, since the processes belong to somebody else."""
        pids = memory.unreadable(self._service.pids())
        if not pids:
            return ()
        numbers = ", ".join(map(str, pids[:_MOST_PIDS]))
        return (
            f"the descriptors of process {numbers} may not be read, so nothing is known of them: "
            "run this as the service's own user or as root",
        )

    def _explained(self, failure: str) -> str:
        """Say why requests fail: mostly because the service is gone."""
        if not self._service.trouble():
            silence = self._service.silence()
            return f"{silence}; {failure}" if silence else failure
        death = self._service.death()
        return failure if failure.startswith(death) else f"{death}; {failure}"

    def _report(self, timeline: Timeline, preset: Preset) -> None:
        self._context.progress(measurement.line(timeline, preset))


def _about(planned: load.Work) -> tuple[str, ...]:
    if planned.is_fixed_set:
        return ()
    return (
        f"more than {thresholds.FIXED_REQUESTS} distinct requests, "
        "so a cache that still fills looks like a leak for longer: "
        "more requests are needed than with a fixed set",
    )


@contextmanager
def serve(
    target: ServiceTarget, context: Context, tool: str | None = None, live_heap: bool = True
) -> Iterator[Served]:
    """Start ``target``, hand it out once it is ready, and leave nothing of it behind.

    What keeps it from coming up is an inconclusive check, as is a tool that left no report.
    """
    blank = Check("", "service", "", expected_exit=None, command=target.argv)
    with ExitStack() as stack:
        heap = HeapReader(is_active=live_heap and tool is None)
        stack.callback(heap.close)
        problem: LeakguardError | None = None
        try:
            if tool is not None:
                yield from _serve_under(tool, target, context, blank, stack)
                return
            running = _start(target, heap)
        except (launch.ServiceNotReady, TargetNotStarted) as error:
            problem = error
        if problem is not None:  # out here, so that the failing test does not report it twice
            _fail(context, blank, problem)
        stack.callback(running.stop)
        served = Served(running, heap, context, blank, target.memory_limit_bytes or 0)
        served.trust(target.verify)
        yield served
        _demand_loop(served, context, blank)


def _start(target: ServiceTarget, heap: HeapReader) -> Service:
    """Start it with agents inside; without them where it does not come up so.

    A second thread is too much for some.
    """
    if not heap.is_active:
        return launch.start(target)
    added = heap.environment(target.argv, dict(target.env), target.cwd)
    try:
        return launch.start(replace(target, env=(*target.env, *added.items())))
    except launch.ServiceNotReady as refused:
        if not refused.has_ended:
            raise
        # When it does not start like this either, its own error is reported.
        running = launch.start(target)
        heap.is_active = False
        running.notes.append(f"no live heap: with an agent inside {refused}; started again without")
        return running


def _fail(context: Context, blank: Check, error: LeakguardError) -> NoReturn:
    output = error.output[-_OUTPUT_TAIL:] if isinstance(error, launch.ServiceNotReady) else ""
    context.finish(replace(blank, id=context.next_id(), problems=(str(error),), output=output))
    raise error  # only where a failing check does not end the test


def _serve_under(
    tool: str, target: ServiceTarget, context: Context, blank: Check, stack: ExitStack
) -> Iterator[Served]:
    """Run the same service under a tool; what leaks at its exit is judged when it has stopped."""
    limit_bytes = target.memory_limit_bytes
    program = Target(_found(target), target.cwd, target.env, target.lifetime_s, limit_bytes)
    absent: ToolMissing | None = None
    try:
        backend, notes = pipeline.choose(program, tool)
        program = backend.prepare(program)
    except ToolMissing as error:
        absent = error
    if absent is not None:  # out here, so that the failing test does not report it twice
        named = replace(blank, id=context.next_id(), tool=tool)
        context.finish(pipeline.missing(named, str(absent), context.settings))
        raise absent  # only where neither a failing check nor a skipped one ends the test
    workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leakguard-")))
    plan = backend.plan(program, workdir)
    # The tool's report is written while the service ends, which takes longer than usual.
    patient = tuple((number, _STOPS_FOR_A_REPORT_S) for number, _ in plan.stop_signals)
    running = launch.start(target, replace(plan, stop_signals=patient, scratch=workdir))
    stack.callback(running.stop)
    under_tool = replace(blank, tool=backend.name, notes=notes)
    served = Served(running, HeapReader(is_active=False), context, under_tool, 0)
    served.trust(target.verify)
    yield served
    check = _tool_check(backend, program, workdir, running, replace(blank, notes=notes), context)
    findings = tuple(
        _per_request(finding, served.driven) for finding in one_per_line(check.findings)
    )
    context.finish(replace(check, findings=findings))


def _per_request(finding: Finding, requests: int) -> Finding:
    """Return it without its weight in the verdict where it is an interpreter's own growth.

    Objects that average a few bytes per request are its free lists and interned strings.
    """
    least = thresholds.LEAST_PYTHON_BYTES * requests
    # Native leaks are exact, so that a single one counts.
    is_small = finding.kind is LeakKind.PYTHON_OBJECTS and finding.size_bytes < least
    return replace(finding, is_gating=finding.is_gating and not is_small)


def _found(target: ServiceTarget) -> tuple[str, ...]:
    """Return the command with its program looked up: tools for Python programs want a file."""
    path = binary.find(target.argv[0], target.cwd)
    return (str(path), *target.argv[1:]) if path else target.argv


def _tool_check(
    backend: Backend,
    program: Target,
    workdir: Path,
    running: Service,
    blank: Check,
    context: Context,
) -> Check:
    blank = replace(blank, id=context.next_id(), tool=backend.name)
    blank = replace(blank, reproduce=f"pytest --leakguard {shlex.quote(blank.id)}")
    try:
        status = running.stop()
    except LeakguardError as error:
        return replace(blank, problems=(str(error),))
    assert status is not None
    check = pipeline.conclude(backend, program, workdir, blank, context.settings, status)
    if check.problems and status.signal in (signal.SIGTERM, signal.SIGINT):
        return replace(check, problems=(*check.problems, _ENDS_BY_ITSELF))
    return check


@contextmanager
def attach(pid: int, context: Context, port: int = 0) -> Iterator[Served]:
    """Hand out a service that somebody else has started, and that goes on afterwards."""
    running = launch.attach(pid, port)
    blank = Check("", "service", "", expected_exit=None, command=(running.name,))
    served = Served(running, HeapReader(), context, blank, 0)
    yield served
    _demand_loop(served, context, blank)


def _demand_loop(served: Served, context: Context, blank: Check) -> None:
    """A service that was never driven was never measured."""
    if not served.has_looped:
        context.finish(replace(blank, id=context.next_id(), problems=(_NEVER_DRIVEN,)))
