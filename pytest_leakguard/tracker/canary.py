"""Proves that the tracker sees one block of each kind, exactly; says what it misses and why."""

from __future__ import annotations

import ctypes
import mmap
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_leakguard.tracker.tracker import (
    LARGEST_RUN,
    NOTHING,
    Amount,
    Domain,
    NativeState,
    Threads,
    Tracker,
)

CANARY_RUN = LARGEST_RUN
"""No test's run gets this far."""
BLOCK_BYTES = 129
"""Of the blocks that are allocated here: not a size that an allocator rounds to."""
MAPPED_PAGES = 3
"""Pages of the mapping that is made here: neither one, as many are, nor a power of two."""
MOST_OF_TRACING = 2
"""Blocks of its own that tracemalloc may keep for one that it traces: an entry, and from CPython
3.14 on one more (measured)."""

_STATES = {
    NativeState.NOT_INSTALLED: "the native hooks are not installed",
    NativeState.DISPLACED: "another tool (memray?) has put its own functions in the place of ours",
    NativeState.UNSUPPORTED: "native blocks are seen only on Linux, on x86-64 and aarch64",
    NativeState.SANITIZER: "a sanitizer's allocator is loaded into this process",
    NativeState.NO_SLOTS: "this interpreter is a static program",
}


@dataclass(frozen=True, slots=True)
class Unseen:
    """What the tracker does not see in this process."""

    domain: Domain
    what: str
    reason: str


def find_unseen(tracker: Tracker) -> tuple[Unseen, ...]:
    """What is not seen of a block, a realloc and a mapping; empty where all are seen exactly.

    Allocates and frees one of each, in a run of its own, which it forgets. Takes about a
    millisecond. The tracker must not be armed.
    """
    unseen = []
    for domain, what, check in (
        (Domain.PYTHON, "a block of Python's", _python_block),
        (Domain.PYTHON, "the growth of an old block of Python's", _python_growth),
        (Domain.NATIVE, "a block that the interpreter takes from malloc", _interpreter_block),
        (Domain.NATIVE, "a block that ctypes takes from malloc", _ctypes_block),
        (Domain.NATIVE, "the growth of an old native block", _native_growth),
        (Domain.MAPPING, "a mapping", _mapping),
    ):
        reason = _run(tracker, domain, check)
        if reason is not None:
            unseen.append(Unseen(domain, what, reason))
    return tuple(unseen)


_Check = Callable[[Tracker], str | None]


def _run(tracker: Tracker, domain: Domain, check: _Check) -> str | None:
    """Why it is not seen, or None."""
    try:
        for _ in range(2):  # tracemalloc and profilers keep memory for each new call, once
            difference = check(tracker)
            tracker.forget(CANARY_RUN)
    finally:
        tracker.disarm()
        tracker.forget(CANARY_RUN)
    if difference is None or domain is Domain.PYTHON:
        return difference
    reason = _STATES.get(tracker.native_state)
    return difference if reason is None else f"{reason} ({difference})"


@dataclass(frozen=True, slots=True)
class _Allocator:
    """Functions of C, by address."""

    malloc: Callable[[int], int]
    realloc: Callable[[int, int], int]
    free: Callable[[int], None]


def _allocator(library: ctypes.CDLL, malloc: str, realloc: str, free: str) -> _Allocator:
    """Looked up anew, as the code of a test does, and called once: ctypes prepares itself."""
    functions = _Allocator(library[malloc], library[realloc], library[free])
    _declare(functions.malloc, ctypes.c_void_p, ctypes.c_size_t)
    _declare(functions.realloc, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    _declare(functions.free, None, ctypes.c_void_p)
    functions.free(functions.realloc(functions.malloc(1), 1))
    return functions


def _declare(function: Any, result: Any, *arguments: Any) -> None:
    function.restype, function.argtypes = result, arguments


def _difference(what: str, seen: Amount, expected: Amount) -> str | None:
    if seen == expected:
        return None
    return f"{what}: {_text(seen)} instead of {_text(expected)}"


def _text(amount: Amount) -> str:
    return f"{amount.blocks} blocks of {amount.size_bytes} B, grown by {amount.grown_bytes} B"


def _python_block(tracker: Tracker) -> str | None:
    tracker.arm(CANARY_RUN)
    held = object()
    tracker.disarm()
    alive = _own(tracker, Domain.PYTHON)
    is_tracked = tracker.is_tracked(id(held))
    del held
    if alive.blocks != 1 or not is_tracked:
        return f"one object was made, {alive.blocks} blocks were seen"
    return _difference("freed", _own(tracker, Domain.PYTHON), NOTHING)


def _python_growth(tracker: Tracker) -> str | None:
    names = ("PyMem_Malloc", "PyMem_Realloc", "PyMem_Free")
    return _growth(tracker, Domain.PYTHON, _allocator(ctypes.PyDLL(None), *names))


def _native_growth(tracker: Tracker) -> str | None:
    allocator = _allocator(ctypes.CDLL(None), "malloc", "realloc", "free")
    return _growth(tracker, Domain.NATIVE, allocator)


def _growth(tracker: Tracker, domain: Domain, allocator: _Allocator) -> str | None:
    """The first change of an old block makes it known, the second one is exact."""
    block = allocator.malloc(BLOCK_BYTES)
    tracker.arm(CANARY_RUN)
    block = allocator.realloc(block, 2 * BLOCK_BYTES)
    tracker.disarm()
    before = _own(tracker, domain).grown_bytes
    tracker.arm(CANARY_RUN)
    block = allocator.realloc(block, 3 * BLOCK_BYTES)
    tracker.disarm()
    grown = _own(tracker, domain).grown_bytes - before
    tracker.arm(CANARY_RUN)  # so that its end is booked in the run that is forgotten
    allocator.free(block)
    tracker.disarm()
    return None if grown == BLOCK_BYTES else f"grew by {BLOCK_BYTES} B, {grown} B were seen"


def _interpreter_block(tracker: Tracker) -> str | None:
    names = ("PyMem_RawMalloc", "PyMem_RawRealloc", "PyMem_RawFree")
    return _native_block(tracker, _allocator(ctypes.PyDLL(None), *names), is_padded=True)


def _ctypes_block(tracker: Tracker) -> str | None:
    return _native_block(tracker, _allocator(ctypes.CDLL(None), "malloc", "realloc", "free"))


def _native_block(
    tracker: Tracker, allocator: _Allocator, *, is_padded: bool = False
) -> str | None:
    tracker.arm(CANARY_RUN)
    block = allocator.malloc(BLOCK_BYTES)
    tracker.disarm()
    alive = _own(tracker, Domain.NATIVE)
    allocator.free(block)
    expected = Amount(1, BLOCK_BYTES, 0)
    if is_padded and alive.size_bytes > BLOCK_BYTES:  # PYTHONMALLOC=debug adds its marks
        is_traced = tracemalloc.is_tracing() and alive.blocks <= 1 + MOST_OF_TRACING
        expected = Amount(alive.blocks if is_traced else 1, alive.size_bytes, 0)
    difference = _difference("allocated", alive, expected)
    return difference or _difference("freed", _own(tracker, Domain.NATIVE), NOTHING)


def _mapping(tracker: Tracker) -> str | None:
    size_bytes = MAPPED_PAGES * mmap.PAGESIZE
    tracker.arm(CANARY_RUN)
    mapping = mmap.mmap(-1, size_bytes)
    tracker.disarm()
    alive = _own(tracker, Domain.MAPPING)
    mapping.close()
    difference = _difference("mapped", alive, Amount(1, size_bytes, 0))
    return difference or _difference("unmapped", _own(tracker, Domain.MAPPING), NOTHING)


def _own(tracker: Tracker, domain: Domain) -> Amount:
    """Other threads may allocate meanwhile."""
    return tracker.live(CANARY_RUN, domain, Threads.OWN)
