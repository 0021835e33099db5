"""What of the blocks of one run is a leak, where there is no second run to tell.

What piles up in a container that was there before, and what nobody refers to any more, is one. What
is still in use is none, nor what is made once: imports, caches, a value bound to a name.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tracemalloc
import types
from array import array
from bisect import bisect_right
from collections import Counter as Tally
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType

from pytest_leakguard.core.foreign import (
    is_a,
    module_of,
    name_of,
    namespace_of,
    namespace_of_module,
    referents,
    slots_of,
)
from pytest_leakguard.counters._cpython import (
    frames_of_threads,
    variables_of_calls,
)
from pytest_leakguard.counters.caches import LRU_CACHE
from pytest_leakguard.explain import limits
from pytest_leakguard.explain.allocations import own_frames
from pytest_leakguard.explain.code_owner import Owner, Site, owner
from pytest_leakguard.explain.path_words import Growth, is_namespace
from pytest_leakguard.explain.places import NOWHERE
from pytest_leakguard.explain.references import Path, path_to
from pytest_leakguard.explain.roots import (
    RUNNER,
    UNKNOWN,
    Root,
    is_fixture,
    is_kept_by_runner,
    is_ours,
)
from pytest_leakguard.explain.survivors import is_interpreters
from pytest_leakguard.explain.threads import STILL_RUNNING
from pytest_leakguard.tracker.lost_stacks import is_lost_stack
from pytest_leakguard.tracker.objects import (
    PREFIXES_BYTES,
    counted_blocks,
    objects_of,
    plain_object,
)
from pytest_leakguard.tracker.tracker import Block, Domain, Tracker

MOST_TRACED = 50_000
"""Blocks whose places are looked up, in about a second. An import of ``xmlrpc.client`` makes 30,000
(measured), and an object of an import whose place is not known may look like a leak."""
MOST_KINDS = 4
"""Types that are named."""
MOST_ROOTS = 32
"""Objects whose holders are looked up; each takes some passes over the heap."""
LARGEST_SCANNED_BYTES = 1 << 20
"""Blocks above that hold data: they are not searched for addresses of other blocks."""
_WORD_BYTES = 8
"""Bytes of a pointer: only 64-bit builds are read."""
_CONTAINERS = (list, dict, set, deque, OrderedDict, defaultdict, tuple, frozenset)
_PLAIN = (str, bytes, int, float, complex)
"""Types of which objects may be alive although the collector knows nobody who refers to them."""
_IMPORTING = "<frozen importlib"
_RUNNING = "a call that is still running has them"
Traces = Mapping[int, tracemalloc.Traceback]
"""By the address of an object, where it was allocated."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a run has left that is a leak, as far as one run can tell."""

    python: Iterable[Block] = ()
    native: Iterable[Block] = ()
    """Blocks of malloc and mappings."""
    kinds: tuple[str, ...] = ()
    """``1 of type shop.Order``."""
    site: Site = NOWHERE
    excused: tuple[str, ...] = ()
    """What else is alive, and why it is no leak."""
    holders: tuple[str, ...] = ()
    held_by: str = ""
    """The holders as one line."""
    is_held: bool = False
    """The holders begin at something of Python's."""


class _Blocks:
    """The blocks that are alive of one run, and which of them refer to which."""

    __slots__ = ("_memory", "_starts", "all")

    def __init__(self, tracker: Tracker, run: int) -> None:
        try:
            self._memory = os.open("/proc/self/mem", os.O_RDONLY)
        except OSError:  # not this platform's
            self._memory = -1
        self.all = tuple(
            block for block in counted_blocks(tracker, run) if not is_lost_stack(block)
        )
        self._starts = [block.address for block in self.all]

    def close(self) -> None:
        if self._memory >= 0:
            os.close(self._memory)

    def read(self, address: int, size_bytes: int) -> bytes:
        """Memory, by the system, since another thread may unmap it meanwhile."""
        try:
            return os.pread(self._memory, size_bytes, address)
        except (OSError, OverflowError):
            return b""

    def around(self, address: int) -> Block | None:
        """The block that an address points into."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        block = self.all[at]
        return block if address < block.address + max(1, block.size_bytes) else None

    def reachable(self, roots: Iterable[Block]) -> set[Block]:
        """These and all that can be reached from them by addresses in their memory."""
        found = set(roots)
        level = list(found)
        while level:
            block = level.pop()
            for inner in self._referents(block):
                if inner not in found:
                    found.add(inner)
                    level.append(inner)
        return found

    def _referents(self, block: Block) -> Iterator[Block]:
        if not _WORD_BYTES <= block.size_bytes <= LARGEST_SCANNED_BYTES:
            return
        data = self.read(block.address, block.size_bytes)
        lowest = self._starts[0]
        for word in array("Q", data[: len(data) & -_WORD_BYTES]):
            if word >= lowest:
                inner = self.around(word)
                if inner is not None and inner is not block:
                    yield inner


def traces_of(tracker: Tracker, run: int) -> Traces:
    """Where objects of a run were allocated, as tracemalloc knows while it is on.

    Quick while all that is older is frozen.
    """
    found: dict[int, tracemalloc.Traceback] = {}
    starts = {block.address: block for block in counted_blocks(tracker, run)[:MOST_TRACED]}
    for thing in gc.get_objects():
        for prefix in PREFIXES_BYTES:
            if id(thing) - prefix in starts:
                _add_trace(found, thing)
                break
    for block in starts.values():
        thing = plain_object(tracker, block)
        if thing is not None:
            _add_trace(found, thing)
    return found


def _add_trace(found: dict[int, tracemalloc.Traceback], thing: Any) -> None:
    trace = tracemalloc.get_object_traceback(thing)
    if trace is not None:
        found[id(thing)] = trace


def left_by(tracker: Tracker, run: int, traces: Traces) -> Left:
    """What of a run is a leak, with the places of ``traces_of``. Nothing may be frozen."""
    blocks = _Blocks(tracker, run)
    try:
        return _Inspection(tracker, blocks, traces).left()
    finally:
        blocks.close()


class _Inspection:
    """One look at the survivors of a run.

    It knows objects by their addresses only, or its own lists would be taken for their holders.
    """

    __slots__ = (
        "_blocks",
        "_calls",
        "_excused",
        "_inside",
        "_leaked",
        "_reasons",
        "_roots",
        "_traces",
    )

    def __init__(self, tracker: Tracker, blocks: _Blocks, traces: Traces) -> None:
        self._blocks, self._traces = blocks, traces
        python = [block for block in blocks.all if block.domain is Domain.PYTHON]
        objects = objects_of(tracker, python)
        self._inside = {id(thing): type(thing) for thing in objects}
        self._roots = _referred_from_outside(objects)
        self._calls = variables_of_calls(_running_calls(), blocks.read)
        self._reasons: Tally[str] = Tally()
        self._leaked: list[int] = []
        self._excused: list[int] = []

    def left(self) -> Left:
        """The answer."""
        first: Path | None = None
        for address in self._roots[:MOST_ROOTS]:
            path, reason = self._judged(_object_at(address))
            if reason:
                self._reasons[reason] += 1
                self._excused.append(address)
            else:
                self._leaked.append(address)
                first = first or path
        gone = self._blocks.reachable(_blocks_of(self._blocks, self._leaked))
        native = self._lost_native(gone)
        excused = [f"{count} objects: {why}" for why, count in self._reasons.most_common()]
        return Left(
            [block for block in gone if block.domain is Domain.PYTHON],
            native,
            self._kinds(gone),
            self._site(gone),
            tuple(excused),
            () if first is None else first.texts,
            "" if first is None else first.read(Growth()),
            first is not None and first.is_complete,
        )

    def _lost_native(self, gone: set[Block]) -> list[Block]:
        """Native blocks behind objects that leak, and those that nothing of the run refers to."""
        kept = self._blocks.reachable(_blocks_of(self._blocks, self._excused))
        found = []
        orphans = []
        for block in self._blocks.all:
            if block.domain is not Domain.PYTHON:
                if block in gone:
                    found.append(block)
                elif block not in kept:
                    orphans.append(block)
        if types.ModuleType in self._inside.values() and orphans:
            self._reasons["they were made by an import"] += len(orphans)
            orphans = []
        return [*found, *orphans]

    def _judged(self, thing: Any) -> tuple[Path | None, str]:
        """The way to an object, and why it is no leak; empty when it is one."""
        if issubclass(type(thing), ReferenceType):
            return None, "they are weak references"
        trace = self._traces.get(id(thing))
        if trace is not None and any(frame.filename.startswith(_IMPORTING) for frame in trace):
            return None, "they were made by an import"
        path = path_to(thing)
        if not path.is_complete and not self._calls.isdisjoint(map(id, path.steps)):
            return None, _RUNNING
        kept = _kept_in_c(thing, path) if path.root.text == UNKNOWN else ""
        return path, kept or _reason(path, self._inside)

    def _site(self, gone: set[Block]) -> Site:
        """Of an object that leaks, or else of one behind it.

        Python 3.11 does not find the place of an object that has its ``__dict__`` before it.
        """
        behind = (address for address in self._inside if self._is_in(address, gone))
        for address in (*self._leaked, *behind):
            if address in self._traces:
                return Site(own_frames(self._traces[address]))
        return NOWHERE

    def _is_in(self, address: int, blocks: set[Block]) -> bool:
        return any(block in blocks for block in _blocks_of(self._blocks, (address,)))

    def _kinds(self, gone: set[Block]) -> tuple[str, ...]:
        tally: Tally[type] = Tally()
        for address, kind in self._inside.items():
            if self._is_in(address, gone):
                tally[kind] += 1
        kinds = sorted(tally, key=lambda kind: (is_interpreters(kind), -tally[kind], name_of(kind)))
        return tuple(f"{tally[kind]} of type {name_of(kind)}" for kind in kinds[:MOST_KINDS])


def _running_calls() -> Iterator[types.FrameType]:
    """Of all threads, the harness left out."""
    for innermost in frames_of_threads().values():
        frame: types.FrameType | None = innermost
        while frame is not None:
            if owner(frame.f_code.co_filename) is not Owner.HARNESS:
                yield frame
            frame = frame.f_back


def _object_at(address: int) -> Any:
    return ctypes.cast(address, ctypes.py_object).value


def _referred_from_outside(objects: list[Any]) -> list[int]:
    """Addresses of the objects that something else refers to, or nothing at all."""
    if not objects:
        return []
    inside = set(map(id, objects))
    found: dict[int, None] = {}
    referred: set[int] = set()
    given = tuple(objects)
    ours = {id(objects), id(given)}
    for holder in gc.get_referrers(*given):
        parts = [id(part) for part in referents(holder) if id(part) in inside]
        is_call = type(holder) is tuple and len(parts) == len(objects)  # the arguments of this one
        if id(holder) in ours or is_call or is_ours(holder):
            continue
        referred.update(parts)
        if id(holder) not in inside:
            found.update(dict.fromkeys(parts))
    for thing in objects:
        if id(thing) not in referred and type(thing) not in _PLAIN:
            found[id(thing)] = None
    return list(found)


def _kept_in_c(thing: Any, path: Path) -> str:
    """Which C code of the interpreter's keeps an object from the collector; empty where none."""
    top = path.steps[0]
    if type(thing) is str and type(top) is list:
        return "an io.StringIO has them"
    if top is thing and type(thing) is tuple and all(type(name) is str for name in thing):
        return "a function of C has them as the names of its arguments"  # since its first call
    return ""


def _reason(path: Path, inside: Mapping[int, type]) -> str:
    """Why what is held in this way is no leak; empty when it is one."""
    outside: list[Any] = []
    for step in path.steps:
        if id(step) in inside:
            break
        outside.append(step)
    if path.root.text.endswith(STILL_RUNNING):
        return _RUNNING
    if path.root.text == RUNNER or any(map(_is_of_runner, outside)):
        return "the test runner has them"
    if not outside:
        return "they were made by an import" if path.is_complete else ""
    if limits.is_test_double(outside):
        return "a test double records them"
    if any(type(step) is LRU_CACHE for step in outside) or limits.limit_on(outside) is not None:
        return "a cache has them"
    if _is_of_interpreter(path.root) or any(map(_is_of_abc, outside)):
        return "the standard library has them"
    return "" if _piles_up(outside) else "they are bound to names"


def _piles_up(outside: list[Any]) -> bool:
    """Whether the innermost holder is a container of things, and no namespace."""
    holder = outside[-1]
    if not is_a(holder, _CONTAINERS):
        # A cell or an object with attributes has one place under each name.
        return module_of(type(holder)) not in ("builtins", "types") and not _has_names(holder)
    outer = outside[-2] if len(outside) > 1 else None
    if type(holder) is not dict:
        return True
    if "__name__" in holder and ("__builtins__" in holder or "__spec__" in holder):
        return False
    return not is_a(outer, types.FunctionType) and not is_namespace(outer, holder)


def _has_names(holder: Any) -> bool:
    """Whether it holds things by names, such as attributes."""
    if is_a(holder, (type, types.ModuleType, types.FunctionType, types.CellType)):
        return True
    return namespace_of(holder) is not None or next(slots_of(holder), None) is not None


def _is_of_runner(step: Any) -> bool:
    return is_fixture(step) or is_kept_by_runner(step)


def _is_of_abc(step: Any) -> bool:
    """What an abstract class remembers of the types that it was asked about."""
    return module_of(type(step)) == "_abc"


def _is_of_interpreter(root: Root) -> bool:
    """Whether it is a module or a class of the interpreter's or of a runner's."""
    module = sys.modules.get(root.module)
    if not is_a(module, types.ModuleType) or root.module == "__main__":
        return False
    file = namespace_of_module(module).get("__file__")
    return type(file) is not str or owner(file) in (Owner.INTERPRETER, Owner.HARNESS)


def _blocks_of(blocks: _Blocks, addresses: Iterable[int]) -> Iterator[Block]:
    """The blocks in which the objects at these addresses are."""
    for address in addresses:
        for prefix in PREFIXES_BYTES:
            block = blocks.around(address - prefix)
            if block is not None and block.address == address - prefix:
                yield block
                break
