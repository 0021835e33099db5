"""What a run has left, and on which of it the rest hangs. Runs nobody's code."""

from __future__ import annotations

import gc
import sys
import types
from collections import Counter as Tally
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any
from weakref import ReferenceType

from pytest_leakguard.core.collector import Collector
from pytest_leakguard.core.foreign import is_a, module_of, name_of, qualname_of, referents
from pytest_leakguard.explain.kinds import IsNew, is_context_node, is_type_of_double
from pytest_leakguard.tracker.objects import PREFIXES_BYTES, counted_blocks, objects_of
from pytest_leakguard.tracker.tracker import LARGEST_RUN, Tracker

MOST_ROOTS = 6
"""Survivors whose ways to a root are looked at, where the first is held by a test double."""
_MOST_STEPS = 200_000
"""References followed to weigh survivors; more would take seconds."""
_SIZED = tuple(
    map(id, (bytearray, bytes, str, list, dict, set, tuple, int, float, types.FrameType))
)
_COUNTED = (tuple, int, bytes)
"""Types of which an object says how many items it has; a generator or a frame has something else
in that place."""
_ITEMSIZE_OF: Any = type.__dict__["__itemsize__"].__get__
_BASICSIZE_OF: Any = type.__dict__["__basicsize__"].__get__


def survivors_of(tracker: Tracker, run: int | None) -> list[Any]:
    """The objects that a run has left, without what the interpreter keeps for good."""
    return [] if run is None else objects_of(tracker, counted_blocks(tracker, run))


def made_since(tracker: Tracker, run: int | None) -> IsNew:
    """Whether an object was made in this run or a later one."""

    def is_new(thing: Any) -> bool:
        if run is None:
            return False
        for prefix in PREFIXES_BYTES:
            block = tracker.find(id(thing) - prefix)
            if block is not None and block.address == id(thing) - prefix:
                return block.run != 0 and (block.run - run) % LARGEST_RUN < LARGEST_RUN // 2
        return False

    return is_new


def is_interpreters(kind: type) -> bool:
    """Whether a type is of the interpreter itself, which says little about a program."""
    return module_of(kind) in _INTERPRETERS


_INTERPRETERS = ("builtins", "weakref", "_contextvars", "_thread", "_asyncio", "asyncio.events")


class Target:
    """An object to look for, and the next best; of ours, so that it is never taken for a holder."""

    __slots__ = ("following", "thing")

    def __init__(self, thing: Any, following: Target | None) -> None:
        self.thing, self.following = thing, following

    def all(self) -> Iterator[Target]:
        """This one and those after it."""
        at: Target | None = self
        while at is not None:
            yield at
            at = at.following


class Survivors:
    """The objects of one run; of ours, so that it is never taken for a holder."""

    __slots__ = ("_inside", "_things", "kinds")

    def __init__(self, things: list[Any]) -> None:
        self._things = things
        self._inside = {id(thing): at for at, thing in enumerate(things)}
        self.kinds: Tally[int] = Tally(id(type(thing)) for thing in things)
        """How many there are of each type, by the identity of the type."""

    def types(self) -> list[tuple[type, int]]:
        """The types, the interpreter's own last, then the most frequent first."""
        by_id = {id(type(thing)): type(thing) for thing in self._things}
        found = [(by_id[key], count) for key, count in self.kinds.items()]
        return sorted(
            found,
            key=lambda entry: (is_interpreters(entry[0]), -entry[1], name_of(entry[0])),
        )

    def roots(self) -> Target | None:
        """Those that something outside refers to, the one on which most of the others hang first.

        ``None`` where there are no survivors.
        """
        return self.order(self.held_beside(()) or self._things)

    def order(self, candidates: list[Any]) -> Target | None:
        """Of these survivors one of each type, the one on which most of the others hang first.

        Without texts that are still being written: runs that follow would write on, and move them.
        """
        candidates = self._finished(candidates)
        strong = [thing for thing in candidates if _is_telling(thing)]
        weighed: list[tuple[bool, int, str, int, Any]] = []
        steps = 0
        for thing in strong or candidates:
            weight, followed = self._weight_below(thing)
            kind = type(thing)
            order = (is_type_of_double(kind), -weight, name_of(kind), len(weighed))
            weighed.append((*order, thing))
            steps += followed
            if steps > _MOST_STEPS:
                break
        weighed.sort(key=lambda entry: entry[:4])
        first: Target | None = None
        for thing in reversed(_one_of_each_type([entry[4] for entry in weighed])):
            first = Target(thing, first)
        return first

    def _finished(self, things: list[Any]) -> list[Any]:
        """Without texts that no object known to the collector refers to.

        ``StringIO`` of CPython 3.12 writes into a ``str`` of its own, and gives it another place
        whoever else has a reference to it by then.
        """
        texts = {id(thing) for thing in things if type(thing) in _WRITTEN}
        if not texts:
            return things
        held = referred(texts, {id(things), id(self._things)})
        return [thing for thing in things if id(thing) not in texts or id(thing) in held]

    def held_beside(self, others: Sequence[Any]) -> list[Any]:
        """Those that anything refers to which is neither a survivor nor one of these others.

        As the collector finds it: they have more references than come from all of these.
        """
        things, inner = self._things, [0] * len(self._things)
        for thing in chain(things, others):
            if is_context_node(thing):
                continue  # what a context holds says more than the inner parts of it
            for part in chain(referents(thing), _second_references(thing)):
                if id(part) in self._inside:
                    inner[self._inside[id(part)]] += 1
        thing = part = None  # which would be one more reference
        sample = [object()]
        ours = sys.getrefcount(sample[0])
        found = []
        for at in range(len(things)):
            if sys.getrefcount(things[at]) - ours > inner[at] + _has_hidden(things[at]):
                found.append(things[at])
        return found

    def below(self, tops: list[Any]) -> list[Any]:
        """These survivors and all others that hang on them."""
        found = list(tops)
        seen = set(map(id, found))
        for thing in found:
            for part in referents(thing):
                if id(part) in self._inside and id(part) not in seen:
                    seen.add(id(part))
                    found.append(part)
        return found

    def _weight_below(self, thing: Any) -> tuple[int, int]:
        """Bytes of survivors that hang on one of them, and how many references that took."""
        seen = {id(thing)}
        level = [thing]
        total = steps = 0
        while level:
            following = []
            for part in level:
                total += weight_bytes(part)
                for further in referents(part):
                    steps += 1
                    if id(further) in self._inside and id(further) not in seen:
                        seen.add(id(further))
                        following.append(further)
            level = following
        return total, steps


def referred(wanted: AbstractSet[int], ours: AbstractSet[int]) -> set[int]:
    """The objects, by identity, that others refer to as the collector sees it, or a part of them.

    ``ours`` are lists that do not count.
    """
    found: set[int] = set()
    seen: set[int] = set()
    objects = Collector.get_objects()
    for at in range(0, len(objects), _AT_ONCE):
        holders = [one for one in objects[at : at + _AT_ONCE] if _is_asked(one, ours)]
        parts = gc.get_referents(*holders)
        for part in parts:
            if id(part) in wanted:
                found.add(id(part))
            elif type(part) in _MAY_BE_UNKNOWN and not gc.is_tracked(part) and id(part) not in seen:
                seen.add(id(part))
                parts.extend(gc.get_referents(part))
        if len(found) == len(wanted):
            return found
    return found | _keys_among(wanted, objects)


def _keys_among(wanted: AbstractSet[int], objects: list[Any]) -> set[int]:
    """Those that are keys of a dict: the collector is not told of keys that are all strings."""
    found: set[int] = set()
    for holder in objects:
        parts = (holder, *referents(holder)) if is_a(holder, _NAMING) else (holder,)
        for part in parts:
            if is_a(part, dict):
                found.update(id(key) for key in list(dict.keys(part)) if id(key) in wanted)
    return found


_NAMING = (dict, list, tuple)
"""What may have a dict that the collector does not know, since all in it is plain."""
_AT_ONCE = 1_000
"""Objects that the collector is asked about in one call."""
_MAY_BE_UNKNOWN = (tuple, dict)
"""Types whose objects the collector may not know: those with plain values."""
_WRITTEN = (str, bytes)
"""Types of objects that their only owner may write into, and move."""


def _is_asked(holder: Any, ours: AbstractSet[int]) -> bool:
    """Neither ours nor a module, whose variables are asked for by their dict."""
    return id(holder) not in ours and not issubclass(type(holder), types.ModuleType)


def _second_references(thing: Any) -> Iterable[Any]:
    """The keys of an ``OrderedDict``: its list holds them too, and the collector is not told."""
    return dict.keys(thing) if type(thing) is OrderedDict else ()


def _has_hidden(thing: Any) -> int:
    """References of which the collector is not told: a link of an ``lru_cache`` has one."""
    kind = type(thing)
    return int(module_of(kind) == "functools" and qualname_of(kind) == "_lru_list_elem")


def _is_telling(thing: Any) -> bool:
    """Neither a weak reference, which holds nothing, nor an inner part of a context."""
    return not issubclass(type(thing), ReferenceType) and not is_context_node(thing)


def _one_of_each_type(things: list[Any]) -> list[Any]:
    """The first of each type, of as many types as are looked for."""
    found: dict[int, Any] = {}
    for thing in things:
        found.setdefault(id(type(thing)), thing)
    return list(found.values())[:MOST_ROOTS]


def weight_bytes(thing: Any) -> int:
    """Size with its buffers, of the interpreter's own types; asks nobody else's ``__sizeof__``."""
    kind: Any = type(thing)
    if _ITEMSIZE_OF(kind) and id(kind) not in _SIZED and not issubclass(kind, _COUNTED):
        return int(_BASICSIZE_OF(kind))
    measure: Callable[[Any], int] = kind.__sizeof__ if id(kind) in _SIZED else object.__sizeof__
    return int(measure(thing))
