"""Time spent on something, told alike on an idle machine and on a busy one."""

from __future__ import annotations

import time

WAITING = 0.5
"""A second that went by without this process computing counts so much: it waited, or others had the processor."""


class Spent:
    """Seconds of this process since it was made: those computed, or half of those gone by if that is more."""

    __slots__ = ("_cpu_s", "_wall_s")

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return max(
            time.process_time() - self._cpu_s, WAITING * (time.perf_counter() - self._wall_s)
        )
