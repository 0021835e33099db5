"""Values to plain dicts and back, for files and for pytest-xdist; strict about types, never executes anything."""

from __future__ import annotations

import dataclasses
import datetime as dt
import types
import typing
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pytest_leakguard.core.errors import MalformedReport

T = TypeVar("T")
_FLOAT_LIMIT = 1 << 1023


def encode(value: Any, is_lean: bool = False) -> Any:
    """``value`` as dicts, lists, strings and numbers that ``json`` takes; a lean one leaves out what is as declared.

    Lean is for the transport of many checks, nearly all of them clean; ``decode`` reads both.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((name, getattr(value, name), default) for name, default in _fields(type(value)))
        return {
            name: encode(one, is_lean)
            for name, one, default in pairs
            if not (is_lean and one == default)
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [encode(one, is_lean) for one in value]
    return value


@lru_cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Names and declared values; a field without one is equal to nothing."""
    return tuple((item.name, item.default) for item in dataclasses.fields(kind))


def decode(kind: type[T], data: Any, where: str = "") -> T:
    """A ``kind`` from what ``encode`` made; raises ``MalformedReport`` naming the place that does not fit."""
    return typing.cast(T, _decode(kind, data, where or kind.__name__))


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in inner:
            return None
        (kind,) = [one for one in inner if one is not type(None)]
        return _decode(kind, data, where)
    if origin is tuple:
        return _tuple(inner, data, where)
    if dataclasses.is_dataclass(kind):
        return _record(kind, data, where)
    return _scalar(kind, data, where)


def _tuple(inner: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise MalformedReport(f"{where}: expected a list, got {type(data).__name__}")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_decode(inner[0], one, f"{where}[{index}]") for index, one in enumerate(data))
    if len(inner) != len(data):
        raise MalformedReport(f"{where}: expected {len(inner)} items, got {len(data)}")
    return tuple(
        _decode(kind, one, f"{where}[{index}]")
        for index, (kind, one) in enumerate(zip(inner, data, strict=True))
    )


def _record(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise MalformedReport(f"{where}: expected an object, got {type(data).__name__}")
    hints = _hints(kind)
    unknown = data.keys() - hints.keys()
    if unknown:
        raise MalformedReport(f"{where}: unknown key {sorted(map(str, unknown))[0]!r}")
    try:
        return kind(
            **{key: _decode(hints[key], value, f"{where}.{key}") for key, value in data.items()}
        )
    except TypeError:
        missing = [
            item.name
            for item in dataclasses.fields(kind)
            if item.name not in data
            and item.default is dataclasses.MISSING
            and item.default_factory is dataclasses.MISSING
        ]
        raise MalformedReport(f"{where}: lacks {', '.join(missing)}") from None


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if issubclass(kind, Enum):
        try:
            return kind(data)
        except (ValueError, TypeError):
            seen = repr(data[:40]) if isinstance(data, str) else type(data).__name__
            raise MalformedReport(
                f"{where}: {seen} is none of {', '.join(str(one.value) for one in kind)}"
            ) from None
    if kind is Path and isinstance(data, str):
        return Path(data)
    if kind is dt.date and isinstance(data, str):
        try:
            return dt.date.fromisoformat(data)
        except ValueError:
            raise MalformedReport(f"{where}: {data[:40]!r} is no date") from None
    if (
        kind is float
        and isinstance(data, int)
        and not isinstance(data, bool)
        and abs(data) < _FLOAT_LIMIT
    ):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise MalformedReport(f"{where}: expected {kind.__name__}, got {type(data).__name__}")
    return data
