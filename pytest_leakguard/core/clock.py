"""Time spent on something, measured alike on an idle machine and on a busy one.

The clocks are those there were when this was imported, whatever a test or a plugin has put in their
place since.
"""

from __future__ import annotations

import datetime as dt
import time

WAITING = 0.5
"""Seconds that count for each second in which this process did not compute.

It waited, which is its own doing, or others had the processor, which is not: half of each.
"""


class Clock:
    """The real ones. In a class, since freezegun replaces what it finds at the top of modules."""

    cpu_s = staticmethod(time.process_time)
    elapsed_s = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)


class Spent:
    """Seconds since it was made: those computed, or half of those gone by if that is more."""

    __slots__ = ("_cpu_s", "_wall_s")

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = Clock.cpu_s(), Clock.elapsed_s()

    @property
    def seconds(self) -> float:
        """So far."""
        computed_s = Clock.cpu_s() - self._cpu_s
        elapsed_s = Clock.elapsed_s() - self._wall_s
        return max(computed_s, WAITING * elapsed_s)


def today() -> dt.date:
    """The date in UTC, so that what expires today has expired on no machine and not on another."""
    return dt.datetime.now(dt.UTC).date()
