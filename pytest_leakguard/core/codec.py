"""Values to plain dicts and back, for files and for pytest-xdist.

Strict about types; never executes anything.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import types
import typing
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pytest_leakguard.core.errors import MalformedReport

T = TypeVar("T")
_FLOAT_LIMIT = 1 << 1023
"""Larger integers of a damaged report overflow when they are made a float."""


def encode(value: Any, is_lean: bool = False) -> Any:
    """``value`` as dicts, lists, strings and numbers that ``json`` takes.

    A lean one leaves out every field that has its declared default. It is for the transport of many
    checks, nearly all of them clean; ``decode`` reads both.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {}
        for name, default in _fields(type(value)):
            content = getattr(value, name)
            if not is_lean or content != default:
                fields[name] = encode(content, is_lean)
        return fields
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [encode(item, is_lean) for item in value]
    return value


@lru_cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Names and declared values; a field without one is equal to nothing."""
    return tuple((item.name, item.default) for item in dataclasses.fields(kind))


def decode(kind: type[T], data: Any, where: str = "") -> T:
    """A ``kind`` from what ``encode`` made.

    Raises ``MalformedReport`` that names the place where the data does not fit.
    """
    return typing.cast(T, _decode(kind, data, where or kind.__name__))


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in inner:
            return None
        (kind,) = [member for member in inner if member is not type(None)]
        return _decode(kind, data, where)
    if origin is tuple:
        return _tuple(inner, data, where)
    if dataclasses.is_dataclass(kind):
        return _record(kind, data, where)
    return _scalar(kind, data, where)


def _tuple(inner: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise MalformedReport(f"{where}: expected a list, got {type(data).__name__}")
    kinds = inner
    if len(inner) == 2 and inner[1] is Ellipsis:
        kinds = (inner[0],) * len(data)
    if len(kinds) != len(data):
        raise MalformedReport(f"{where}: expected {len(kinds)} items, got {len(data)}")
    items = []
    for index, (kind, item) in enumerate(zip(kinds, data, strict=True)):
        items.append(_decode(kind, item, f"{where}[{index}]"))
    return tuple(items)


def _record(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise MalformedReport(f"{where}: expected an object, got {type(data).__name__}")
    hints = _hints(kind)
    unknown = data.keys() - hints.keys()
    if unknown:
        raise MalformedReport(f"{where}: unknown key {sorted(map(str, unknown))[0]!r}")
    fields = {}
    for key, value in data.items():
        fields[key] = _decode(hints[key], value, f"{where}.{key}")
    try:
        return kind(**fields)
    except TypeError:
        missing = ", ".join(_missing(kind, data))
        raise MalformedReport(f"{where}: lacks {missing}") from None


def _missing(kind: Any, data: dict[str, Any]) -> Iterator[str]:
    """Fields without a default that ``data`` does not have."""
    for item in dataclasses.fields(kind):
        has_default = (
            item.default is not dataclasses.MISSING
            or item.default_factory is not dataclasses.MISSING
        )
        if item.name not in data and not has_default:
            yield item.name


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if issubclass(kind, Enum):
        try:
            return kind(data)
        except (ValueError, TypeError):
            seen = repr(data[:40]) if isinstance(data, str) else type(data).__name__
            known = ", ".join(str(member.value) for member in kind)
            raise MalformedReport(f"{where}: {seen} is none of {known}") from None
    if kind is Path and isinstance(data, str):
        return Path(data)
    if kind is dt.date and isinstance(data, str):
        try:
            return dt.date.fromisoformat(data)
        except ValueError:
            raise MalformedReport(f"{where}: {data[:40]!r} is no date") from None
    is_number = isinstance(data, int) and not isinstance(data, bool)
    if kind is float and is_number and abs(data) < _FLOAT_LIMIT:
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise MalformedReport(f"{where}: expected {kind.__name__}, got {type(data).__name__}")
    return data
