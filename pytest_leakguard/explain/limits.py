"""Whether a holder says how much it will ever hold: by its type, or by a number that it keeps. Runs nobody's code."""

from __future__ import annotations

import re
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_leakguard.counters.caches import LRU_CACHE, limit_of

_LIMIT_NAME = re.compile(r"(?i)(max_?(size|len|entries|items|count|num)|capacity|limit|bound)$")
"""How attributes are called in which a cache, pool or buffer keeps the most that it will hold.

cachetools has ``_Cache__maxsize``, SQLAlchemy's cache ``capacity``, werkzeug's ``maxlen``, others
``max_entries``, ``limit``, ``bound``.
"""
LARGEST_LIMIT = 100_000_000
"""A number above that is no limit in practice, such as ``sys.maxsize``."""
_QUALNAME_OF = type.__dict__["__qualname__"].__get__
_DICT_OF = type.__dict__["__dict__"].__get__


def limit_on(steps: Iterable[Any]) -> tuple[int, str] | None:
    """The most that one of the holders will ever keep, and its type in words; ``None`` when none says so."""
    for holder in steps:
        kind = type(holder)
        if issubclass(kind, LRU_CACHE):
            most = limit_of(holder)
        elif issubclass(kind, deque):
            most = deque.maxlen.__get__(holder)
        else:
            most = next(_numbers(holder), None)
        if most is not None and 0 < most < LARGEST_LIMIT:
            return most, _QUALNAME_OF(kind)
    return None


def is_test_double(steps: Iterable[Any]) -> bool:
    """Whether what is kept is the record of calls of a ``unittest.mock`` object, which is the test's own."""
    for holder in steps:
        module = type.__dict__["__module__"].__get__(type(holder))
        if type(module) is str and module == "unittest.mock":
            return True
    return False


def _numbers(holder: Any) -> Iterator[int]:
    """Whole numbers in attributes that are called like a limit."""
    for name, value in _attributes(holder):
        if type(name) is str and type(value) is int and _LIMIT_NAME.search(name):
            yield value


def _attributes(holder: Any) -> Iterator[tuple[Any, Any]]:
    kind = type(holder)
    if issubclass(kind, types.ModuleType | type | types.FunctionType | types.FrameType):
        return
    for base in type.__dict__["__mro__"].__get__(kind):
        for name, member in _DICT_OF(base).items():
            if type(member) is types.GetSetDescriptorType and name == "__dict__":
                inside = member.__get__(holder)
                if type(inside) is dict:
                    yield from list(inside.items())
                return
