"""Sends requests in batches: request lines over HTTP, a callable, or a load generator. Measures nothing."""

from __future__ import annotations

import http.client
import inspect
import itertools
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.processes import supervisor

REQUEST_TIMEOUT_S = 30.0
BATCH_TIMEOUT_S = 300.0
FIXED_SET = 20
"""At most so many distinct requests settle a key-driven cache at once, which makes an early verdict safe."""
_RENEW_AFTER = 10
"""Requests per connection: what is leaked per connection must show too, and keep-alive must be tried."""
_METHODS = "GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS"
_LINE = re.compile(rf"({_METHODS}) (\S+)(?: (.*))?", re.DOTALL)
_STATUS = re.compile(r"(.*) -> (\d{3})", re.DOTALL)
_COUNTS = (
    re.compile(r"(\d+) requests in"),  # wrk
    re.compile(r"Complete requests:\s+(\d+)"),  # ab
    re.compile(r"requests:\s+(\d+)\s+total"),  # h2load
    re.compile(r"(\d+) requests completed in"),  # redis-benchmark
    re.compile(r"transactions actually processed: (\d+)"),  # pgbench
)
_FAILURES = re.compile(r"(?:Non-2xx(?: or 3xx)? responses|Failed requests):\s+([1-9]\d*)")


class RequestFailed(LeakguardError):
    """A request did not get the answer it should; a loop of failures proves nothing about memory."""


class Work(Protocol):
    """Something that can be done again and again."""

    is_fixed_set: bool
    """The same few requests over and over."""

    def run(self, first: int, count: int) -> int:
        """Do ``count`` requests, the first of which is number ``first``; return how many it became."""

    def close(self) -> None:
        """Let go of connections and threads."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """``POST /cart {"id": 7} -> 201``: method, path, body and the status that is right (below 400 otherwise)."""

    method: str
    path: str
    body: str = ""
    status: int | None = None

    @property
    def is_unique(self) -> bool:
        """``{n}`` stands for the number of the request."""
        return "{n}" in self.path or "{n}" in self.body


def parse_line(text: str) -> RequestLine:
    """Raises ``UsageProblem`` when it is none."""
    expected = _STATUS.fullmatch(text.strip())
    found = _LINE.fullmatch((expected[1] if expected else text).strip())
    if not found or not found[2].startswith("/"):
        raise UsageProblem(
            f'{text!r} is no request line; write it like "GET /orders/7" or "POST /cart {{...}}"'
        )
    return RequestLine(found[1], found[2], found[3] or "", int(expected[2]) if expected else None)


def plan(work: object, url: str, concurrency: int = 1, placed: Callable[[str], str] = str) -> Work:
    """What ``work`` means: a callable, a list of request lines, or a load command; ``placed`` fills in the port."""
    if concurrency < 1:
        raise UsageProblem(f"concurrency={concurrency}: at least 1")
    if callable(work):
        return Calls(work, concurrency)
    if isinstance(work, str):
        work = [work]
    if not isinstance(work, Sequence) or not work or not all(isinstance(one, str) for one in work):
        raise UsageProblem(
            'work must be a callable, request lines such as ["GET /orders/7"], or a load command'
        )
    words = [placed(str(one)) for one in work]
    if not re.match(rf"({_METHODS}) ", words[0]):
        return LoadCommand(words)
    if not url:
        raise UsageProblem(
            "request lines need a port: put {port} into the command, or attach(pid, port=…)"
        )
    return Requests([parse_line(line) for line in words], url, concurrency)


class _Shared:
    """Spreads a batch over threads that live as long as the work does."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency

    def spread(self, first: int, count: int, one: Callable[[int, int], None]) -> None:
        """Call ``one(thread, number)`` for each request; the first failure is raised after all threads are back."""
        if self._concurrency == 1 or count == 1:
            for number in range(first, first + count):
                one(0, number)
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
                    one(thread, number)
                except BaseException as error:  # raised again below, in the caller's thread
                    failures.append(error)

        threads = [
            threading.Thread(target=turn, args=(i,)) for i in range(min(self._concurrency, count))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


class Calls:
    """A callable; one call is one request. It gets the number of the call if it takes an argument."""

    is_fixed_set = True

    def __init__(self, call: Callable[..., object], concurrency: int) -> None:
        self._call, self._shared = call, _Shared(concurrency)
        self._takes_number = _required_arguments(call) == 1
        self.is_fixed_set = not self._takes_number

    def run(self, first: int, count: int) -> int:
        self._shared.spread(first, count, self._one)
        return count

    def _one(self, _thread: int, number: int) -> None:
        try:
            self._call(number) if self._takes_number else self._call()
        except Exception as error:  # anything the user's callable raises is a failed request
            raise RequestFailed(
                f"request {number}: {getattr(self._call, '__name__', 'work')} raised {error!r}"
            ) from error

    def close(self) -> None:
        """Nothing to let go of."""


def _required_arguments(call: Callable[..., object]) -> int:
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)


class Requests:
    """Request lines, cycled."""

    def __init__(self, lines: Sequence[RequestLine], url: str, concurrency: int) -> None:
        self._lines, self._shared = lines, _Shared(concurrency)
        self._clients = [_Client(url) for _ in range(concurrency)]
        self.is_fixed_set = len(set(lines)) <= FIXED_SET and not any(
            line.is_unique for line in lines
        )

    def run(self, first: int, count: int) -> int:
        self._shared.spread(first, count, self._one)
        return count

    def _one(self, thread: int, number: int) -> None:
        line = self._lines[number % len(self._lines)]
        self._clients[thread].send(line, number)

    def close(self) -> None:
        for client in self._clients:
            client.close()


class _Client:
    """One HTTP connection, renewed every few requests."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "https":
            raise UsageProblem(
                f"{url}: request lines speak plain HTTP; give a callable for anything else"
            )
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0

    def send(self, line: RequestLine, number: int) -> None:
        path, body = (text.replace("{n}", str(number)) for text in (line.path, line.body))
        told = f"request {number}: {line.method} {path}"
        try:
            status, reason, content = self._exchange(line.method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RequestFailed(f"{told}: {error or type(error).__name__}") from error
        is_right = status == line.status if line.status else status < 400
        if not is_right:
            expected = f", expected was {line.status}" if line.status else ""
            said = content[:200].decode("utf-8", "backslashreplace").strip()
            raise RequestFailed(f"{told} answered {status} {reason}{expected}: {said}")

    def _exchange(self, method: str, path: str, body: str) -> tuple[int, str, bytes]:
        if self._used >= _RENEW_AFTER:
            self.close()
        was_used = self._connection is not None
        try:
            return self._try(method, path, body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if not was_used:
                raise
            return self._try(
                method, path, body
            )  # a server may close an idle connection at any time (RFC 9112, 9.3.1)

    def _try(self, method: str, path: str, body: str) -> tuple[int, str, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._host, self._port, timeout=REQUEST_TIMEOUT_S
            )
            self._used = 0
        headers = {"Content-Type": "application/json"} if body[:1] in ("{", "[") else {}
        self._used += 1
        self._connection.request(method, path, body.encode() or None, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, answer.reason, content

    def close(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        self._connection = None


class LoadCommand:
    """Somebody else's load generator, run again and again; each run is one batch."""

    is_fixed_set = True

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._runs = itertools.count(1)

    def run(self, first: int, count: int) -> int:
        number = next(self._runs)
        code, stdout, stderr = supervisor.capture(self._argv, BATCH_TIMEOUT_S)
        text = (stdout + stderr).decode("utf-8", "backslashreplace")
        if code != 0:
            raise RequestFailed(
                f"batch {number}: {self._argv[0]} ended with exit status {code}: {text[-300:].strip()}"
            )
        if failed := _FAILURES.search(text):
            raise RequestFailed(f"batch {number}: {self._argv[0]} says {failed[0]}")
        return sum(int(found) for pattern in _COUNTS for found in pattern.findall(text)) or 1

    def close(self) -> None:
        """Each run ends by itself."""
