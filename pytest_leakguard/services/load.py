"""Sends requests in batches: request lines over HTTP, a callable, or a load generator."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import re
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.growth import thresholds
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs import binary
from pytest_leakguard.services import request_lines
from pytest_leakguard.services.client import Client, RequestFailed, Verify, speaks_tls
from pytest_leakguard.services.request_lines import Pairs, RequestLine, parse_line, read_all

__all__ = ["RequestFailed", "RequestLine", "parse_line"]  # for those who drive

BATCH_TIMEOUT_S = 300.0
"""Upper limit of the time one run of a load command may take, in seconds."""
_QUOTED_BYTES = 200
"""Upper limit of what is quoted of an answer that is wrong, in bytes."""
_QUOTED_CHARACTERS = 300
"""Upper limit of what is quoted of a load command's output, in characters; the last of it."""
_FIRST_BAD_STATUS = 400
"""Least HTTP status that fails a request whose line names none."""
_COUNTS = (
    re.compile(r"(\d+) requests in"),  # wrk
    re.compile(r"Complete requests:\s+(\d+)"),  # ab
    re.compile(r"requests:\s+(\d+)\s+total"),  # h2load
    re.compile(r"(\d+) requests completed in"),  # redis-benchmark
    re.compile(r"transactions actually processed: (\d+)"),  # pgbench
)
_FAILURES = re.compile(r"(?:Non-2xx(?: or 3xx)? responses|Failed requests):\s+([1-9]\d*)")
REQUEST, COMMAND_RUN = "request", "run of the command"
"""What growth is counted by."""


class Work(Protocol):
    """Something that can be done again and again."""

    is_fixed_set: bool
    """The same few requests over and over."""
    concurrency: int
    """Clients that send at once."""
    per: str
    """What its numbers count: requests, or runs of a command that does not say how many it
    sends."""

    def run(self, first: int, count: int) -> int:
        """Do ``count`` requests from number ``first`` on; return how many it became."""

    def close(self) -> None:
        """Let go of connections and threads."""


@dataclass(frozen=True, slots=True)
class Sending:
    """What applies to every request line of a loop."""

    headers: Pairs = ()
    verify: Verify = True
    seed: int = 0
    """Of ``{random}``."""

    def applied(self, line: RequestLine) -> RequestLine:
        """Return the line with these headers, its own first."""
        own = {name.lower() for name, _ in line.headers}
        more = tuple(one for one in self.headers if one[0].lower() not in own)
        return replace(line, headers=(*line.headers, *more)) if more else line


NOTHING_MORE = Sending()


def plan(
    work: object,
    url: str,
    concurrency: int = 1,
    placed: Callable[[str], str] = str,
    sending: Sending = NOTHING_MORE,
) -> Work:
    """Return what ``work`` means: a callable, requests, a file of them, or a load command.

    ``placed`` fills in the port. Raises ``UsageProblem`` for anything else.
    """
    if concurrency < 1:
        raise UsageProblem(f"concurrency={concurrency}: at least 1")
    if callable(work):
        if _is_async(work):
            return AsyncCalls(work, concurrency)
        return Calls(work, concurrency)
    if isinstance(work, Path):
        lines = request_lines.read_file(work)
    else:
        items = [_placed(one, placed) for one in _items(work)]
        words = [one for one in items if isinstance(one, str)]
        if len(words) == len(items) and _is_command(words):
            return LoadCommand(words)
        lines = read_all(items)
    if not url and not all(line.base for line in lines):
        raise UsageProblem(
            "request lines need a port: put {port} into the command, or attach(pid, port=…)"
        )
    return Requests([sending.applied(line) for line in lines], url, concurrency, sending)


def _items(work: object) -> list[object]:
    items = [work] if isinstance(work, str | Mapping) else work
    is_list = isinstance(items, Sequence) and not isinstance(items, bytes) and bool(items)
    if not is_list or not all(isinstance(one, str | Mapping | RequestLine) for one in items):  # type: ignore[attr-defined]
        raise UsageProblem(
            'work must be a callable, request lines such as ["GET /orders/7"], tables such as '
            '{"method": "POST", "path": "/cart", "json": {...}}, a Path of a file of lines, '
            'or a load command such as ["wrk", "-d1", "{url}"]'
        )
    return list(items)  # type: ignore[call-overload, no-any-return]  # a sequence, as asked


def _placed(one: object, placed: Callable[[str], str]) -> object:
    """Fill the port in, wherever it stands in a line or a table."""
    if isinstance(one, str):
        return placed(one)
    if isinstance(one, RequestLine):
        body = placed(one.body) if isinstance(one.body, str) else one.body
        return replace(one, base=placed(one.base), path=placed(one.path), body=body)
    if isinstance(one, Mapping):
        return {key: _placed(value, placed) for key, value in one.items()}
    return one


def _is_command(words: Sequence[str]) -> bool:
    """Return whether the first word is a program; raises ``UsageProblem`` for neither of both."""
    path = binary.find(words[0]) if words[0] else None
    if path is not None and os.access(path, os.X_OK):
        return True
    if any(map(request_lines.looks_like_one, words)) or len(words[0].split()) > 1:
        return False
    raise UsageProblem(
        f'{words[0]!r} is neither a request line such as "GET /orders/7" '
        "nor the name of a program that sends the load: there is no such program"
    )


class _Shared:
    """Spreads a batch over threads that live as long as the work does."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency

    def spread(self, first: int, count: int, send: Callable[[int, int], None]) -> None:
        """Call ``send(thread, number)`` for each request.

        The first failure is raised after all threads are back.
        """
        if self._concurrency == 1 or count == 1:
            for number in range(first, first + count):
                send(0, number)
            return
        numbers = iter(range(first, first + count))
        lock = threading.Lock()
        failures: list[BaseException] = []

        def turn(thread: int) -> None:
            while not failures:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    send(thread, number)
                except BaseException as error:  # raised again below, in the caller's thread
                    failures.append(error)

        needed = min(self._concurrency, count)
        threads = [threading.Thread(target=turn, args=(number,)) for number in range(needed)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


class Calls:
    """A callable: one call is one request, and its number the argument if it takes one."""

    is_fixed_set = True
    per = REQUEST

    def __init__(self, call: Callable[..., object], concurrency: int) -> None:
        self.concurrency = concurrency
        self._call, self._shared = call, _Shared(concurrency)
        self._takes_number = _required_arguments(call) == 1
        self.is_fixed_set = not self._takes_number

    def run(self, first: int, count: int) -> int:
        self._shared.spread(first, count, self._send)
        return count

    def _send(self, _thread: int, number: int) -> None:
        try:
            answer = self._call(number) if self._takes_number else self._call()
            if inspect.iscoroutine(answer):
                answer.close()
                raise TypeError("it returned a coroutine that nobody awaits; give an async def")
        except Exception as error:  # anything the user's callable raises is a failed request
            name = getattr(self._call, "__name__", "work")
            raise RequestFailed(f"request {number}: {name} raised {error!r}") from error

    def close(self) -> None:
        """Nothing to let go of."""


def _required_arguments(call: Callable[..., object]) -> int:
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = 0
    for parameter in parameters:
        has_default = parameter.default is not inspect.Parameter.empty
        required += parameter.kind in positional and not has_default
    return required


def _is_async(call: Callable[..., object]) -> bool:
    inner = getattr(call, "func", call)  # of functools.partial
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(inner, "__call__", None)  # noqa: B004  # of an object that is called
    )


class AsyncCalls:
    """An async callable: one await is one request; all of them on one event loop of its own."""

    per = REQUEST

    def __init__(self, call: Callable[..., Any], concurrency: int) -> None:
        self.concurrency = concurrency
        self._call = call
        self._takes_number = _required_arguments(call) == 1
        self.is_fixed_set = not self._takes_number
        # A thread of its own, as the test may itself run on a loop.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, first: int, count: int) -> int:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(self._batch(first, count), self._loop)
        try:
            future.result()
        except ExceptionGroup as failed:  # of the tasks; the first says enough
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        except BaseException:
            future.cancel()
            raise
        return count

    async def _batch(self, first: int, count: int) -> None:
        numbers = iter(range(first, first + count))

        async def turn() -> None:
            for number in numbers:
                await self._send(number)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(turn()) for _ in range(min(self.concurrency, count))]
        del tasks

    async def _send(self, number: int) -> None:
        try:
            answer: Awaitable[object] = self._call(number) if self._takes_number else self._call()
            await answer
        except Exception as error:  # anything the user's callable raises is a failed request
            name = getattr(self._call, "__name__", "work")
            raise RequestFailed(f"request {number}: {name} raised {error!r}") from error

    def close(self) -> None:
        """End the loop; what the callable left running on it is cancelled."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


class Requests:
    """Request lines, cycled."""

    per = REQUEST

    def __init__(
        self,
        lines: Sequence[RequestLine],
        url: str,
        concurrency: int,
        sending: Sending = NOTHING_MORE,
    ) -> None:
        self._lines, self._url, self._shared = lines, url, _Shared(concurrency)
        self._sending = sending
        self.concurrency = concurrency
        bases = {line.base or url for line in lines}
        self._clients = [
            {base: Client(base, sending.verify) for base in bases} for _ in range(concurrency)
        ]
        are_few = len(set(lines)) <= thresholds.FIXED_REQUESTS
        self.is_fixed_set = are_few and not any(line.is_unique for line in lines)
        self._prepared = {
            line: line.prepared(0, sending.seed) for line in lines if not line.is_unique
        }

    def run(self, first: int, count: int) -> int:
        self._shared.spread(first, count, self._send)
        return count

    def _send(self, thread: int, number: int) -> None:
        line = self._lines[number % len(self._lines)]
        request = self._prepared.get(line) or line.prepared(number, self._sending.seed)
        said = f"request {number}: {request.method} {request.path}"
        base = line.base or self._url
        try:
            status, reason, content = self._clients[thread][base].send(request)
        except RequestFailed as failed:
            raise RequestFailed(f"{said}: {failed}") from failed.__cause__
        is_right = status == line.status if line.status else status < _FIRST_BAD_STATUS
        if is_right:
            return
        expected = f", expected was {line.status}" if line.status else ""
        quoted = content[:_QUOTED_BYTES].decode("utf-8", "backslashreplace").strip()
        hint = _hint(status, base)
        raise RequestFailed(f"{said} answered {status} {reason}{expected}: {quoted}{hint}")

    def close(self) -> None:
        for clients in self._clients:
            for client in clients.values():
                client.close()


def _hint(status: int, base: str) -> str:
    """Say what is likely meant by a status that many requests get for the same reason."""
    if status == 401:
        return ' (loop(..., headers={"Authorization": "Bearer ..."}) sends one with every request)'
    if status == 400 and speaks_tls(base):
        return f' ({base} speaks TLS: say so with ready="https://...")'
    return ""


class LoadCommand:
    """Somebody else's load generator, run again and again; each run is one batch."""

    is_fixed_set = True
    concurrency = 1
    """Not known; each run is over before the next begins."""

    per = REQUEST
    """As long as each run has said how many it sent."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._runs = itertools.count(1)

    def run(self, first: int, count: int) -> int:
        number = next(self._runs)
        code, stdout, stderr = supervisor.capture(self._argv, BATCH_TIMEOUT_S)
        text = (stdout + stderr).decode("utf-8", "backslashreplace")
        if code != 0:
            quoted = text[-_QUOTED_CHARACTERS:].strip()
            raise RequestFailed(
                f"batch {number}: {self._argv[0]} ended with exit status {code}: {quoted}"
            )
        failed = _FAILURES.search(text)
        if failed:
            raise RequestFailed(f"batch {number}: {self._argv[0]} says {failed[0]}")
        sent = 0
        for pattern in _COUNTS:
            sent += sum(int(count) for count in pattern.findall(text))
        if not sent:  # the run itself is what can be counted
            self.per = COMMAND_RUN
        return sent or 1

    def close(self) -> None:
        """Each run ends by itself."""
