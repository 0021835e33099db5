"""Whoever watches the code that runs: coverage, profilers, debuggers. No repeat is their business.

Coverage counts what the first run covered; a debugger stops there and nowhere else.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pytest_leakguard.counters import _cpython


@contextmanager
def unobserved() -> Iterator[None]:
    """While this lasts, nobody is told of what runs; then everybody is again, exactly as before."""
    with ExitStack() as stack:
        stack.enter_context(_untraced())
        stack.enter_context(_unprofiled())
        stack.enter_context(_unmonitored())
        stack.enter_context(_unstopped())
        yield


@contextmanager
def _untraced() -> Iterator[None]:
    of_this_thread, of_new_threads = sys.gettrace(), threading.gettrace()
    if of_this_thread is None and of_new_threads is None:
        yield
        return
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(of_new_threads)
        sys.settrace(of_this_thread)


@contextmanager
def _unprofiled() -> Iterator[None]:
    of_new_threads = threading.getprofile()
    resume = _cpython.suspend_profiler()
    if resume is None and of_new_threads is None:
        yield
        return
    threading.setprofile(None)
    try:
        yield
    finally:
        threading.setprofile(of_new_threads)
        if resume is not None:
            resume()


@contextmanager
def _unmonitored() -> Iterator[None]:
    """Takes the tools' callbacks away and leaves their events: what they have seen stays seen."""
    monitoring: Any = getattr(sys, "monitoring", None)  # since Python 3.12
    if monitoring is None:
        yield
        return
    taken = []
    for tool in range(_TOOLS):
        owner = monitoring.get_tool(tool)
        if owner is None:
            continue
        for event in _events(monitoring):
            callback = monitoring.register_callback(tool, event, None)
            if callback is not None:
                taken.append((tool, owner, event, callback))
    try:
        yield
    finally:
        for tool, owner, event, callback in taken:
            if monitoring.get_tool(tool) == owner:
                monitoring.register_callback(tool, event, callback)


_TOOLS = 6
"""Numbers of tools that ``sys.monitoring`` hands out; it keeps two more for ``settrace`` and
``setprofile``."""


def _events(monitoring: Any) -> list[int]:
    """All single events; ``BRANCH`` stands for two others since Python 3.14."""
    found = set()
    for name, value in vars(monitoring.events).items():
        if not name.startswith("_") and isinstance(value, int) and value.bit_count() == 1:
            found.add(value)
    return sorted(found)


@contextmanager
def _unstopped() -> Iterator[None]:
    """``breakpoint()`` and ``pdb.set_trace()`` stop nowhere, as somebody has already been there."""
    places: list[tuple[Any, str, Callable[..., Any]]] = [
        (sys, "breakpointhook", sys.breakpointhook)
    ]
    debugger: Any = sys.modules.get("pdb")
    if debugger is not None:
        places.append((debugger, "set_trace", debugger.set_trace))
    for owner, name, _ in places:
        setattr(owner, name, _pass)
    try:
        yield
    finally:
        for owner, name, before in places:
            if getattr(owner, name) is _pass:
                setattr(owner, name, before)


def _pass(*_: object, **__: object) -> None:
    pass
