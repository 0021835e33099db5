"""The calls of compiled code that lost memory, from the stacks of traced runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.tracker.tracker import Block, Domain, Tracker

DEPTH = 32
"""Frames kept of each allocation: compiled code is rarely deeper below the interpreter."""
_INTERPRETER = ("python", "libpython")
"""How the files of the interpreter itself begin."""
_BRIDGES = ("_ctypes.", "libffi.", "_cffi_backend.")
"""How the files of what calls a library for Python begin, which lost nothing."""
_C_LIBRARY = ("libc.so", "libc-", "libstdc++.", "ld-")
"""Of the allocator and of functions that allocate for their caller, which is to blame."""

Symbolize = Callable[[tuple[Frame, ...]], tuple[Frame, ...]]


def leaking_stack(
    work: Callable[[], object],
    tracker: Tracker,
    run: int,
    domains: Iterable[Domain],
    symbolize: Symbolize,
) -> tuple[Frame, ...]:
    """The calls of compiled code that lost most in the runs of ``work``, innermost first.

    ``work`` has its blocks tracked under ``run``. Empty where only the interpreter allocated, or
    nothing can be unwound.
    """
    if not tracker.record_stacks(DEPTH):
        return ()
    try:
        work()
        amounts: dict[tuple[int, ...], int] = {}
        for block in _lost(tracker, run, frozenset(domains)):
            stack = tracker.stack_of(block.address)
            amounts[stack] = amounts.get(stack, 0) + block.size_bytes
        frames = []
        for stack in sorted(amounts, key=lambda stack: -amounts[stack]):
            frames = _compiled(tracker, stack)
            if frames:
                break
    finally:
        tracker.record_stacks(0)
    return symbolize(tuple(frames)) if frames else ()


def _lost(tracker: Tracker, run: int, domains: frozenset[Domain]) -> list[Block]:
    return [block for block in tracker.survivors(run) if block.domain in domains]


def _compiled(tracker: Tracker, stack: tuple[int, ...]) -> list[Frame]:
    """The frames below the interpreter's innermost one, without bridges and the C library."""
    frames: list[Frame] = []
    for address in stack:
        # A return address is that of the next instruction, which may be another line's.
        location = tracker.locate(address - 1)
        if location is None:
            continue
        name = Path(location.file).name
        if name.startswith(_INTERPRETER) or location.file == sys.executable:
            if frames:
                break
            continue
        if name.startswith((*_BRIDGES, *_C_LIBRARY)):
            continue
        frames.append(
            Frame(location.symbol, module=location.file, address=address, offset=location.offset)
        )
    return frames
