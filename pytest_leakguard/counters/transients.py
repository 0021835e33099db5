"""Threads, child processes and tasks that a test leaves to end by themselves, which are no leak."""

from __future__ import annotations

from collections.abc import Callable

from pytest_leakguard.core.clock import Clock
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.counters.reader import CHILDREN, TASKS, THREADS

TRANSIENT = (THREADS, CHILDREN, TASKS)
"""Counters of what may end by itself: a timer, a worker asked to stop, a process about to exit."""
PATIENCE_S = 1.5
"""How long they may take to end, in seconds; a worker that polls once a second ends within it."""
_PAUSE_S = 0.02
"""Between two looks at them, in seconds: short beside what a test takes that starts any."""
_ENDED = ([b"Z"], [b"X"])
"""States in ``/proc/PID/stat`` of a process that runs no more: a zombie, and one that is being
removed."""


def wait_until(is_over: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    """Looks again and again. Returns whether it was over within ``patience_s``."""
    until = Clock.elapsed_s() + patience_s
    while not is_over():
        if Clock.elapsed_s() > until:
            return False
        Clock.sleep(_PAUSE_S)
    return True


def is_running(pid: int) -> bool:
    """Whether a process runs; one that waits to be collected does not."""
    try:
        # The name before the state is in parentheses and may contain anything.
        with Original.open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] not in _ENDED
    except OSError:
        return False
