"""Services declared in ``[tool.leakguard.services.NAME]`` of pyproject.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.programs.toml_table import Entry, entries
from pytest_leakguard.services import request_lines
from pytest_leakguard.services.client import Verify
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.load import NOTHING_MORE, Sending

KEYS = {
    "command": "the service and its arguments, as a list; {port} becomes a free port",
    "ready": "http://127.0.0.1:{port}/..., tcp://HOST:PORT or log:PATTERN",
    "requests": 'request lines such as "GET /orders/7", tables, or the name of a file of lines',
    "headers": "table of headers that go with every request",
    "cookies": "table of cookies that go with every request",
    "auth": "value of the Authorization header of every request, or a name and a password",
    "verify": "file of the authority to trust over HTTPS, or false to trust any certificate",
    "seed": "number that {random} in requests follows from",
    "load": "a load generator and its arguments, instead of requests; {port}, {url} are filled in",
    "count": "how many requests at most",
    "concurrency": "requests at the same time",
    "rate": "requests per second in production, for the forecast",
    "production_limit": "memory in production, for the forecast",
    "memory_limit": "enforced on the service while it is checked",
    "budget": "growth per request that is not yet a leak",
    "cwd": "working directory, relative to this file",
    "env": "table of variables",
    "start_timeout": "seconds until it must be ready",
    "timeout": "seconds for all requests",
    "tool": "the name of a tool: what leaks is then judged when the service has ended",
}
"""Keys of a declared service, each with what is expected of it."""
DEFAULT_START_TIMEOUT_S = 30.0
"""Seconds until a service must be ready; large Java services take about twenty."""


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """One declared service and how to drive it."""

    name: str
    target: ServiceTarget
    work: tuple[object, ...] | Path
    """Requests, a file of them, or a load command."""
    count: int | None = None
    concurrency: int = 1
    rate_per_s: float = 0.0
    production_limit_bytes: int = 0
    budget_bytes: float = 0.0
    timeout_s: float | None = None
    tool: str | None = None
    sending: Sending = NOTHING_MORE


def read_services(table: Mapping[str, Any], path: Path) -> tuple[DeclaredService, ...]:
    """What ``[tool.leakguard]`` of ``path`` declares, in file order; raises ``UsageProblem``."""
    declared = entries(table, "services", path, KEYS)
    return tuple(_declared(name, entry) for name, entry in declared)


def _declared(name: str, entry: Entry) -> DeclaredService:
    target = ServiceTarget(
        argv=entry.command(),
        ready=entry.string("ready") if "ready" in entry else None,
        cwd=entry.path("cwd") or entry.root,
        env=entry.variables("env"),
        start_timeout_s=entry.seconds("start_timeout") or DEFAULT_START_TIMEOUT_S,
        memory_limit_bytes=int(entry.size("memory_limit") or 0) or None,
        verify=_verify(entry),
    )
    return DeclaredService(
        name=name,
        target=target,
        work=_work(entry),
        count=entry.count("count"),
        concurrency=entry.count("concurrency") or 1,
        rate_per_s=entry.rate("rate") or 0.0,
        production_limit_bytes=int(entry.size("production_limit") or 0),
        budget_bytes=entry.size("budget") or 0.0,
        timeout_s=entry.seconds("timeout"),
        tool=entry.tool(),
        sending=_sending(entry),
    )


def _work(entry: Entry) -> tuple[object, ...] | Path:
    """The requests or the load command; a service that nothing drives is not measured."""
    given, command = entry.values.get("requests", []), entry.strings("load")
    if bool(given) == bool(command):
        raise entry.problem("it needs either requests or load")
    if command:
        return command
    try:
        if isinstance(given, str):
            return _file(entry, given)
        if not isinstance(given, list):
            raise UsageProblem("must be a list of lines and tables, or the name of a file")
        # Read here, so that the error names this file; paths in them are relative to it.
        return tuple(request_lines.read_all(given, root=entry.root))
    except UsageProblem as problem:
        raise entry.problem(f"requests: {problem}") from None


def _file(entry: Entry, name: str) -> Path:
    path = entry.root / name
    request_lines.read_file(path)
    return path


def _verify(entry: Entry) -> Verify:
    if isinstance(entry.values.get("verify"), bool):
        return entry.flag("verify", True)
    path = entry.path("verify")
    return str(path) if path else True


def _sending(entry: Entry) -> Sending:
    """What goes with every request."""
    try:
        headers = request_lines.pairs("headers", entry.values.get("headers", {}))
        cookies = request_lines.pairs("cookies", entry.values.get("cookies", {}))
        auth = request_lines.authorization(entry.values.get("auth"))
    except UsageProblem as problem:
        raise entry.problem(str(problem)) from None
    every = (*headers, *request_lines.cookie_header(cookies), *auth)
    return Sending(every, _verify(entry), entry.count("seed") or 0)
