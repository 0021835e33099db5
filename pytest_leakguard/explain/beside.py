"""What of a run stays beside a holder that has a limit. Runs nobody's code.

A cache that fills keeps something of every run, and hides a leak in the same run. What the cache
alone holds has as many references as the cache and the survivors themselves have to it; what has
more is held by somebody else as well.
"""

from __future__ import annotations

import types
from bisect import bisect
from typing import Any

from pytest_leakguard.core.foreign import is_a, modules, namespace_of_module, referents
from pytest_leakguard.explain.survivors import Survivors, Target
from pytest_leakguard.tracker.containers import words_of
from pytest_leakguard.tracker.objects import PREFIXES_BYTES, counted_blocks, objects_of
from pytest_leakguard.tracker.tracker import Block, Tracker

MOST_PARTS = 1_000_000
"""Objects of a cache that are looked at, in half a second; of a larger one nothing is said."""
_TAG = 1
"""By which an object's pointer to the values of its attributes may be too low (CPython 3.12); in
3.11 it leads into the block, behind a few bytes of the table's own."""
_NOT_FOLLOWED = (types.ModuleType, type, types.FunctionType, types.FrameType, types.CodeType)
"""What leads from a cache to the rest of the program."""


class Beside:
    """What stays beside it; of ours, so that it is never taken for a holder."""

    __slots__ = ("_inside", "blocks", "first", "size_bytes", "types")

    def __init__(self, tracker: Tracker, run: int, holder: Any) -> None:
        blocks = counted_blocks(tracker, run)
        things = objects_of(tracker, blocks)
        survivors = Survivors(things)
        parts = parts_of(holder)
        self._inside = frozenset(map(id, parts))
        known = frozenset(map(id, things))
        others = [part for part in parts if id(part) not in known]
        del parts  # each of its references would count
        held = survivors.held_beside(others) if others else []
        self.first: Target | None = survivors.order(held) if held else None
        below = survivors.below(held)
        self.types = Survivors(below).types()
        """Of what stays beside it."""
        stays = frozenset(map(id, below))
        kept = _blocks_of(below, [thing for thing in things if id(thing) not in stays], blocks)
        self.blocks = len(kept)
        self.size_bytes = sum(block.size_bytes for block in kept)

    def is_inside(self, thing: Any) -> bool:
        """Whether an object is a part of the holder."""
        return id(thing) in self._inside


def parts_of(holder: Any) -> list[Any]:
    """All that it leads to, but for variables of modules; nothing where that is too much."""
    variables = _variables()
    seen = {id(holder)}
    queue = [holder]
    for thing in queue:
        for part in referents(thing):
            key = id(part)
            if key in seen or key in variables or is_a(part, _NOT_FOLLOWED):
                continue
            seen.add(key)
            queue.append(part)
        if len(queue) > MOST_PARTS:
            return []
    return queue


def _variables() -> frozenset[int]:
    """The identities of what variables of modules name, and of the modules' own dicts."""
    found: set[int] = set()
    for _, module in modules():
        namespace = namespace_of_module(module)
        found.add(id(namespace))
        found.update(id(value) for value in list(namespace.values()) if not is_a(value, _PLAIN))
    return frozenset(found)


_PLAIN = (str, bytes, int, float, type(None))


def _blocks_of(things: list[Any], others: list[Any], blocks: tuple[Block, ...]) -> list[Block]:
    """The blocks of these objects and of their tables; in others stand the other objects."""
    free = {block.address: block for block in blocks}
    for thing in others:
        _take_block(thing, free)
    found = [block for thing in things if (block := _take_block(thing, free)) is not None]
    starts = sorted(free)
    for block in found:
        for word in words_of(block):
            at = bisect(starts, word + _TAG)
            inside = free.get(starts[at - 1]) if at else None
            if inside is not None and word < inside.address + inside.size_bytes:
                found.append(free.pop(inside.address))
    return found


def _take_block(thing: Any, free: dict[int, Block]) -> Block | None:
    """The block that an object stands in."""
    for prefix in PREFIXES_BYTES:
        block = free.pop(id(thing) - prefix, None)
        if block is not None:
            return block
    return None
