"""Programs declared in ``[tool.leakguard.targets.NAME]`` of pyproject.toml: read strictly, named errors."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.core import settings
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.options import TOOLS
from pytest_leakguard.core.programs import Target

_KEYS = {
    "command": "the program and its arguments, as a list; no shell",
    "tool": "auto, valgrind, sanitizer or memray",
    "cwd": "working directory, relative to this file",
    "env": "table of variables",
    "timeout": "seconds",
    "expected_exit": 'exit status the program must end with (minus the number for a signal), or "any"',
    "kinds": "leak kinds that fail, as in --leakguard-kinds",
    "memory_limit": 'size such as "512 MiB"',
    "follow_children": "true or false",
    "tool_args": "more arguments for the tool",
    "suppressions": "suppression files, relative to this file",
    "stdin": "file, relative to this file",
}


@dataclass(frozen=True, slots=True)
class DeclaredTarget:
    """One declared program and how to judge it."""

    name: str
    target: Target
    tool: str | None = None
    expected_exit: int | None = 0
    kinds: tuple[LeakKind, ...] | None = None


def read_targets(path: Path, default_timeout_s: float) -> tuple[DeclaredTarget, ...]:
    """The programs declared in ``path``, in file order; raises ``UsageProblem`` naming the file and the key."""
    targets = read_table(path).get("targets", {})
    if not isinstance(targets, dict):
        raise UsageProblem(f"{path}: declare programs as [tool.leakguard.targets.NAME]")
    return tuple(_read(name, entry, path, default_timeout_s) for name, entry in targets.items())


def read_table(path: Path) -> dict[str, Any]:
    """``[tool.leakguard]`` of ``path``; empty when there is none. Raises ``UsageProblem``."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read: {error.strerror or error}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # besides TOML's own: numbers without end, nesting without end
        raise UsageProblem(f"{path}: not TOML: {error}") from None
    tools = data.get("tool", {})
    table = tools.get("leakguard", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise UsageProblem(f"{path}: [tool.leakguard] must be a table")
    for key in table:
        if key not in ("targets", "services"):
            raise UsageProblem(
                f"{path}: unknown key {key!r} in [tool.leakguard]; known: targets, services. Options such as "
                "leakguard_tool belong into [tool.pytest.ini_options]"
            )
    return table


def _read(name: str, entry: Any, path: Path, default_timeout_s: float) -> DeclaredTarget:
    where = f"{path}: [tool.leakguard.targets.{name}]"
    if not isinstance(entry, dict):
        raise UsageProblem(f"{where} must be a table")
    for key in entry:
        if key not in _KEYS:
            raise UsageProblem(f"{where}: unknown key {key!r}; known: {', '.join(_KEYS)}")
    try:
        return _declared(name, entry, path, default_timeout_s)
    except UsageProblem as problem:
        raise UsageProblem(f"{where}: {problem}") from None


def _declared(
    name: str, entry: dict[str, Any], path: Path, default_timeout_s: float
) -> DeclaredTarget:
    root = path.parent
    command = _strings(entry, "command")
    if not command or not command[0]:
        raise UsageProblem('command must be a list such as ["./build/convert", "in.png"]')
    env = entry.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise UsageProblem("env must be a table of strings")
    if any("=" in name or not name for name in env) or "\0" in "".join(
        [*env, *env.values(), *command]
    ):
        raise UsageProblem(
            "a variable's name holds =, or some name or value a NUL character: no program can get that"
        )
    tool = entry.get("tool")
    if tool is not None and tool not in TOOLS:
        raise UsageProblem(f"tool {tool!r} is none of {', '.join(TOOLS)}")
    follows = entry.get("follow_children", True)
    if not isinstance(follows, bool):
        raise UsageProblem("follow_children must be true or false")
    return DeclaredTarget(
        name=name,
        target=Target(
            argv=command,
            cwd=root / _string(entry, "cwd", "."),
            env=tuple(env.items()),
            timeout_s=settings.seconds(str(entry["timeout"]))
            if "timeout" in entry
            else default_timeout_s,
            memory_limit_bytes=int(settings.size(str(entry["memory_limit"])))
            if "memory_limit" in entry
            else None,
            follows_children=follows,
            tool_args=_strings(entry, "tool_args"),
            suppressions=tuple(root / file for file in _strings(entry, "suppressions")),
            stdin=root / _string(entry, "stdin", "") if "stdin" in entry else None,
        ),
        tool=tool,
        expected_exit=_expected(entry),
        kinds=_kinds(entry),
    )


def _kinds(entry: dict[str, Any]) -> tuple[LeakKind, ...] | None:
    if "kinds" not in entry:
        return None
    value = entry["kinds"]
    return settings.kinds(
        ",".join(_strings(entry, "kinds")) if isinstance(value, list) else str(value)
    )


def _expected(entry: dict[str, Any]) -> int | None:
    value = entry.get("expected_exit", 0)
    if value == "any":
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageProblem('expected_exit must be a number or "any"')
    return value


def _strings(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageProblem(f"{key} must be a list of strings: {_KEYS[key]}")
    return tuple(value)


def _string(entry: dict[str, Any], key: str, default: str) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        raise UsageProblem(f"{key} must be a string: {_KEYS[key]}")
    return value
