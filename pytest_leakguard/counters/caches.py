"""Caches of the standard library and of test tools, which fill up where every run brings new keys.

CPython's own hunt for reference leaks (``test.libregrtest.utils.clear_caches``) empties those of the library too. They
remember nothing but results that are computed again when they are missing; hypothesis' are not the tested code's.
Nor does it change anything but the time to empty a cache that is bounded, whoever's: it may drop any entry at any time.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

LRU_CACHE = type(functools.lru_cache(int))
"""The type of what ``functools.lru_cache`` makes, with a limit or without."""

_CLEARED_BY = (
    ("re", "purge"),
    ("urllib.parse", "clear_cache"),
    ("struct", "_clearcache"),
    ("_strptime", "_regex_cache.clear"),
    ("filecmp", "clear_cache"),
    ("fnmatch", "_compile_pattern.cache_clear"),
    ("tokenize", "_compile.cache_clear"),
    ("hypothesis.strategies._internal.utils", "clear_strategy_cache"),
    ("hypothesis.internal.conjecture.data", "STRUCTURAL_COVERAGE_CACHE.clear"),
    ("hypothesis.internal.conjecture.data", "POOLED_CONSTRAINTS_CACHE.clear"),
)


def empty() -> None:
    """Empties those whose module has been imported; one that this Python does not have is passed over."""
    for module, path in _CLEARED_BY:
        found: object = sys.modules.get(module)
        for name in path.split("."):
            found = getattr(found, name, None)
        if callable(found):
            found()
    for clear in getattr(sys.modules.get("typing"), "_cleanups", ()):
        clear()


def filled_by(run: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    """What empties each bounded ``functools.lru_cache`` that one run makes longer."""
    before = [
        (cache, cache.cache_info().currsize)
        for cache in {id(one): one for one in _bounded()}.values()
    ]
    run()
    return tuple(cache.cache_clear for cache, size in before if cache.cache_info().currsize > size)


def _bounded() -> Iterator[Any]:
    """Those of modules and of their classes."""
    classes: dict[int, type] = {}
    for module in list(sys.modules.values()):
        for one in list(vars(module).values()) if isinstance(module, types.ModuleType) else ():
            if isinstance(one, LRU_CACHE) and limit_of(one) is not None:
                yield one
            elif isinstance(one, type):
                classes[id(one)] = one
    for owner in classes.values():
        for one in list(vars(owner).values()):
            inner = one.__func__ if isinstance(one, classmethod | staticmethod) else one
            if isinstance(inner, LRU_CACHE) and limit_of(inner) is not None:
                yield inner


def limit_of(cache: Any) -> int | None:
    """How many entries an ``LRU_CACHE`` will ever hold."""
    most = cache.cache_parameters()["maxsize"]
    return most if isinstance(most, int) else None
