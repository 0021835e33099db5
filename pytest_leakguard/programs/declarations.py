"""Programs declared in ``[tool.leakguard.targets.NAME]`` of pyproject.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_leakguard.core import settings
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.programs import Target
from pytest_leakguard.programs.toml_table import Entry, entries, read_table

KEYS = {
    "command": "the program and its arguments, as a list; no shell",
    "tool": "auto, or the name of a tool",
    "cwd": "working directory, relative to this file",
    "env": "table of variables",
    "timeout": "seconds",
    "expected_exit": (
        'exit status the program must end with (minus the number for a signal), or "any"'
    ),
    "kinds": "leak kinds that fail, as in --leakguard-kinds",
    "memory_limit": 'size such as "512 MiB"',
    "follow_children": "true or false",
    "follow": 'patterns of the programs that count, such as ["convert", "build/*"]',
    "tool_args": "more arguments for the tool",
    "suppressions": "suppression files, relative to this file",
    "stdin": "file, relative to this file",
}
"""Keys of a declared program, each with what is expected of it."""


@dataclass(frozen=True, slots=True)
class DeclaredTarget:
    """One declared program and how to judge it."""

    name: str
    target: Target
    tool: str | None = None
    expected_exit: int | None = 0
    kinds: tuple[LeakKind, ...] | None = None


def read_targets(path: Path, default_timeout_s: float) -> tuple[DeclaredTarget, ...]:
    """The programs declared in ``path``, in file order; raises ``UsageProblem``."""
    declared = entries(read_table(path), "targets", path, KEYS)
    return tuple(_declared(name, entry, default_timeout_s) for name, entry in declared)


def _declared(name: str, entry: Entry, default_timeout_s: float) -> DeclaredTarget:
    limit = entry.size("memory_limit")
    target = Target(
        argv=entry.command(),
        cwd=entry.path("cwd") or entry.root,
        env=entry.variables("env"),
        timeout_s=entry.seconds("timeout") or default_timeout_s,
        memory_limit_bytes=None if limit is None else int(limit),
        follows_children=entry.flag("follow_children", True),
        follow=entry.strings("follow"),
        tool_args=entry.strings("tool_args"),
        suppressions=tuple(entry.root / file for file in entry.strings("suppressions")),
        stdin=entry.path("stdin"),
    )
    return DeclaredTarget(name, target, entry.tool(), _expected_exit(entry), _kinds(entry))


def _kinds(entry: Entry) -> tuple[LeakKind, ...] | None:
    """As text with commas, like the option, or as a list."""
    if "kinds" not in entry:
        return None
    is_list = isinstance(entry.values["kinds"], list)
    text = ",".join(entry.strings("kinds")) if is_list else entry.string("kinds")
    try:
        return settings.kinds(text)
    except UsageProblem as problem:
        raise entry.problem(f"kinds: {problem}") from None


def _expected_exit(entry: Entry) -> int | None:
    value = entry.values.get("expected_exit", 0)
    if value == "any":
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise entry.wrong("expected_exit", 'a number or "any"')
    return value
