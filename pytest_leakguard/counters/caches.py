"""Caches that fill up where every run brings new keys: the standard library's, and bounded ones.

Caches of the library remember nothing but results that are computed again when they are missing.
Nor does it change anything but the time to empty a cache that is bounded, whoever's: it may drop
any entry at any time.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_leakguard.counters import _cpython

LRU_CACHE = type(functools.lru_cache(int))
"""The type of what ``functools.lru_cache`` makes, with a limit or without."""


@dataclass(frozen=True, slots=True)
class RunnerCaches:
    """Caches of the test runner and of its plugins, which are no growth of the tested code."""

    keyed_by_module: Callable[[], Iterable[dict[str, Any]]] = tuple
    """Returns dictionaries with an entry for the name of every module that was ever looked for."""
    empty: Callable[[], object] = int
    """Empties those that only hold what can be computed again."""


NO_RUNNER = RunnerCaches()


def empty() -> None:
    """Empties those of the standard library whose module has been imported."""
    _cpython.empty_library_caches()


def filled_by(run: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    """What empties each bounded ``functools.lru_cache`` that one run makes longer."""
    caches = {id(cache): cache for cache in _bounded()}
    before = [(cache, cache.cache_info().currsize) for cache in caches.values()]
    run()
    filled = []
    for cache, size in before:
        if cache.cache_info().currsize > size:
            filled.append(cache.cache_clear)
    return tuple(filled)


def _bounded() -> Iterator[Any]:
    """Those of modules and of their classes."""
    classes: dict[int, type] = {}
    for module in list(sys.modules.values()):
        if not issubclass(type(module), types.ModuleType):  # anything may stand there
            continue
        for value in list(vars(module).values()):
            if _is_bounded(value):
                yield value
            elif issubclass(type(value), type):
                classes[id(value)] = value
    for owner in classes.values():
        yield from _bounded_of(owner)


def _bounded_of(owner: type) -> Iterator[Any]:
    for value in list(vars(owner).values()):
        if type(value) in (classmethod, staticmethod):
            value = value.__func__
        if _is_bounded(value):
            yield value


def _is_bounded(value: object) -> bool:
    return issubclass(type(value), LRU_CACHE) and limit_of(value) is not None


def limit_of(cache: Any) -> int | None:
    """How many entries an ``LRU_CACHE`` will ever hold; ``None`` where it has no limit."""
    most = cache.cache_parameters()["maxsize"]
    return most if isinstance(most, int) else None
