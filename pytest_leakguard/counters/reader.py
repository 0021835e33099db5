"""Exact counters of this process: what each one counts, and how to read them all in some 30 microseconds.

A reading goes into an array made beforehand, so that measuring allocates nothing that stays.
"""

from __future__ import annotations

import math
import os
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.counters import _cpython, caches
from pytest_leakguard.counters.caches import NO_RUNNER, RunnerCaches
from pytest_leakguard.counters.tempfiles import NO_DIRECTORY, TemporaryFiles

_TASKS, _DESCRIPTORS = "/proc/self/task", "/proc/self/fd"


@dataclass(frozen=True, slots=True)
class Counter:
    """One thing that is counted."""

    metric: str
    """Its name in the report."""
    unit: str
    kind: LeakKind
    is_resource: bool = False
    """Scarce and countable one by one, so that few of them prove a leak, and too many break the process."""


COUNTERS = (
    Counter(MetricName.BLOCKS, "blocks", LeakKind.PYTHON_OBJECTS),
    Counter(MetricName.HEAP_BYTES, "bytes", LeakKind.GROWTH),
    Counter(MetricName.MAPPED_BYTES, "bytes", LeakKind.MAPPINGS),
    Counter(MetricName.FILE_DESCRIPTORS, "descriptors", LeakKind.FILE_DESCRIPTORS, True),
    Counter(MetricName.THREADS, "threads", LeakKind.THREADS, True),
    Counter(MetricName.CHILD_PROCESSES, "processes", LeakKind.CHILD_PROCESSES, True),
    Counter(MetricName.TEMPORARY_FILES, "files", LeakKind.GROWTH, True),
    Counter(MetricName.ASYNCIO_TASKS, "tasks", LeakKind.PYTHON_OBJECTS),
)
BLOCKS, HEAP, MAPPED, DESCRIPTORS, THREADS, CHILDREN, FILES, TASKS = range(len(COUNTERS))


class Reader:
    """Counts what is scarce; make it before the first reading, since making it allocates."""

    def __init__(
        self,
        files: TemporaryFiles,
        short_lived: tuple[str, ...] = (),
        runner: RunnerCaches = NO_RUNNER,
    ) -> None:
        self._files = files
        self._short_lived = short_lived or NO_DIRECTORY
        """What directories begin with that have another name in every run, such as those of ``tmp_path``."""
        self._runner = runner
        self._cached: dict[str, int] = {}
        self.memory: Callable[[], tuple[int, int]] = _nothing
        """Native and mapped bytes that the code under the tracker has now, for ``vector``."""

    def read(self, into: array[float], row: int) -> None:
        """One reading into ``row`` of an array of ``len(COUNTERS)`` columns; those of memory stay 0."""
        at = row * len(COUNTERS)
        into[at + FILES] = self._files.count()
        into[at + DESCRIPTORS] = descriptor_count()
        into[at + THREADS] = thread_count()
        into[at + CHILDREN] = child_count()
        into[at + TASKS] = _cpython.task_count()

    def forget_what_is_gone(self) -> None:
        """Drops what caches keep about temporary files and modules; they look again when they need them."""
        for name, cache in _cpython.path_caches():
            self._forget(name, cache, self._is_gone)
        for cache in self._runner.keyed_by_module():
            self._forget("modules", cache, _is_no_module)

    def empty_caches(self) -> None:
        """Empties what may drop any entry at any time: caches of the library, the runner, and bounded ones."""
        caches.empty()
        self._runner.empty()
        caches.empty_bounded()

    def _forget(self, name: str, cache: dict[Any, Any], is_gone: Callable[[str], bool]) -> None:
        if len(cache) == self._cached.get(name):
            return  # the same entries as after the last reading, as good as always
        for key in list(cache):
            if isinstance(key, str) and is_gone(key):
                cache.pop(key, None)
        self._cached[name] = len(cache)

    def _is_gone(self, path: str) -> bool:
        if not path.startswith("/"):
            return False
        if path.startswith(self._short_lived):
            return True
        return not os.path.exists(path)  # noqa: PTH110  # pathlib interns what it sees

    def vector(self) -> tuple[float, ...]:
        """One reading of all counters but the blocks, for line-by-line use."""
        native_bytes, mapped_bytes = self.memory()
        return (
            0.0,
            native_bytes,
            mapped_bytes,
            descriptor_count(),
            thread_count(),
            child_count(),
            self._files.count(),
            _cpython.task_count(),
        )


def _nothing() -> tuple[int, int]:
    return 0, 0


def _is_no_module(name: str) -> bool:
    return name not in sys.modules


def descriptor_count() -> int:
    """Open descriptors of this process; 0 where the platform does not tell."""
    try:
        # Since Linux 6.2 the size of this directory is the answer, without opening it.
        return os.stat(_DESCRIPTORS).st_size or len(os.listdir(_DESCRIPTORS)) - 1  # noqa: PTH116, PTH208  # a tenth of the time
    except OSError:
        return 0


def descriptor_limit() -> float:
    """How many descriptors this process may have open; without end where the platform does not tell."""
    try:
        import resource
    except ImportError:
        return math.inf
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if soft == resource.RLIM_INFINITY else soft


def thread_count() -> int:
    """Threads of this process, those that Python does not know included."""
    try:
        return os.stat(_TASKS).st_nlink - 2  # noqa: PTH116  # a tenth of the time
    except OSError:
        return _python_threads()


def _python_threads() -> int:
    import threading

    return threading.active_count()


def child_count() -> int:
    """Child processes that run or wait to be collected."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, AttributeError):
        return 0
    return len(children())


def children() -> list[int]:
    """Process ids of all children, zombies included."""
    found: list[int] = []
    for task in os.listdir(_TASKS):  # noqa: PTH208  # pathlib interns what it sees, which would be counted
        try:
            with open(f"{_TASKS}/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:  # the thread has ended, or the kernel was built without this file
            continue
    return found


def descriptors() -> dict[int, str]:
    """Every open descriptor and what it is: ``socket``, ``pipe``, or the path of a file."""
    found: dict[int, str] = {}
    for link in Path(_DESCRIPTORS).iterdir() if Path(_DESCRIPTORS).is_dir() else ():
        try:
            found[int(link.name)] = str(link.readlink())
        except OSError:  # the one that listed them
            continue
    return found


def describe(target: str) -> str:
    """``file /tmp/x``, ``socket``, ``pipe``, ``eventpoll`` for what a descriptor points to."""
    if target.startswith("/"):
        return f"file {target}"
    kind, _, rest = target.partition(":")
    return rest.strip("[]") if kind == "anon_inode" else kind
