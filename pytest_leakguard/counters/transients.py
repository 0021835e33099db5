"""Threads and child processes that a test leaves to end by themselves, which are no leak."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pytest_leakguard.counters.reader import CHILDREN, THREADS, child_count, children, thread_count

TRANSIENT = (THREADS, CHILDREN)
"""Counters of what may end by itself: a timer, a worker asked to stop, a process about to exit."""
PATIENCE_S = 1.5
"""How long they may take to end, in seconds; a worker that polls once a second ends within it."""
_FEW = 2
"""How many may be left over after the wait: those that the last run itself has started."""
_PAUSE_S = 0.02
"""Between two looks at them, in seconds: short beside what a test takes that starts any."""
_ENDED = ([b"Z"], [b"X"])
"""States in ``/proc/PID/stat`` of a process that runs no more: a zombie, and one that is being
removed."""


class Population:
    """How many threads and child processes there were when this was made."""

    def __init__(self) -> None:
        self._threads, self._children = thread_count(), child_count()

    def comes_back(self, run: Callable[[], object]) -> bool:
        """Whether all since then have ended, after a wait and one more run.

        A run more since zombies are often collected when the next child is started.
        """
        wait_for_ends(self._threads)
        run()
        have_threads_ended = thread_count() <= self._threads + _FEW
        return have_threads_ended and child_count() <= self._children + _FEW


def wait_for_ends(threads: int, patience_s: float = PATIENCE_S) -> bool:
    """Waits until at most so many threads and no child process run.

    Returns whether that came within ``patience_s``.
    """
    until = time.monotonic() + patience_s
    while thread_count() > threads or _running_children():
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_S)
    return True


def _running_children() -> int:
    count = 0
    for pid in children():
        try:
            # The name before the state is in parentheses and may contain anything.
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1]
        except OSError:
            continue
        count += state not in _ENDED
    return count
