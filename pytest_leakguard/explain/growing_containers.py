"""Which containers grow: their lengths before and after some runs.

Finds the holder of anything, even of ``None``.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from weakref import ReferenceType

from pytest_leakguard.core.foreign import (
    is_a,
    modules,
    namespace_of_class,
    namespace_of_module,
    referents,
)
from pytest_leakguard.counters.caches import LRU_CACHE, limit_of

_NOTHING_KEPT = (type(None), bool, int, ReferenceType)
"""Types of values beside weak references that are nothing to keep."""
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
        if type(self.container) is LRU_CACHE:
            return limit_of(self.container)
        return deque.maxlen.__get__(self.container) if is_a(self.container, deque) else None

    @property
    def is_index(self) -> bool:
        """Whether it only lists, by weak references, what something else keeps alive.

        Of dead ones it is the holder, and so it is of what it keeps beside weak references.
        """
        inside = self.container
        if is_a(inside, set):
            # The methods of dict and set themselves, since those of a subclass are somebody's code.
            return _is_alive(next(set.__iter__(inside), None))
        if not is_a(inside, dict) or not dict.__len__(inside):
            return False
        key = next(iter(dict.__reversed__(inside)))
        value = newest(inside)
        if _is_alive(value):
            return True
        return _is_alive(key) and is_exactly(value, _NOTHING_KEPT)

    def is_like(self, other: Growing) -> bool:
        """Whether nothing but chance would say which of the two grows with the leak."""
        are_alike = self.is_index == other.is_index and bool(self.most) == bool(other.most)
        return are_alike and abs(self.per_run - other.per_run) <= 0.05 * other.per_run


def _is_alive(thing: Any) -> bool:
    """Whether it is a weak reference to something that is there."""
    return is_a(thing, ReferenceType) and ReferenceType.__call__(thing) is not None


def growing(
    work: Callable[[], object],
    runs: int,
    tidy: Callable[[], object] = int,
    least: int = 0,
    among: Iterable[Any] = (),
) -> tuple[Growing, ...]:
    """Containers that grow in both halves of the runs, fastest first.

    ``tidy`` drops what may come and go. What holds fewer than ``least`` elements at first is left
    out. ``among`` are those to look at, where they are known, which takes no pass over the heap.

    After all that may grow for ever come those with a limit, since one that fills says nothing of a
    leak beside it, and then those that hold nothing.
    """
    for _ in range(2):
        work()
    tidy()
    looked_at = _Among(among)
    before = looked_at.lengths(least)
    for _ in range(runs):
        work()
    tidy()
    middle = looked_at.lengths(least)
    for _ in range(runs):
        work()
    tidy()
    looked_at.collect()
    found = []
    for container, measure in looked_at.containers():
        key = id(container)
        now = measure(container)
        if key in before and now > middle.get(key, now) > before[key]:
            found.append(Growing(container, (now - middle[key]) / runs, newest(container)))
    left_out = {id(before), id(middle), id(found)}
    for candidate in found:
        if candidate.most:  # a cache grows as the dict inside it does
            left_out.update(map(id, referents(candidate.container)))
    theirs = [candidate for candidate in found if id(candidate.container) not in left_out]
    theirs.sort(key=_order)
    return tuple(theirs)


def _order(growing: Growing) -> tuple[bool, bool, float]:
    return growing.is_index, bool(growing.most), -growing.per_run


class _Among:
    """The containers to look at; of ours, so that it is never taken for a holder."""

    __slots__ = ("_is_all", "_known")

    def __init__(self, known: Iterable[Any]) -> None:
        self._known: list[tuple[Any, Callable[[Any], int]]] = []
        self._is_all = True
        for container in known:
            self._is_all = False
            if measure := _measure_of(type(container)):
                self._known.append((container, measure))

    def containers(self) -> Iterable[tuple[Any, Callable[[Any], int]]]:
        """Those that are known, or all there are."""
        return containers() if self._is_all else self._known

    def collect(self) -> None:
        """Garbage is no container; those that are known are none."""
        if self._is_all:
            gc.collect()

    def lengths(self, least: int) -> dict[int, int]:
        """By their identity."""
        self.collect()
        lengths: dict[int, int] = {}
        for container, measure in self.containers():
            length_now = measure(container)
            if length_now >= least:
                lengths[id(container)] = length_now
        return lengths


def containers() -> Iterator[tuple[Any, Callable[[Any], int]]]:
    """Every container there is, with what measures it."""
    yield from tracked_containers()
    yield from _untracked()


def tracked_containers() -> Iterator[tuple[Any, Callable[[Any], int]]]:
    """Those that the collector knows."""
    measures: dict[int, Callable[[Any], int] | None] = {}
    for candidate in gc.get_objects():
        kind = type(candidate)
        if id(kind) not in measures:
            measures[id(kind)] = _measure_of(kind)
        if measure := measures[id(kind)]:
            yield candidate, measure


def _untracked() -> Iterator[tuple[Any, Callable[[Any], int]]]:
    """Those of modules, classes and namespaces that the collector does not know.

    They are dicts of plain values.
    """
    for _, module in modules():
        for value in list(namespace_of_module(module).values()):
            if is_a(value, type):
                yield from _untracked_in(namespace_of_class(value).values())
            elif type(value) is SimpleNamespace:
                yield from _untracked_in(referents(value))
        yield from _untracked_in(namespace_of_module(module).values())


def _untracked_in(values: Iterable[Any]) -> Iterator[tuple[Any, Callable[[Any], int]]]:
    for value in list(values):
        if is_exactly(value, _LENGTHS) and not gc.is_tracked(value):
            yield value, _LENGTHS[type(value)]


def is_exactly(thing: Any, kinds: Iterable[type]) -> bool:
    """Whether its type is one of these.

    By identity, since the type of a type may have a hash of its own.
    """
    return any(type(thing) is kind for kind in kinds)


def _measure_of(kind: type) -> Callable[[Any], int] | None:
    """Returns the real length of such a container, whatever a subclass's ``__len__`` says."""
    if kind is LRU_CACHE:
        return lambda cache: int(cache.cache_info().currsize)
    for base, measure in _LENGTHS.items():
        if issubclass(kind, base):
            return measure
    return None


def length(container: Any) -> int:
    """The real length."""
    measure = _measure_of(type(container))
    return measure(container) if measure else 0


def bytes_per_entry(container: Any) -> float:
    """What an entry takes in the container's own table; 0 where that is not known."""
    for base in _LENGTHS:
        if is_a(container, base):
            measure: Any = base.__sizeof__  # the base's own, whatever a subclass has put there
            return float(measure(container)) / max(1, length(container))
    return 0.0


def newest(container: Any) -> Any:
    """One of the elements that came last, as far as the container keeps an order."""
    try:
        if is_a(container, list):
            return list.__getitem__(container, -1)
        if is_a(container, deque):
            return deque.__getitem__(container, -1)
        if is_a(container, dict):
            return next(reversed(dict.values(container)))
        if is_a(container, set):
            return next(set.__iter__(container))
        return _newest_cached(container)
    except (StopIteration, RuntimeError, IndexError):
        return None


def _newest_cached(cache: Any) -> Any:
    """A result that a ``functools.lru_cache`` keeps: it has a dict of its own for them."""
    for inside in referents(cache):
        if type(inside) is dict and inside:
            return next(iter(dict.values(inside)))
    return None
