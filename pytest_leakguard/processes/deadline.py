"""Ends somebody's code that takes too long, from outside its thread, by a timer of the kernel's.

No thread of ours is needed, which the code could count and which makes ``fork`` warn; and no clock
of Python's, which the code may have replaced. A forked child has no such timer.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

from pytest_leakguard.core.clock import Clock

SIGNAL = getattr(signal, "SIGRTMAX", 0) - 9
"""A real-time signal from the middle of the range: glibc and valgrind take the first ones, tools
like pulseaudio the
last."""
AGAIN_S = 0.25
"""Between two interruptions of code that has caught the first, in seconds."""
_MONOTONIC = 1
"""``CLOCK_MONOTONIC`` of Linux."""
_SIGNALLED = 0
"""``SIGEV_SIGNAL`` of Linux."""
_BILLION = 1_000_000_000
"""Nanoseconds in a second."""
_TICK_S = 0.01
"""What the two clocks may differ by, in seconds."""
_open, _read, _close, _READ_ONLY = os.open, os.read, os.close, os.O_RDONLY


class TookTooLong(BaseException):
    """Raised within the code; no ``except Exception`` of its own catches it."""


class _Event(ctypes.Structure):
    """``struct sigevent`` of Linux, which has 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _Times(ctypes.Structure):
    """``struct itimerspec`` of Linux, each time as seconds and nanoseconds."""

    _fields_ = (
        ("again_s", ctypes.c_long),
        ("again_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Deadline:
    """One timer, set for each piece of code anew; does nothing where there is no such timer."""

    def __init__(self) -> None:
        self._timer = ctypes.c_void_p()
        self._library: Any = None
        self._handler: Any = None
        self._is_set = False
        self._limit_s, self._seen_s = 0.0, math.inf
        self._times: Any = None
        self.has_fired = False
        """Some code took too long, since somebody has last set this to false."""

    @contextmanager
    def ready(self) -> Iterator[None]:
        """While this lasts, ``limit`` limits; only the main thread gets signals."""
        if not self._is_possible() or not self._create():
            yield
            return
        self._handler = signal.signal(SIGNAL, self._on_signal)
        try:
            yield
        finally:
            self._library.timer_delete(self._timer)
            self._library = None
            signal.signal(SIGNAL, self._handler)

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Raises ``TookTooLong`` within the code, again and again until it ends.

        The timer is not stopped in between, which would cost as much again: it finds nothing to do.
        """
        if self._library is None:
            yield
            return
        if seconds != self._limit_s:
            self._limit_s, self._times = seconds, _times_for(seconds / 2)
        self._seen_s = math.inf
        self._is_set = True
        self._library.timer_settime(self._timer, 0, self._times, None)
        try:
            yield
        finally:
            self._is_set = False

    def _is_possible(self) -> bool:
        is_linux = sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8
        return is_linux and threading.current_thread() is threading.main_thread()

    def _create(self) -> bool:
        library = _this_process()
        event = _Event(signal=SIGNAL, notify=_SIGNALLED)
        try:
            is_made = library.timer_create(
                _MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)
            )
        except AttributeError:
            return False
        if is_made == 0:
            self._library = library
        return bool(is_made == 0)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """After half of the time the other half begins, which is measured as this thread's own."""
        if not self._is_set:
            return
        now_s = _own_seconds()
        if self._seen_s == math.inf:
            self._seen_s = now_s
        elif now_s - self._seen_s >= self._limit_s / 2 - _TICK_S:
            self.has_fired = True
            raise TookTooLong


@cache
def _this_process() -> Any:
    """What is loaded; each library object has types of its own, which are garbage afterwards."""
    return ctypes.CDLL(None)


def _times_for(seconds: float) -> Any:
    whole_ns = int(seconds * _BILLION)
    again_ns = int(min(AGAIN_S, seconds) * _BILLION)
    return ctypes.byref(_Times(0, again_ns, whole_ns // _BILLION, whole_ns % _BILLION))


def _own_seconds() -> float:
    """Seconds of this thread's life, without those in which others had the processor."""
    try:
        descriptor = _open("/proc/thread-self/schedstat", _READ_ONLY)
        try:
            waited_ns = int(_read(descriptor, 100).split()[1])
        finally:
            _close(descriptor)
    except (OSError, ValueError, IndexError):
        waited_ns = 0
    return Clock.elapsed_s() - waited_ns / _BILLION
