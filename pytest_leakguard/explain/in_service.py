"""The line and the holder of a leak, found inside a service while it is driven on.

Loaded by the agent once a leak is confirmed. A window is a number of requests that the harness
sends while the agent waits; what allocates in each of them and stays is traced to its line, and
the container that grows with it is followed to a root. Imports nothing that a service may lack.
"""

from __future__ import annotations

import gc
import tracemalloc
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import ReferenceType

from pytest_leakguard.core.foreign import is_a, referents
from pytest_leakguard.counters._cpython import allocation_of
from pytest_leakguard.explain.allocations import FRAMES, Places, frames_at, places
from pytest_leakguard.explain.code_owner import Owner, Site, owner, source_line
from pytest_leakguard.explain.growing_containers import Growing, growing, newest
from pytest_leakguard.explain.kinds import kind_of
from pytest_leakguard.explain.opened import Opened, opening_calls
from pytest_leakguard.explain.path_words import Growth
from pytest_leakguard.explain.references import Path, path_to

WINDOWS = 4
"""Windows that one explanation takes: two to settle, two in which a leak has to grow."""
_EVEN_SHARE = 0.4
"""Least part of what one window leaves that the other has to leave too; what is made once, as a
cache that starts, does not come again."""
_LEAST_LENGTH = 8
"""Least entries of a container that may be what holds a leak, which has happened dozens of times;
most containers of a service have fewer."""
_MOST_ASKED = 12
"""Growing containers that are asked whether they hold what the line allocates."""
_DEEPEST = 3
"""Steps below an entry in which an allocation is looked for."""
_MOST_OPENED = 20
"""Lines that open something and are told."""
_MOST_KEPT = 2_000
"""Objects below an entry that are added up."""
_LEAST_BUFFER_BYTES = 1024
"""Least size of a block that may be a buffer that grows, in bytes; smaller ones are chance."""
_NOT_KEPT = (type, types.ModuleType, types.FrameType)
"""Types of objects that an entry refers to and does not keep."""
_SIZED: tuple[Any, ...] = (list, dict, set, str, bytes, bytearray, tuple, int)
_MOST_ENTRIES = 20_000
"""Entries of a set that are looked at for a new one."""
_MOST_PARTS = 200
"""Objects below an entry that are looked at."""
_MOST_OBJECTS = 200_000
"""Objects of the heap, the newest ones, in which one of the line's is looked for."""
PACE = "<pace>"
"""Stands in the path of holders for how fast the container grows, over all processes together."""


@dataclass(slots=True)
class _Left:
    """What one stack of calls has left in each window."""

    stack: Places
    first_bytes: int = 0
    first_blocks: int = 0
    last_bytes: int = 0
    last_blocks: int = 0

    @property
    def steady_bytes(self) -> int:
        """What both windows have left; 0 where only one of them did."""
        least, most = sorted((self.first_bytes, self.last_bytes))
        return least + most if least > _EVEN_SHARE * most else 0


def explain(window: Callable[[], object], requests: int) -> dict[str, Any]:
    """Return line and holder as JSON has them; empty where Python code leaves nothing.

    ``window`` returns once ``requests`` more have been served.
    """
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start(FRAMES)
    gc.unfreeze()  # what is frozen would be no holder
    snapshots: list[dict[Places, tuple[int, int]]] = []
    calls = opening_calls()
    calls.wake()
    try:
        found = growing(window, 1, lambda: snapshots.append(_snapshot()), _LEAST_LENGTH)
        containers = tuple(one for one in found if not _is_list_of_weak(one))
        del found
        left = _steady(snapshots) or ([] if containers else _grown_blocks(snapshots))
        opened = calls.sleep()
        best = next(iter(left), None)
        line = _line_of(best.stack) if best else None
        holder = _holder(containers, line)
        if best is None and holder is None and not opened:
            return {}
        if holder is not None and holder.container is not None:
            best = _entry(holder.container, left) or best
        answer = _site(best, holder, requests)
        answer.update(_held(holder, line, requests))
        answer["opened"] = [_of_call(one, requests) for one in opened[:_MOST_OPENED]]
        return answer
    finally:
        calls.sleep()
        if not was_tracing:
            tracemalloc.stop()
        gc.collect()
        gc.freeze()


def _snapshot() -> dict[Places, tuple[int, int]]:
    """Bytes and blocks alive by the calls that allocated them, since tracing began."""
    gc.collect()
    sizes: dict[Places, tuple[int, int]] = {}
    for trace in tracemalloc.take_snapshot().traces:
        stack = places(trace.traceback)
        size_bytes, blocks = sizes.get(stack, (0, 0))
        sizes[stack] = size_bytes + trace.size, blocks + 1
    return sizes


def _steady(snapshots: list[dict[Places, tuple[int, int]]]) -> list[_Left]:
    """By their own line what grew in both windows, most first."""
    before, middle, after = snapshots
    by_line: dict[Any, _Left] = {}
    for stack, (size_bytes, blocks) in after.items():
        if not stack:
            continue
        at_middle, at_first = middle.get(stack, (0, 0)), before.get(stack, (0, 0))
        line = _line_of(stack) or stack
        left = by_line.setdefault(line, _Left(stack))
        left.first_bytes += at_middle[0] - at_first[0]
        left.first_blocks += at_middle[1] - at_first[1]
        left.last_bytes += size_bytes - at_middle[0]
        left.last_blocks += blocks - at_middle[1]
        if len(stack) > len(left.stack):
            left.stack = stack
    steady = [left for left in by_line.values() if left.steady_bytes > 0 and left.last_blocks > 0]
    return sorted(steady, key=_order)


def _grown_blocks(snapshots: list[dict[Places, tuple[int, int]]]) -> list[_Left]:
    """By their calls single blocks that came large: a buffer that was full, and was made larger.

    It was there before tracing began, and counts with all that it has now.
    """
    found: list[_Left] = []
    for stack, (size_bytes, blocks) in snapshots[-1].items():
        if size_bytes >= _LEAST_BUFFER_BYTES and blocks == 1 and _line_of(stack) is not None:
            found.append(_Left(stack, size_bytes // 2, 1, size_bytes // 2, 1))
    return sorted(found, key=_order)


def _order(left: _Left) -> tuple[bool, int, Places]:
    """The interpreter's own last, then by size, then always the same."""
    is_interpreters = all(owner(file) > Owner.LIBRARY for file, _ in left.stack)
    return is_interpreters, -left.steady_bytes, left.stack


def _line_of(stack: Places) -> tuple[str, int] | None:
    """The innermost line of the user's own code, or else of a library's."""
    for wanted in (Owner.USER, Owner.LIBRARY):
        for file, line in stack:
            if owner(file) is wanted:
                return file, line
    return None


def _entry(container: Growing, left: list[_Left]) -> _Left | None:
    """Where the entries of the container are made, with all that is made for them.

    What an entry allocates of its own, as in its ``__init__``, hangs on it.
    """
    trace = allocation_of(_recent(container.container))
    stack = places(trace) if trace is not None else ()
    line = _line_of(stack)
    if line is None:
        return None
    kept_bytes = _kept_bytes(container)
    entry = _Left(stack)
    for one in left:
        if line in one.stack:
            entry.first_bytes += one.first_bytes
            entry.last_bytes += one.last_bytes
    entry.first_bytes = max(entry.first_bytes, kept_bytes)
    entry.last_bytes = max(entry.last_bytes, kept_bytes)
    return entry if entry.steady_bytes else None


def _kept_bytes(container: Growing) -> int:
    """What the entries of one window keep alive of all that was made since tracing began."""
    level, seen, size_bytes = [*_recent_parts(container.container)], set[int](), 0
    while level and len(seen) < _MOST_KEPT:
        one = level.pop()
        if id(one) in seen or is_a(one, _NOT_KEPT) or allocation_of(one) is None:
            continue
        seen.add(id(one))
        size_bytes += _size_bytes(one)
        level += referents(one)
    return int(size_bytes * container.per_run)


def _size_bytes(thing: Any) -> int:
    """Its own size, as its built-in type says, whatever a subclass says."""
    for kind in _SIZED:
        if is_a(thing, kind):
            return int(kind.__sizeof__(thing))
    return object.__sizeof__(thing)


def _recent(container: Any) -> Any:
    """One of the entries that were made since tracing began, or any; a set has no order."""
    if not is_a(container, set):
        return newest(container)
    for entry in islice(set.__iter__(container), _MOST_ENTRIES):
        if allocation_of(entry) is not None:
            return entry
    return newest(container)


def _recent_parts(container: Any) -> Iterator[Any]:
    """The entry, and in a dict its key, which may be the larger of the two."""
    yield _recent(container)
    if is_a(container, dict):
        with suppress(RuntimeError):  # it has changed meanwhile
            yield next(iter(dict.__reversed__(container)), None)


def _is_list_of_weak(one: Growing) -> bool:
    """Whether it only lists what something else keeps alive."""
    return one.is_index or type(newest(one.container)) is ReferenceType


# The container that grows with it.


class _Holder:
    """What holds the leak; of ours, so that it is never taken for a holder."""

    __slots__ = ("container", "path")

    def __init__(self, container: Growing | None, path: Path) -> None:
        self.container = container
        self.path = path


def _holder(containers: tuple[Growing, ...], line: tuple[str, int] | None) -> _Holder | None:
    """The container whose newest entries are of this line, or the one that grows fastest.

    Where none grows, whatever holds an object of the line.
    """
    unlimited = [one for one in containers if not one.most]
    asked = unlimited[:_MOST_ASKED]
    asked.sort(key=lambda one: -_kept_bytes(one))  # what keeps most comes first
    of_line: list[Growing] = []
    for one in asked:
        if line is not None and _comes_from(_recent(one.container), line):
            of_line.append(one)
    for one in of_line or asked:
        path = path_to(one.container)
        if path.is_complete:
            return _Holder(one, path)
    thing = _object_of(line) if line is not None else None
    if thing is not None:
        path = path_to(thing)
        if path.is_complete:
            inside = {id(step) for step in path.steps}
            grown = next((one for one in asked if id(one.container) in inside), None)
            return _Holder(grown, path)
    del thing
    for one in asked:
        path = path_to(one.container)
        if path.is_complete:
            return _Holder(one, path)
    return None


def _comes_from(thing: Any, line: tuple[str, int]) -> bool:
    """Whether the object, or one that it leads to nearby, was allocated on the line."""
    level, seen = [thing], set[int]()
    for _ in range(_DEEPEST):
        following: list[Any] = []
        for one in level:
            if id(one) in seen or len(seen) > _MOST_PARTS or is_a(one, type):
                continue
            seen.add(id(one))
            trace = allocation_of(one)
            if trace is not None and _line_of(places(trace)) == line:
                return True
            following += referents(one)
        level = following
    return False


def _object_of(line: tuple[str, int]) -> Any:
    """One of the objects that were allocated on the line since tracing began."""
    for thing in _newest_objects():
        trace = allocation_of(thing)
        if trace is not None and _line_of(places(trace)) == line:
            return thing
    return None


def _newest_objects() -> Iterator[Any]:
    objects = gc.get_objects()
    yield from objects[-_MOST_OBJECTS:]


# Words.


def _site(best: _Left | None, holder: _Holder | None, requests: int) -> dict[str, Any]:
    if best is None:
        return {"stack": [], "names": [], "bytes": 0.0, "details": []}
    site = Site(frames_at(best.stack))
    own = site.own
    details: list[str] = []
    if own is not None and source_line(own):
        details.append(f"line: {source_line(own)}")
    return {
        "stack": [(frame.function, frame.file, frame.line) for frame in site.reading_order],
        "names": list(site.names),
        "bytes": best.steady_bytes / 2 / requests,
        "details": details,
    }


def _of_call(opened: Opened, requests: int) -> dict[str, Any]:
    left = _Left(opened.stack)
    site = _site(left, None, requests)
    pace = opened.count / (WINDOWS * requests)
    return {**site, "kind": opened.kind, "path": opened.path, "entries": pace}


def _held(holder: _Holder | None, line: tuple[str, int] | None, requests: int) -> dict[str, Any]:
    if holder is None:
        return {"holders": [], "held_by": "", "entries": 0.0}
    path, container = holder.path, holder.container
    growth, per_request = Growth(), 0.0
    if container is not None:
        per_request = container.per_run / requests
        entry = _recent(container.container)
        growth = Growth(container.container, PACE, kind_of(entry))
    texts = path.texts_to(growth) if container is not None else path.texts
    return {"holders": list(texts), "held_by": path.read(growth), "entries": per_request}
