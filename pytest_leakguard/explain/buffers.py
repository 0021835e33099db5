"""Which buffer grows: of a bytearray, an array, a stream in memory.

They leave no object of their own.
"""

from __future__ import annotations

import array
import gc
import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

from pytest_leakguard.core.foreign import modules, namespace_of_module, referents
from pytest_leakguard.tracker.streams import bytes_of_stream

Work = Callable[[], object]
_Measure = Callable[[Any], int]


class Buffer:
    """A buffer that has grown; of ours, so that it is never taken for a holder."""

    __slots__ = ("_measure", "bytes_per_run", "thing")

    def __init__(self, thing: Any, measure: _Measure, bytes_per_run: float) -> None:
        self.thing = thing
        self._measure = measure
        self.bytes_per_run = bytes_per_run

    def size_bytes(self) -> float:
        """How long it is now."""
        return float(self._measure(self.thing))


def growing_buffer(
    work: Work, runs: int, tidy: Callable[[], object] = int, among: Iterable[Any] = ()
) -> Buffer | None:
    """The one that grows fastest in each of some runs, of those where they are known."""
    found = _known(among)
    if found is None:
        gc.collect()
        found = _buffers(_measures())
    before = [measure(thing) for thing, measure in found]
    for _ in range(runs):
        work()
    middle = [measure(thing) for thing, measure in found]
    for _ in range(runs):
        work()
    tidy()
    best: tuple[int, Buffer] | None = None
    for at, (thing, measure) in enumerate(found):
        late = measure(thing) - middle[at]
        if late > 0 and middle[at] > before[at] and (best is None or late > best[0]):
            best = late, Buffer(thing, measure, late / runs)
    found.clear()  # or the list would be taken for a holder
    return None if best is None else best[1]


def _known(among: Iterable[Any]) -> list[tuple[Any, _Measure]] | None:
    """Buffers among what is known; ``None`` where nothing is."""
    measures, found = _measures(), dict[int, tuple[Any, _Measure]]()
    is_known = False
    for thing in among:
        is_known = True
        _add_buffer(found, measures, thing)
    return list(found.values()) if is_known else None


def all_buffers() -> list[Any]:
    """All whose length can be told, wherever something refers to one; takes a pass over the heap.

    Nothing may be frozen.
    """
    return [thing for thing, _ in _buffers(_measures())]


def _measures() -> dict[int, _Measure]:
    """By the identity of a type, how long its buffer is; the interpreter's types and numpy's."""
    found: dict[int, _Measure] = {
        id(bytearray): bytearray.__len__,
        id(array.array): _bytes_of_array,
        id(io.BytesIO): bytes_of_stream,
        id(io.StringIO): bytes_of_stream,
    }
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        kind = namespace_of_module(numpy).get("ndarray")
        if type(kind) is type:
            found[id(kind)] = kind.__dict__["nbytes"].__get__
    return found


def _bytes_of_array(values: Any) -> int:
    return len(values) * int(values.itemsize)


def _buffers(measures: dict[int, _Measure]) -> list[tuple[Any, _Measure]]:
    """All there are, wherever something refers to one."""
    found: dict[int, tuple[Any, _Measure]] = {}
    holders = gc.get_objects()
    holders.extend(namespace_of_module(module) for _, module in modules())
    for holder in holders:
        for part in (holder, *referents(holder)):
            _add_buffer(found, measures, part)
            if type(part) is tuple and not gc.is_tracked(part):  # defaults of a function may be one
                for inner in part:
                    _add_buffer(found, measures, inner)
    return list(found.values())


def _add_buffer(
    found: dict[int, tuple[Any, _Measure]], measures: dict[int, _Measure], thing: Any
) -> None:
    measure = measures.get(id(type(thing)))
    if measure is not None and id(thing) not in found:
        found[id(thing)] = (thing, measure)
