"""Threads, child processes and tasks that a test leaves to end by themselves, which are no leak."""

from __future__ import annotations

from collections.abc import Callable

from pytest_leakguard.core.clock import Clock
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.counters.reader import (
    CHILDREN,
    TASKS,
    THREADS,
    child_count,
    children,
    counted,
    thread_count,
)
from pytest_leakguard.counters.tasks import PendingTasks

TRANSIENT = (THREADS, CHILDREN, TASKS)
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
    """How many threads, child processes and pending tasks there were when this was made."""

    def __init__(self) -> None:
        self._threads, self._children = counted(thread_count), counted(child_count)
        self._tasks = PendingTasks().count()

    def comes_back(self, run: Callable[[], object]) -> bool:
        """Whether all since then have ended, after a wait and one more run.

        A run more since zombies are often collected when the next child is started.
        """
        wait_for_ends(self._threads)
        run()
        have_threads_ended = counted(thread_count) <= self._threads + _FEW
        have_children_ended = counted(child_count) <= self._children + _FEW
        return have_threads_ended and have_children_ended and self._have_tasks_ended(run)

    def _have_tasks_ended(self, run: Callable[[], object]) -> bool:
        """Whether the tasks there are now have ended, after more runs of the loop they are in."""
        tasks = PendingTasks()
        tasks.count()
        until = Clock.elapsed_s() + PATIENCE_S
        while len(tasks.pending()) > self._tasks + _FEW:
            if Clock.elapsed_s() > until:
                return False
            run()
            Clock.sleep(_PAUSE_S)
        return True


def wait_for_ends(threads: int, patience_s: float = PATIENCE_S) -> bool:
    """Waits until at most so many threads and no child process run.

    Returns whether that came within ``patience_s``.
    """
    until = Clock.elapsed_s() + patience_s
    while counted(thread_count) > threads or _running_children():
        if Clock.elapsed_s() > until:
            return False
        Clock.sleep(_PAUSE_S)
    return True


def _running_children() -> int:
    count = 0
    try:
        pids = children()
    except OSError:
        return 0
    for pid in pids:
        try:
            # The name before the state is in parentheses and may contain anything.
            with Original.open(f"/proc/{pid}/stat", "rb") as file:
                state = file.read().rpartition(b")")[2].split()[:1]
        except OSError:
            continue
        count += state not in _ENDED
    return count
