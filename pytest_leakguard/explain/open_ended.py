"""Which containers of a service take entries with its requests, and whether that ever ends.

Loaded by the agent while the service is driven. A container tells by its type, by its holder or by
its source how much it will hold; one whose source is known and never takes anything out has no end.
Runs nobody's code.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

from pytest_leakguard.core.foreign import is_a, namespace_of_module, referents
from pytest_leakguard.counters.caches import LRU_CACHE
from pytest_leakguard.explain import limits
from pytest_leakguard.explain.growing_containers import tracked_containers
from pytest_leakguard.explain.references import Path, path_to
from pytest_leakguard.explain.removals import is_source_known, removal_of
from pytest_leakguard.explain.roots import is_ours

_MOST_ASKED = 6
"""Containers that are asked, those that grew most; each takes some passes over the heap."""
_LEAST_SHARE = 0.1
"""Least growth of a container that is asked, as a share of that of the one that grew most."""
_MOST_TEXTS = 4
"""Steps that are told of the way to a container, the last ones."""
_OVERFULL = 2
"""Entries beyond which a limit is none, as a multiple of it; some let go now and then."""
LEAST_GROWTH = 20
"""Least number of entries that a container has to take between two questions."""


class Lengths:
    """Remembers the lengths of all containers from one question to the next; keeps none alive."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before: dict[int, int] = {}

    def grown(self) -> list[dict[str, Any]]:
        """What grew since the last question, as JSON has it, most first."""
        before, now = self._before, dict[int, int]()
        found: list[tuple[int, int, Any]] = []
        passed = {id(before), id(now), id(found), *_ours()}
        for container, length in _measured():
            if id(container) in now:
                continue
            now[id(container)] = length
            growth = length - before.get(id(container), length)
            if growth >= LEAST_GROWTH:
                found.append((growth, length, container))
            if type(container) is LRU_CACHE:  # it is asked itself, not the dict inside it
                passed.update(map(id, referents(container)))
        self._before = now
        theirs = [one for one in found if id(one[2]) not in passed]
        theirs.sort(key=lambda one: -one[0])
        del found
        least = _LEAST_SHARE * theirs[0][0] if theirs else 0
        asked = [one for one in theirs[:_MOST_ASKED] if one[0] >= least]
        del theirs
        told: list[dict[str, Any]] = []
        while asked:  # what is still in the list would be one more that refers to it
            growth, length, container = asked.pop(0)
            told.append(_told(growth, length, container))
        return told


def _measured() -> Iterator[tuple[Any, int]]:
    """Every container there is, with its length."""
    for container, measure in tracked_containers():
        yield container, measure(container)
    # The collector does not know dicts of plain values, only what refers to them.
    for thing in gc.get_objects():
        for part in referents(thing):
            if type(part) is dict and not gc.is_tracked(part):
                yield part, len(part)


def _ours() -> Iterator[int]:
    """Caches and tables of this package, which grow as the service's are looked at."""
    for module in list(sys.modules.values()):
        if is_ours(module):
            yield from map(id, namespace_of_module(module).values())


def _told(growth: int, length: int, container: Any) -> dict[str, Any]:
    path = path_to(container)
    most, why, is_open = _end_of(container, path, length)
    return {
        "growth": growth,
        "length": length,
        "most": most,
        "is_open": is_open,
        "is_list": is_a(container, list),
        "held_by": path.texts[-_MOST_TEXTS:],
        "why": why,
    }


def _end_of(container: Any, path: Path, length: int) -> tuple[int, str, bool]:
    """How much it will hold, or 0; who says so; and whether it is known that it has no end.

    A limit that has been exceeded by far is not in force, or means something else.
    """
    found = limits.limit_on(limits.near(path.steps))
    if found is not None and length <= _OVERFULL * found[0]:
        return found[0], f"its holder says that it keeps at most {found[0]:,} ({found[1]})", False
    removal = removal_of(container, path.steps)
    if removal is None:
        return 0, "", path.is_complete and is_source_known(container, path.steps)
    if not removal.limit:
        return 0, f"{removal.place} takes entries out", False
    if length > _OVERFULL * removal.limit:  # it is not reached, or not yet
        return 0, "", False
    why = f"{removal.place} takes entries out beyond {removal.limit:,}"
    return removal.limit, why, False
