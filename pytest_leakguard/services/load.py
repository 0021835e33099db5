"""Sends requests in batches: request lines over HTTP, a callable, or a load generator."""

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
from pytest_leakguard.growth import thresholds
from pytest_leakguard.processes import supervisor

REQUEST_TIMEOUT_S = 30.0
"""Upper limit of the time one request may take, in seconds."""
BATCH_TIMEOUT_S = 300.0
"""Upper limit of the time one run of a load command may take, in seconds."""
_RENEW_AFTER = 10
"""Requests per connection; what is leaked per connection must show too, and keep-alive must be
tried."""
_QUOTED_BYTES = 200
"""Upper limit of what is quoted of an answer that is wrong, in bytes."""
_QUOTED_CHARACTERS = 300
"""Upper limit of what is quoted of a load command's output, in characters; the last of it."""
_FIRST_BAD_STATUS = 400
"""Least HTTP status that fails a request whose line names none."""
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
    """A request did not get the answer it should; failures prove nothing about memory."""


class Work(Protocol):
    """Something that can be done again and again."""

    is_fixed_set: bool
    """The same few requests over and over."""
    concurrency: int
    """Clients that send at once."""

    def run(self, first: int, count: int) -> int:
        """Do ``count`` requests from number ``first`` on; return how many it became."""

    def close(self) -> None:
        """Let go of connections and threads."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """``POST /cart {"id": 7} -> 201``: method, path, body and the status that is right.

    Without a status any below 400 is right.
    """

    method: str
    path: str
    body: str = ""
    status: int | None = None

    @property
    def is_unique(self) -> bool:
        """``{n}`` stands for the number of the request."""
        return "{n}" in self.path or "{n}" in self.body


def parse_line(text: str) -> RequestLine:
    """Read a request line; raises ``UsageProblem`` when it is none."""
    expected = _STATUS.fullmatch(text.strip())
    found = _LINE.fullmatch((expected[1] if expected else text).strip())
    if not found or not found[2].startswith("/"):
        raise UsageProblem(
            f'{text!r} is no request line; write it like "GET /orders/7" or "POST /cart {{...}}"'
        )
    return RequestLine(found[1], found[2], found[3] or "", int(expected[2]) if expected else None)


def plan(work: object, url: str, concurrency: int = 1, placed: Callable[[str], str] = str) -> Work:
    """Return what ``work`` means: a callable, a list of request lines, or a load command.

    ``placed`` fills in the port. Raises ``UsageProblem`` for anything else.
    """
    if concurrency < 1:
        raise UsageProblem(f"concurrency={concurrency}: at least 1")
    if callable(work):
        return Calls(work, concurrency)
    words = [placed(word) for word in _words(work)]
    if not re.match(rf"({_METHODS}) ", words[0]):
        return LoadCommand(words)
    if not url:
        raise UsageProblem(
            "request lines need a port: put {port} into the command, or attach(pid, port=…)"
        )
    return Requests([parse_line(line) for line in words], url, concurrency)


def _words(work: object) -> list[str]:
    words = [work] if isinstance(work, str) else work
    are_strings = isinstance(words, Sequence) and all(isinstance(word, str) for word in words)
    if not are_strings or not words:
        raise UsageProblem(
            'work must be a callable, request lines such as ["GET /orders/7"], or a load command'
        )
    return [str(word) for word in words]  # type: ignore[attr-defined]  # a sequence, as asked


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
            self._call(number) if self._takes_number else self._call()
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


class Requests:
    """Request lines, cycled."""

    def __init__(self, lines: Sequence[RequestLine], url: str, concurrency: int) -> None:
        self._lines, self._shared = lines, _Shared(concurrency)
        self.concurrency = concurrency
        self._clients = [_Client(url) for _ in range(concurrency)]
        are_few = len(set(lines)) <= thresholds.FIXED_REQUESTS
        self.is_fixed_set = are_few and not any(line.is_unique for line in lines)

    def run(self, first: int, count: int) -> int:
        self._shared.spread(first, count, self._send)
        return count

    def _send(self, thread: int, number: int) -> None:
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
        request = f"request {number}: {line.method} {path}"
        try:
            status, reason, content = self._exchange(line.method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RequestFailed(f"{request}: {error or type(error).__name__}") from error
        is_right = status == line.status if line.status else status < _FIRST_BAD_STATUS
        if not is_right:
            expected = f", expected was {line.status}" if line.status else ""
            quoted = content[:_QUOTED_BYTES].decode("utf-8", "backslashreplace").strip()
            raise RequestFailed(f"{request} answered {status} {reason}{expected}: {quoted}")

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
            # A server may close an idle connection at any time (RFC 9112, 9.3.1).
            return self._try(method, path, body)

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
    concurrency = 1
    """Not known; each run is over before the next begins."""

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
        return sent or 1  # one that names no number counts as one request

    def close(self) -> None:
        """Each run ends by itself."""
