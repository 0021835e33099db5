"""Whether code has ever new strings interned, where the interpreter keeps them for good."""

from __future__ import annotations

import linecache
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from pytest_leakguard.counters import _cpython
from pytest_leakguard.explain.allocations import tracing
from pytest_leakguard.explain.code_owner import Owner, owner

HOLDER = "the interpreter's table of interned strings, which Python 3.12 never frees (sys.intern)"


def immortal_count() -> int:
    """How many strings are interned for good; 0 where ``sys.intern`` does not have that effect.

    Python 3.12 never frees what it was given; the versions before and after do.
    """
    return _cpython.interned_strings() if _cpython.KEEPS_ALL_INTERNED else 0


class _Watch:
    """Follows calls of ``sys.intern``, however it was imported."""

    def __init__(self) -> None:
        self._before = 0
        self.has_grown = False

    def profile(self, frame: FrameType, event: str, called: Any) -> None:
        """For ``sys.setprofile``. The standard library's own calls are the interpreter's affair."""
        if called is not sys.intern or owner(frame.f_code.co_filename) > Owner.LIBRARY:
            return
        if event == "c_call":
            self._before = immortal_count()
        elif event == "c_return":
            self.has_grown |= immortal_count() > self._before


def interns_new_strings(
    work: Callable[[], object], traced_run: Callable[[], Iterable[str]]
) -> bool:
    """Whether code of the user or of a package has a new string interned in one more run.

    ``traced_run`` runs it once and returns the strings that are kept for good since. Only where
    some code on the way to one of them mentions ``intern`` is the work watched call by call: after
    that, the interpreter (3.12 and later) allocates a little for all code that it runs.
    """
    if immortal_count() == 0 or not _may_intern(traced_run):
        return False
    watch, others = _Watch(), sys.getprofile()
    sys.setprofile(watch.profile)
    try:
        work()
    finally:
        sys.setprofile(others)
    return watch.has_grown


def _may_intern(traced_run: Callable[[], Iterable[str]]) -> bool:
    with tracing():
        for string in traced_run():
            traceback = tracemalloc.get_object_traceback(string)
            if traceback is None or any(_mentions_intern(frame.filename) for frame in traceback):
                return True
    return False


def _mentions_intern(file: str) -> bool:
    if owner(file) > Owner.LIBRARY:
        return False
    return any("intern(" in line for line in linecache.getlines(file))
