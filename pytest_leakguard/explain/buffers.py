"""Which buffer grows: of a bytearray, an array, a stream in memory.

They leave no object of their own.
"""

from __future__ import annotations

import array
import gc
import io
import sys
from collections.abc import Callable
from typing import Any

from pytest_leakguard.core.foreign import modules, namespace_of_module, referents

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


def growing_buffer(work: Work, runs: int, tidy: Callable[[], object] = int) -> Buffer | None:
    """The one that grows fastest in each of some runs."""
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


def _measures() -> dict[int, _Measure]:
    """By the identity of a type, how long its buffer is; the interpreter's types and numpy's."""
    found: dict[int, _Measure] = {
        id(bytearray): bytearray.__len__,
        id(array.array): _bytes_of_array,
        id(io.BytesIO): _position(io.BytesIO.tell),
        id(io.StringIO): _position(io.StringIO.tell),
    }
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        kind = namespace_of_module(numpy).get("ndarray")
        if type(kind) is type:
            found[id(kind)] = kind.__dict__["nbytes"].__get__
    return found


def _bytes_of_array(values: Any) -> int:
    return len(values) * int(values.itemsize)


def _position(tell: _Measure) -> _Measure:
    def measure(stream: Any) -> int:
        try:
            return tell(stream)
        except ValueError:  # it is closed
            return 0

    return measure


def _buffers(measures: dict[int, _Measure]) -> list[tuple[Any, _Measure]]:
    """All there are, wherever something refers to one."""
    found: dict[int, tuple[Any, _Measure]] = {}
    holders = gc.get_objects()
    holders.extend(namespace_of_module(module) for _, module in modules())
    for holder in holders:
        for part in (holder, *referents(holder)):
            key = id(type(part))
            if key in measures and id(part) not in found:
                found[id(part)] = (part, measures[key])
    return list(found.values())
