"""Caches of the standard library and of the runner, which may be emptied at any time.

They remember nothing but results that are computed again when they are missing. A cache of the
user's is never emptied, bounded or not: what it returns may be compared by identity.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
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


def note() -> None:
    """What is kept by now, and is dear to compute again, stays when they are emptied."""
    _cpython.note_patterns()


def fill_again() -> None:
    """Computes what is dear to compute and was dropped since the last note."""
    _cpython.compile_patterns_again()


def limit_of(cache: Any) -> int | None:
    """How many entries an ``LRU_CACHE`` will ever hold; ``None`` where it has no limit."""
    most = cache.cache_parameters()["maxsize"]
    return most if isinstance(most, int) else None
