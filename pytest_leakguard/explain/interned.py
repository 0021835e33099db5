"""Whether code outside the interpreter has ever new strings interned, where the interpreter keeps them for good."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from pytest_leakguard.explain.code import Owner, owner

IMMORTAL = sys.version_info[:2] == (3, 12)
"""Python 3.12 never frees what ``sys.intern`` was given; the versions before and after do."""
HOLDER = "the interpreter's table of interned strings, which Python 3.12 never frees (sys.intern)"


class _Watch:
    """Follows calls of ``sys.intern``, however it was imported."""

    def __init__(self) -> None:
        self._size: Callable[[], int] = getattr(sys, "getunicodeinternedsize", int)
        self._before = 0
        self.has_grown = False

    def profile(self, frame: FrameType, event: str, called: Any) -> None:
        """For ``sys.setprofile``. The standard library's own calls are the interpreter's affair."""
        if called is not sys.intern or owner(frame.f_code.co_filename) > Owner.LIBRARY:
            return
        if event == "c_call":
            self._before = self._size()
        elif event == "c_return":
            self.has_grown |= self._size() > self._before


def interns_new_strings(work: Callable[[], object]) -> bool:
    """Whether the user's or a package's code had a string interned in one more run that was not there before."""
    if not IMMORTAL:
        return False
    watch, others = _Watch(), sys.getprofile()
    sys.setprofile(watch.profile)
    try:
        work()
    finally:
        sys.setprofile(others)
    return watch.has_grown
