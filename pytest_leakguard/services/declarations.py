"""Services declared in ``[tool.leakguard.services.NAME]`` of pyproject.toml, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.core import settings
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.options import TOOLS
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.load import parse_line

KEYS = {
    "command": "the service and its arguments, as a list; {port} becomes a free port",
    "ready": "http://127.0.0.1:{port}/..., tcp://HOST:PORT or log:PATTERN",
    "requests": 'request lines such as "GET /orders/7", cycled',
    "load": (
        "a load generator and its arguments, instead of requests; {port} and {url} are filled in"
    ),
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
    "tool": "valgrind, sanitizer or memray: what leaks is then judged at its end",
}


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """One declared service and how to drive it."""

    name: str
    target: ServiceTarget
    work: tuple[str, ...]
    """Request lines, or a load command."""
    count: int | None = None
    concurrency: int = 1
    rate_per_s: float = 0.0
    production_limit_bytes: int = 0
    budget_bytes: float = 0.0
    timeout_s: float | None = None
    tool: str | None = None


def read_services(table: Mapping[str, Any], path: Path) -> tuple[DeclaredService, ...]:
    """Return what ``[tool.leakguard]`` of ``path`` declares.

    Raises ``UsageProblem`` naming the file and the key.
    """
    services = table.get("services", {})
    if not isinstance(services, dict):
        raise UsageProblem(f"{path}: declare services as [tool.leakguard.services.NAME]")
    return tuple(_read(name, entry, path) for name, entry in services.items())


def _read(name: str, entry: Any, path: Path) -> DeclaredService:
    where = f"{path}: [tool.leakguard.services.{name}]"
    if not isinstance(entry, dict):
        raise UsageProblem(f"{where} must be a table")
    for key in entry:
        if key not in KEYS:
            raise UsageProblem(f"{where}: unknown key {key!r}; known: {', '.join(KEYS)}")
    try:
        return _declared(name, entry, path.parent)
    except UsageProblem as problem:
        raise UsageProblem(f"{where}: {problem}") from None


def _declared(name: str, entry: Mapping[str, Any], root: Path) -> DeclaredService:
    command, lines, load = (_strings(entry, key) for key in ("command", "requests", "load"))
    if not command or bool(lines) == bool(load):
        raise UsageProblem("it needs command, and either requests or load")
    for line in lines:
        parse_line(line)
    tool = entry.get("tool")
    if tool is not None and tool not in TOOLS:
        raise UsageProblem(f"tool {tool!r} is none of {', '.join(TOOLS)}")
    env = entry.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise UsageProblem("env must be a table of strings")
    return DeclaredService(
        name=name,
        target=ServiceTarget(
            argv=command,
            ready=str(entry["ready"]) if "ready" in entry else None,
            cwd=root / str(entry.get("cwd", ".")),
            env=tuple(env.items()),
            start_timeout_s=settings.seconds(str(entry.get("start_timeout", 30))),
            memory_limit_bytes=_size(entry, "memory_limit") or None,
        ),
        work=lines or load,
        count=_count(entry, "count"),
        concurrency=_count(entry, "concurrency") or 1,
        rate_per_s=settings.rate(str(entry["rate"])) if "rate" in entry else 0.0,
        production_limit_bytes=_size(entry, "production_limit"),
        budget_bytes=settings.size(str(entry.get("budget", 0))),
        timeout_s=settings.seconds(str(entry["timeout"])) if "timeout" in entry else None,
        tool=tool,
    )


def _size(entry: Mapping[str, Any], key: str) -> int:
    return int(settings.size(str(entry[key]))) if key in entry else 0


def _count(entry: Mapping[str, Any], key: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageProblem(f"{key} must be a whole number above 0: {KEYS[key]}")
    return value


def _strings(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UsageProblem(f"{key} must be a list of strings: {KEYS[key]}")
    return tuple(value)
