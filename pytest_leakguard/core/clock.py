"""Time spent on something, measured alike on an idle machine and on a busy one."""

from __future__ import annotations

import datetime as dt
import time

WAITING = 0.5
"""Seconds that count for each second in which this process did not compute.

It waited, which is its own doing, or others had the processor, which is not: half of each.
"""


class Spent:
    """Seconds since it was made: those computed, or half of those gone by if that is more."""

    __slots__ = ("_cpu_s", "_wall_s")

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        computed_s = time.process_time() - self._cpu_s
        elapsed_s = time.perf_counter() - self._wall_s
        return max(computed_s, WAITING * elapsed_s)


def today() -> dt.date:
    """The date in UTC, so that what expires today has expired on no machine and not on another."""
    return dt.datetime.now(dt.UTC).date()
