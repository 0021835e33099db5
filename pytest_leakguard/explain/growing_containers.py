"""Which containers grow: their lengths before and after some runs.

Finds the holder of anything, even of ``None``.
"""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_leakguard.counters.caches import LRU_CACHE, limit_of

_LENGTHS: dict[type, Callable[[Any], int]] = {
    list: list.__len__,
    dict: dict.__len__,
    set: set.__len__,
    deque: deque.__len__,
}


@dataclass(frozen=True, slots=True)
class Growing:
    """A container and by how much it grew per run."""

    container: Any
    per_run: float
    element: Any
    """One of its newest elements, ``None`` when it cannot be told."""

    @property
    def most(self) -> int | None:
        """How many elements it will ever hold, where it says so."""
        if isinstance(self.container, LRU_CACHE):
            return limit_of(self.container)
        return self.container.maxlen if isinstance(self.container, deque) else None

    @property
    def is_index(self) -> bool:
        """Whether it only lists, by weak references, what something else keeps alive.

        Of dead ones it is the holder.
        """
        if not isinstance(self.container, dict | set):
            return False
        inside = self.container
        # The methods of dict and set themselves, since those of a subclass are somebody's code.
        keys = dict.keys(inside) if isinstance(inside, dict) else set.__iter__(inside)
        key: Any = next(iter(keys), None)
        sample = key if isinstance(key, weakref.ref) else newest(inside)
        return isinstance(sample, weakref.ref) and weakref.ref.__call__(sample) is not None

    def is_like(self, other: Growing) -> bool:
        """Whether nothing but chance would say which of the two grows with the leak."""
        are_alike = self.is_index == other.is_index and bool(self.most) == bool(other.most)
        return are_alike and abs(self.per_run - other.per_run) <= 0.05 * other.per_run


def growing(
    work: Callable[[], object], runs: int, tidy: Callable[[], object] = int
) -> tuple[Growing, ...]:
    """Containers that grow in both halves of the runs, fastest first.

    ``tidy`` drops what may come and go.

    After all that may grow for ever come those with a limit, since one that fills says nothing of a
    leak beside it, and then those that hold nothing.
    """
    for _ in range(2):
        work()
    tidy()
    before = _lengths()
    for _ in range(runs):
        work()
    tidy()
    middle = _lengths()
    for _ in range(runs):
        work()
    tidy()
    gc.collect()
    found = []
    for container, measure in _containers():
        key = id(container)
        now = measure(container)
        if key in before and now > middle.get(key, now) > before[key]:
            found.append(Growing(container, (now - middle[key]) / runs, newest(container)))
    left_out = {id(before), id(middle), id(found)}
    for candidate in found:
        if candidate.most:  # a cache grows as the dict inside it does
            left_out.update(map(id, gc.get_referents(candidate.container)))
    theirs = [candidate for candidate in found if id(candidate.container) not in left_out]
    theirs.sort(key=_order)
    return tuple(theirs)


def _order(growing: Growing) -> tuple[bool, bool, float]:
    return growing.is_index, bool(growing.most), -growing.per_run


def _lengths() -> dict[int, int]:
    gc.collect()
    return {id(container): measure(container) for container, measure in _containers()}


def _containers() -> Iterator[tuple[Any, Callable[[Any], int]]]:
    """Every container there is, with what measures it."""
    measures: dict[type, Callable[[Any], int] | None] = {}
    for candidate in gc.get_objects():
        kind = type(candidate)
        if kind not in measures:
            measures[kind] = _measure_of(kind)
        if measure := measures[kind]:
            yield candidate, measure
    yield from _untracked()


def _untracked() -> Iterator[tuple[Any, Callable[[Any], int]]]:
    """Those of modules that the collector does not know, such as a dict of plain values."""
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType):
            continue
        for value in list(vars(module).values()):
            if type(value) in _LENGTHS and not gc.is_tracked(value):
                yield value, _LENGTHS[type(value)]


def _measure_of(kind: type) -> Callable[[Any], int] | None:
    """Returns the real length of such a container, whatever a subclass's ``__len__`` says."""
    if issubclass(kind, LRU_CACHE):
        return lambda cache: int(cache.cache_info().currsize)
    for base, measure in _LENGTHS.items():
        if issubclass(kind, base):
            return measure
    return None


def length(container: Any) -> int:
    """The real length."""
    measure = _measure_of(type(container))
    return measure(container) if measure else 0


def newest(container: Any) -> Any:
    """One of the elements that came last, as far as the container keeps an order."""
    try:
        if isinstance(container, list | deque):
            return container[-1] if type(container) in (list, deque) else None
        if isinstance(container, dict):
            return dict.__getitem__(container, next(iter(dict.__reversed__(container))))
        if isinstance(container, set):
            return next(set.__iter__(container))
        inside = [
            candidate for candidate in gc.get_referents(container) if isinstance(candidate, dict)
        ]
        return next(iter(inside[0].values())) if inside and inside[0] else None
    except (StopIteration, RuntimeError, KeyError, IndexError):
        return None
