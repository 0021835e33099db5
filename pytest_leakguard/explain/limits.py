"""Whether a holder says how much it will ever hold: by its type, or by a number that it keeps.

Runs nobody's code.
"""

from __future__ import annotations

import re
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_leakguard.core.foreign import (
    attributes_of,
    is_a,
    module_of,
    mro_of,
    namespace_of_class,
)
from pytest_leakguard.core.foreign import qualname_of as name_of_class
from pytest_leakguard.counters.caches import LRU_CACHE, limit_of
from pytest_leakguard.explain.kinds import is_test_double as is_double

_LIMIT_NAME = re.compile(r"(?i)(max_?(size|len|entries|items|count|num)|capacity|limit|bound)$")
"""How attributes are called in which a cache, pool or buffer keeps the most that it will hold.

cachetools has ``_Cache__maxsize``, SQLAlchemy's cache ``capacity``, werkzeug's ``maxlen``, others
``max_entries``, ``limit``, ``bound``, or a constant ``MAXSIZE`` of the class.
"""
CURSORS_OF_SQLITE = 200
"""New cursors after which a ``sqlite3.Connection`` drops its weak references to those that are gone
(``Modules/_sqlite/connection.c`` of CPython)."""
LARGEST_LIMIT = 100_000_000
"""A number above that is no limit in practice, such as ``sys.maxsize``."""
MOST_NEAR = 64
"""Steps from either end of a chain that are asked whether they grow, and for a limit."""
_NO_CACHES = (types.ModuleType, type, types.FunctionType, types.FrameType)


def near(steps: list[Any]) -> list[Any]:
    """Those near the root and near the object; between them may be thousands of one kind."""
    return steps if len(steps) <= 2 * MOST_NEAR else [*steps[:MOST_NEAR], *steps[-MOST_NEAR:]]


def limit_on(steps: Iterable[Any]) -> tuple[int, str] | None:
    """The most that one of the holders will ever keep, and its type in words.

    ``None`` when none says so. ``steps`` are the holders, outermost first: the nearest one counts.
    """
    holder = limiting(steps)
    most = limit_of_holder(holder)
    return None if most is None else (most, name_of_class(type(holder)))


def limiting(steps: Iterable[Any]) -> Any:
    """The nearest holder that says how much it will ever keep; ``None`` when none does."""
    for holder in reversed(tuple(steps)):
        if limit_of_holder(holder) is not None:
            return holder
    return None


def limit_of_holder(holder: Any) -> int | None:
    """The most that this object will ever keep, where it says so."""
    kind = type(holder)
    numbers: Iterable[Any]
    if kind is LRU_CACHE:
        numbers = (limit_of(holder),)
    elif issubclass(kind, deque) and deque.maxlen.__get__(holder) is not None:
        numbers = (deque.maxlen.__get__(holder),)
    elif any(_is_connection(base) for base in mro_of(kind)):
        numbers = (CURSORS_OF_SQLITE, *_numbers(holder))
    else:
        numbers = _numbers(holder)
    for most in numbers:
        if most is not None and 0 < most < LARGEST_LIMIT:
            return int(most)
    return None


def _is_connection(kind: type) -> bool:
    return module_of(kind) == "sqlite3" and name_of_class(kind) == "Connection"


def is_test_double(steps: Iterable[Any]) -> bool:
    """Whether what is kept is a ``unittest.mock`` object's record of calls, the test's own."""
    return any(is_double(holder) for holder in steps)


def _numbers(holder: Any) -> Iterator[int]:
    """Numbers in attributes that are called like a limit: the object's own, then its classes'."""
    if is_a(holder, _NO_CACHES):
        return
    for name, value in attributes_of(holder):
        if _is_limit(name, value):
            yield value
    for base in mro_of(type(holder)):
        for name, value in list(namespace_of_class(base).items()):
            if _is_limit(name, value):
                yield value


def _is_limit(name: Any, value: Any) -> bool:
    return type(value) is int and type(name) is str and _LIMIT_NAME.search(name) is not None
