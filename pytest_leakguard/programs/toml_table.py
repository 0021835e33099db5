"""Reads ``[tool.leakguard]`` of a pyproject.toml strictly: programs and services alike.

Every error is a ``UsageProblem`` that names the file, the table, the key and what is expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pytest_leakguard.core import patterns, settings
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.options import TOOLS
from pytest_leakguard.core.patterns import Patterns

TABLES = ("targets", "services")
LISTS = ("ignore", "only")

_Value = TypeVar("_Value")


def read_table(path: Path) -> dict[str, Any]:
    """``[tool.leakguard]`` of ``path``; empty when there is none. Raises ``UsageProblem``."""
    tools = _load(path).get("tool", {})
    table = tools.get("leakguard", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise UsageProblem(f"{path}: [tool.leakguard] must be a table")
    for key in table:
        if key not in (*TABLES, *LISTS):
            known = ", ".join((*TABLES, *LISTS))
            raise UsageProblem(
                f"{path}: unknown key {key!r} in [tool.leakguard]; known: {known}. "
                "Options such as leakguard_tool belong in [tool.pytest.ini_options]"
            )
    return table


def read_patterns(path: Path) -> Patterns:
    """``ignore`` and ``only`` of ``path``. Raises ``UsageProblem``."""
    table = read_table(path)
    ignore, only = (
        patterns.read(table.get(key, []), f"{path}: {key} in [tool.leakguard]") for key in LISTS
    )
    return Patterns(ignore, only)


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # numbers without end, nesting without end
        raise UsageProblem(f"{path}: not TOML: {error}") from None


def entries(
    table: Mapping[str, Any], kind: str, path: Path, keys: Mapping[str, str]
) -> Iterator[tuple[str, Entry]]:
    """Name and entry of each ``[tool.leakguard.KIND.NAME]`` in ``table``, in file order.

    ``keys`` are those an entry may have, each with what is expected of it.
    """
    found = table.get(kind, {})
    if not isinstance(found, dict):
        raise UsageProblem(f"{path}: declare {kind} as [tool.leakguard.{kind}.NAME]")
    for name, values in found.items():
        where = f"{path}: [tool.leakguard.{kind}.{name}]"
        if not isinstance(values, dict):
            raise UsageProblem(f"{where} must be a table")
        for key in values:
            if key not in keys:
                raise UsageProblem(f"{where}: unknown key {key!r}; known: {', '.join(keys)}")
        yield name, Entry(values, where, path.parent, keys)


@dataclass(frozen=True, slots=True)
class Entry:
    """One declared program or service; each method reads one key as one type.

    A key that is absent gives the default. Raises ``UsageProblem`` for a value of another type.
    """

    values: Mapping[str, Any]
    where: str
    """File and table, as errors name them."""
    root: Path
    """The directory that paths are relative to."""
    keys: Mapping[str, str]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def problem(self, why: str) -> UsageProblem:
        """The error for this entry as a whole, or for a key that ``why`` names."""
        return UsageProblem(f"{self.where}: {why}")

    def wrong(self, key: str, expected: str) -> UsageProblem:
        """The error for one key."""
        return self.problem(f"{key} must be {expected}: {self.keys[key]}")

    def string(self, key: str, default: str = "") -> str:
        """Text without NUL characters, which no program, path or variable can hold."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or "\0" in value:
            raise self.wrong(key, "a string")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty by default."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(map(_is_text, value)):
            raise self.wrong(key, "a list of strings")
        return tuple(value)

    def command(self, key: str = "command") -> tuple[str, ...]:
        """A program and its arguments; there must be one."""
        words = self.strings(key)
        if not words or not words[0]:
            raise self.wrong(key, 'a list such as ["./build/convert", "in.png"]')
        return words

    def flag(self, key: str, default: bool) -> bool:
        """``true`` or ``false``."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def count(self, key: str) -> int | None:
        """A whole number above 0; ``None`` by default."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(key, "a whole number above 0")
        return value

    def path(self, key: str) -> Path | None:
        """A path relative to the file; ``None`` by default."""
        return self.root / self.string(key) if key in self else None

    def variables(self, key: str) -> tuple[tuple[str, str], ...]:
        """Names and values of environment variables."""
        table = self.values.get(key, {})
        if not isinstance(table, dict) or not all(map(_is_text, table.values())):
            raise self.wrong(key, "a table of strings")
        for name in table:
            if not name or "=" in name or "\0" in name:
                raise self.problem(f"{key}: {name!r} cannot be a variable's name")
        return tuple(table.items())

    def tool(self, key: str = "tool") -> str | None:
        """One of the tools that the option offers; ``None`` by default."""
        if key not in self:
            return None
        value = self.values[key]
        if value not in TOOLS:
            raise self.problem(f"{key}: invalid choice: {value!r} (choose from {', '.join(TOOLS)})")
        return str(value)

    def size(self, key: str) -> float | None:
        """Bytes, as options write sizes; ``None`` by default."""
        return self._read(key, settings.size)

    def seconds(self, key: str) -> float | None:
        """Seconds above 0; ``None`` by default."""
        return self._read(key, settings.seconds)

    def rate(self, key: str) -> float | None:
        """Requests per second; ``None`` by default."""
        return self._read(key, settings.rate)

    def _read(self, key: str, reader: Callable[[str], _Value]) -> _Value | None:
        """A number or a text, read as on the command line."""
        if key not in self:
            return None
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.wrong(key, "a number or a string")
        try:
            return reader(str(value))
        except UsageProblem as problem:
            raise self.problem(f"{key}: {problem}; expected {self.keys[key]}") from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value
