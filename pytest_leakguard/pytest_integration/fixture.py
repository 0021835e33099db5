"""What a test gets as ``leakguard``: it checks, records each check, and fails the test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_leakguard.core import settings as options
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.counters._cpython import calling_frame
from pytest_leakguard.explain.code_owner import frames_of
from pytest_leakguard.programs.cases import Case, check_case
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.reporters.terminal import failure_in_short
from pytest_leakguard.screening.loop import NO_HARNESS, Harness
from pytest_leakguard.screening.watch import WatchedBlock, Watches
from pytest_leakguard.verdict import Judged, Policy

if TYPE_CHECKING:  # services are some 80 modules, which freezegun would load for every clean suite
    from pytest_leakguard.services.launch import ServiceTarget
    from pytest_leakguard.services.load import Sending
    from pytest_leakguard.services.readiness import Ready
    from pytest_leakguard.services.session import Context, Served


class Leakguard:
    """The fixture. Every call measures once.

    Its answer is in the report whether or not the test fails.
    """

    def __init__(
        self,
        check_id: str,
        settings: Settings,
        record: Callable[[Check], Judged],
        policy: Policy,
        location: tuple[str, int] | None = None,
        progress: Callable[[str], None] = lambda text: None,
        harness: Callable[[], Harness] = lambda: NO_HARNESS,
        watches: Callable[[], Watches] = Watches,
    ) -> None:
        self._id, self._settings, self._record, self._policy = check_id, settings, record, policy
        self._location, self._progress = location, progress
        self._harness, self._watches = harness, watches
        self._watched: dict[int, tuple[WatchedBlock, float]] = {}
        """Blocks that this test has entered, and how much each may leave."""
        self._calls = 0

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        tool: str | None = None,
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        expected_exit: int | None = 0,
        timeout: float | None = None,
        kinds: str | Sequence[str] | None = None,
        memory_limit: int | str | None = None,
        suppressions: Sequence[str | os.PathLike[str]] = (),
        tool_args: Sequence[str] = (),
        follow_children: bool = True,
        follow: Sequence[str] = (),
        stdin: str | os.PathLike[str] | None = None,
    ) -> Judged:
        """Runs a program under ``tool``; fails the test on a new leak or an inconclusive check.

        ``argv`` is the program and its arguments; there is no shell. ``tool`` is ``valgrind``,
        ``sanitizer``, ``memray`` or ``auto``. ``expected_exit`` is the status the program must end
        with, minus the number for a signal, ``None`` for any. ``timeout`` is in seconds;
        ``follow`` are patterns of the programs that count, of all that it starts (default: all but
        those of the system); ``memory_limit`` in bytes or like ``"512 MiB"``, resident, whole
        process tree. Returns the check and its outcome.
        """
        if isinstance(argv, str | bytes):
            raise UsageProblem(
                f"argv must be a list such as [{argv!r}]; there is no shell to split a string"
            )
        target = Target(
            argv=tuple(os.fspath(part) for part in argv),
            cwd=Path(cwd) if cwd else None,
            env=tuple((env or {}).items()),
            timeout_s=timeout or self._settings.timeout_s,
            memory_limit_bytes=_bytes(memory_limit),
            follows_children=follow_children,
            follow=(follow,) if isinstance(follow, str) else tuple(follow),
            tool_args=tuple(tool_args),
            suppressions=tuple(Path(path).absolute() for path in suppressions),
            stdin=Path(stdin).absolute() if stdin else None,
        )
        settings = self._settings
        if kinds is not None:
            settings = replace(settings, kinds=_kinds(kinds))
        return self._finish(check_program(target, settings, self._next_id(), tool, expected_exit))

    def case(self, case: Case, tool: str | None = None) -> Judged:
        """Runs one case of CTest or GoogleTest; see ``pytest_leakguard.ctest`` and ``gtest``."""
        settings = self._settings
        if case.target is not None:
            patient = max(case.target.timeout_s, settings.timeout_s)
            case = replace(case, target=replace(case.target, timeout_s=patient))
        return self._finish(check_case(case, settings, self._next_id(), tool))

    def loop(
        self,
        work: Callable[[], object],
        iterations: int | None = None,
        *,
        budget: int | str | None = None,
        seconds: float | None = None,
    ) -> Judged:
        """Calls ``work`` repeatedly.

        Fails the test when it leaves something behind call after call.

        ``iterations`` calls without growth are clean (default 1,500); a unit that grows is called
        on until it is proved a leak or levels off, for at most ``seconds``. ``budget`` is growth
        per call that is no leak yet, in bytes or like ``"64 B"``. A coroutine function is run on
        one event loop for all calls. Returns the check.
        """
        from pytest_leakguard.screening.loop import check_loop

        budget_bytes = self._settings.budget_bytes
        if budget is not None:
            budget_bytes = options.size(str(budget))
        check = check_loop(
            work,
            self._next_id(),
            iterations=iterations,
            budget_bytes=budget_bytes,
            seconds=seconds or self._settings.confirm_s,
            sees_native=self._settings.native != "off",
            harness=self._harness(),
        )
        return self._finish(check)

    @contextmanager
    def watch(self, *, budget: int | str | None = None) -> Iterator[None]:
        """Fails the test at its end when the block under ``with`` leaves something allocated.

        Counted is what the block itself has allocated, in every thread, and what is alive at its
        end: Python objects and native memory to the byte, descriptors, threads, child processes,
        temporary files, tasks. ``budget`` is what it may leave, in bytes or like ``"64 B"``.

        A block that is entered once (or up to three times) leaks what piles up in a container that
        was there before, and what nothing refers to any more. What a running call still has, what
        is bound to a name, what imports and caches keep is no leak. Entered four times or more, in
        a loop or by parametrization, each entry is one run and only they decide: it leaks what
        every entry but the first has left, and what is still there.
        """
        budget_bytes = self._settings.budget_bytes
        if budget is not None:
            budget_bytes = options.size(str(budget))
        stack = frames_of(calling_frame().f_back)
        with self._watches().watch(stack) as block:
            yield
        self._watched[id(block)] = block, budget_bytes

    def finish(self) -> None:
        """Judges what the test has watched; fails it on a leak or an inconclusive check."""
        watched, self._watched = list(self._watched.values()), {}
        failures = []
        for block, budget_bytes in watched:
            blank = Check(self._next_id(), "test", "tracker", location=self._location)
            check = self._watches().check(block, blank, budget_bytes)
            judged = self._record(check)
            if judged.has_failed:
                failures.append(failure_in_short(judged, self._policy, self._settings.root))
        if failures:
            pytest.fail("\n".join(failures), pytrace=False)

    @contextmanager
    def serve(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        ready: Ready = None,
        port: int = 0,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        memory_limit: int | str | None = None,
        start_timeout: float = 30.0,
        stop_timeout: float = 10.0,
        tool: str | None = None,
        live_heap: bool = True,
        verify: bool | str | os.PathLike[str] = True,
    ) -> Iterator[Service]:
        """Starts a service on a free port, waits until it is ready, and stops it after the block.

        ``{port}`` in ``argv``, ``env`` and ``ready`` becomes the port. ``ready`` is ``http://…``,
        ``https://…`` or ``http+unix://%2Fpath%2Fof%2Fsocket/…`` (any answer below 400),
        ``tcp://HOST:PORT``, ``log:PATTERN`` (what it must write), or a callable; without it the
        port must accept. ``memory_limit`` is enforced on all its processes together. ``tool`` runs
        it under valgrind, sanitizer or memray and fails on what leaked when it has stopped.
        ``live_heap=False`` puts no agent inside. ``verify`` is the file of the authority to trust
        over HTTPS, or ``False`` to trust any certificate.
        """
        if isinstance(argv, str | bytes):
            raise UsageProblem(
                f"argv must be a list such as [{argv!r}]; there is no shell to split a string"
            )
        from pytest_leakguard.services.launch import ServiceTarget

        target = ServiceTarget(
            argv=tuple(os.fspath(part) for part in argv),
            ready=ready,
            port=port,
            cwd=Path(cwd) if cwd else None,
            env=tuple((env or {}).items()),
            start_timeout_s=start_timeout,
            memory_limit_bytes=_bytes(memory_limit),
            stop_signals=((signal.SIGTERM, stop_timeout),),
            verify=verify if isinstance(verify, bool) else os.fspath(verify),
        )
        with self.serving(target, tool, live_heap) as served:
            yield Service(served)

    def serving(
        self, target: ServiceTarget, tool: str | None = None, live_heap: bool = True
    ) -> AbstractContextManager[Served]:
        """As ``serve``, for a service that is declared elsewhere."""
        from pytest_leakguard.services import session

        return session.serve(target, self._context(), tool, live_heap)

    @contextmanager
    def attach(self, pid: int, *, port: int = 0) -> Iterator[Service]:
        """A service that already runs, with all its children; it is measured and left running.

        ``port`` is where request lines go. No agent is inside, so only Java tells its live heap.
        """
        from pytest_leakguard.services import session

        with session.attach(pid, self._context(), port) as served:
            yield Service(served)

    def _context(self) -> Context:
        from pytest_leakguard.services.session import Context

        return Context(self._settings, self._next_id, self._finish, self._progress)

    def _next_id(self) -> str:
        self._calls += 1
        return self._id if self._calls == 1 else f"{self._id}#{self._calls}"

    def _finish(self, check: Check) -> Judged:
        judged = self._record(replace(check, location=self._location))
        if judged.has_failed:
            pytest.fail(failure_in_short(judged, self._policy, self._settings.root), pytrace=False)
        if judged.outcome is Outcome.SKIPPED:
            pytest.skip("; ".join(judged.reasons))
        return judged


class Service:
    """A service that answers.

    ``url``, ``port``, ``pid`` and ``output`` are for a test's own requests.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self.url, self.port, self.pid = served.url, served.port, served.pid

    @property
    def output(self) -> str:
        """What it wrote so far, both streams; the middle of a flood is left out."""
        return self._served.output

    def loop(
        self,
        work: Callable[..., object] | Sequence[str | Mapping[str, object]] | Path,
        requests: int | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        auth: tuple[str, str] | str | None = None,
        verify: bool | str | os.PathLike[str] = True,
        seed: int = 0,
        concurrency: int = 1,
        rate: float = 0.0,
        memory_limit: int | str | None = None,
        timeout: float | None = None,
        budget: int | str = 0,
        stop_early: bool = True,
    ) -> Judged | None:
        """Drives the service.

        Fails the test when it grows per request, or on an inconclusive check.

        ``work`` is a callable, async or not (one call, one request), request lines such as ``["GET
        /orders/7", "POST /cart {…}", "GET /me Authorization: Bearer x"]`` or tables such as
        ``{"path": "/photos", "files": {"photo": "cat.jpg"}}`` that are cycled (``{n}`` is the
        number of the request, ``{random}`` a number that follows from it and ``seed``, ``-> 404``
        the status that is right), a ``Path`` of a file of such lines, or a load command such as
        ``["wrk", "-d1", "{url}/"]`` that is run in batches. ``headers``, ``cookies`` and ``auth``
        (name and password, or the header's value) go with every request line; ``verify`` is as in
        ``serve``. At most ``requests`` are sent (default 5000), fewer when the evidence is enough;
        half as many again when growth began late. ``rate`` (requests per second) and
        ``memory_limit`` are those of production, for the forecast. ``budget`` of growth per
        request, in bytes or like ``"64 B"``, is no leak yet. Returns the check; ``None`` under a
        tool, which answers at the end.
        """
        return self._served.loop(
            work,
            requests,
            concurrency=concurrency,
            rate=rate,
            memory_limit_bytes=_bytes(memory_limit) or 0,
            timeout_s=timeout,
            budget_bytes=options.size(str(budget)),
            stops_early=stop_early,
            sending=_sending(headers, cookies, auth, verify, seed),
        )


def _sending(
    headers: Mapping[str, str] | None,
    cookies: Mapping[str, str] | None,
    auth: tuple[str, str] | str | None,
    verify: bool | str | os.PathLike[str],
    seed: int,
) -> Sending:
    """What goes with every request line."""
    from pytest_leakguard.services import request_lines
    from pytest_leakguard.services.load import Sending

    cookie = request_lines.cookie_header(request_lines.pairs("cookies", cookies or {}))
    every = request_lines.pairs("headers", headers or {})
    given = (*every, *cookie, *request_lines.authorization(auth))
    return Sending(given, verify if isinstance(verify, bool) else os.fspath(verify), seed)


def _bytes(size: int | str | None) -> int | None:
    """A size in bytes, given as such or like ``"512 MiB"``."""
    return int(options.size(str(size))) if size is not None else None


def _kinds(value: str | Sequence[str]) -> tuple[LeakKind, ...]:
    return options.kinds(value if isinstance(value, str) else ",".join(value))
