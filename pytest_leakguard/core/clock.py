"""Time spent on something, measured alike on an idle machine and on a busy one.

The clocks are those there were when this was imported, whatever a test or a plugin has put in their
place since.
"""

from __future__ import annotations

import datetime as dt
import time

WAITING = 0.5
"""Seconds that count for each second in which this process did not compute.

It slept, or what it started had work to do. Where others had the processor it counts nothing, as
far as the system tells: on Linux, if it accounts for scheduling.
"""
_SCHEDULING = "/proc/thread-self/schedstat"
"""Nanoseconds that this thread has run, and has been ready to run while others did."""
_open = open


class Clock:
    """The real ones. In a class, since freezegun replaces what it finds at the top of modules."""

    cpu_s = staticmethod(time.process_time)
    elapsed_s = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)
    wall_ns = staticmethod(time.time_ns)


class Spent:
    """Seconds since it was made: those computed, or half of those gone by if that is more.

    Made and asked in one thread.
    """

    __slots__ = ("_cpu_s", "_kept_waiting_s", "_wall_s")

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = Clock.cpu_s(), Clock.elapsed_s()
        self._kept_waiting_s = kept_waiting_s()

    @property
    def seconds(self) -> float:
        """So far."""
        computed_s = Clock.cpu_s() - self._cpu_s
        elapsed_s = Clock.elapsed_s() - self._wall_s
        own_s = elapsed_s - (kept_waiting_s() - self._kept_waiting_s)
        return max(computed_s, WAITING * own_s)


def kept_waiting_s() -> float:
    """Seconds that this thread has waited for a processor; 0 where the system does not tell."""
    try:
        with _open(_SCHEDULING, "rb", buffering=0) as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def today() -> dt.date:
    """The date in UTC, so that what expires today has expired on no machine and not on another."""
    return dt.datetime.now(dt.UTC).date()


def now() -> str:
    """The time in UTC, to the minute, as a report tells it: ``2026-11-30 19:25 UTC``."""
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"
