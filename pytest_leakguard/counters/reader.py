"""Exact counters of this process: what each one counts, and how to read them all.

That takes some 30 microseconds.

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
from typing import Any, TypeVar

from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.counters import _cpython, caches
from pytest_leakguard.counters.caches import NO_RUNNER, RunnerCaches
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.counters.tasks import PendingTasks
from pytest_leakguard.counters.tempfiles import NO_DIRECTORY, TemporaryFiles

_TASKS, _DESCRIPTORS = "/proc/self/task", "/proc/self/fd"
_Answer = TypeVar("_Answer")
_HAS_PROC = sys.platform == "linux"
"""Elsewhere psutil asks the system, which takes longer."""
_WITHOUT_COLLECTING = (os.WEXITED | os.WNOHANG | os.WNOWAIT) if hasattr(os, "WNOWAIT") else 0


@dataclass(frozen=True, slots=True)
class Counter:
    """One thing that is counted."""

    metric: str
    """Its name in the report."""
    unit: str
    kind: LeakKind
    is_resource: bool = False
    """Scarce and countable one by one.

    Few of them prove a leak, and too many break the process.
    """


COUNTERS = (
    Counter(MetricName.BLOCKS, "blocks", LeakKind.PYTHON_OBJECTS),
    Counter(MetricName.HEAP_BYTES, "bytes", LeakKind.GROWTH),
    Counter(MetricName.MAPPED_BYTES, "bytes", LeakKind.MAPPINGS),
    Counter(MetricName.FILE_DESCRIPTORS, "descriptors", LeakKind.FILE_DESCRIPTORS, True),
    Counter(MetricName.THREADS, "threads", LeakKind.THREADS, True),
    Counter(MetricName.CHILD_PROCESSES, "processes", LeakKind.CHILD_PROCESSES, True),
    Counter(MetricName.TEMPORARY_FILES, "files", LeakKind.GROWTH, True),
    Counter(MetricName.ASYNCIO_TASKS, "tasks", LeakKind.PYTHON_OBJECTS, True),
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
        """What directories begin with that have another name in every run.

        Those of ``tmp_path`` are such.
        """
        self._runner = runner
        self._cached: dict[str, int] = {}
        self._tasks = PendingTasks()
        self._unread: dict[int, str] = {}
        self._counts: tuple[tuple[int, Callable[[], int]], ...] = (
            (FILES, files.count),
            (DESCRIPTORS, descriptor_count),
            (THREADS, thread_count),
            (CHILDREN, child_count),
            (TASKS, self._tasks.count),
        )
        self.memory: Callable[[], tuple[int, int]] = _nothing
        """Native and mapped bytes that the code under the tracker has now, for ``value``."""

    def read(self, into: array[float], row: int) -> None:
        """One reading into ``row`` of an array.

        It has ``len(COUNTERS)`` columns; those of memory stay 0.
        """
        at = row * len(COUNTERS)
        for counter, count in self._counts:
            into[at + counter] = self._counted(counter, count)

    def _counted(self, counter: int, count: Callable[[], int]) -> int:
        try:
            return count()
        except OSError as error:
            self._unread.setdefault(counter, reason_of(error))
            return 0

    def take_unread(self) -> tuple[str, ...]:
        """What could not be counted since the last call, one sentence each."""
        if not self._unread:
            return ()
        found = tuple(not_counted(counter, why) for counter, why in self._unread.items())
        self._unread.clear()
        return found

    def forget_what_is_gone(self) -> None:
        """Drops what caches keep about temporary files and modules.

        They look again when they need them.
        """
        for name, cache in _cpython.path_caches():
            self._forget(name, cache, self._is_gone)
        for cache in self._runner.keyed_by_module():
            self._forget("modules", cache, _is_no_module)

    def empty_caches(self) -> None:
        """Empties what may drop any entry at any time: caches of the library and of the runner."""
        caches.empty()
        self._runner.empty()

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
        return not Original.exists(path)

    def value(self, counter: int) -> float:
        """What one counter says now, blocks left out, for line-by-line use.

        It is 0 where that cannot be told, of which the canary has spoken.
        """
        if counter in (HEAP, MAPPED):
            return float(self.memory()[counter == MAPPED])
        for at, count in self._counts:
            if at == counter:
                return float(counted(count))
        return 0.0

    def things(self, counter: int) -> frozenset[Any]:
        """What there is now of something that is counted one by one, to tell old from new.

        There is nothing where that cannot be told.
        """
        try:
            return self._things(counter)
        except OSError:
            return frozenset()

    def _things(self, counter: int) -> frozenset[Any]:
        if counter == DESCRIPTORS:
            return frozenset(descriptors().items())
        if counter == THREADS:
            return frozenset(_threads())
        if counter == CHILDREN:
            return frozenset(children())
        if counter == TASKS:
            self._tasks.count()
            return self._tasks.names()
        self._files.count()
        return self._files.names()


def _nothing() -> tuple[int, int]:
    return 0, 0


def _is_no_module(name: str) -> bool:
    return name not in sys.modules


def counted(count: Callable[[], int]) -> int:
    """What ``count`` says; 0 where it cannot tell, of which the canary has spoken."""
    try:
        return count()
    except OSError:
        return 0


def not_counted(counter: int, why: str) -> str:
    """A sentence on a counter that does not see."""
    return f"{COUNTERS[counter].metric.replace('_', ' ')} cannot be counted here: {why}"


def reason_of(error: OSError) -> str:
    """In one line, with the file where there is one."""
    return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)


def descriptor_count() -> int:
    """Open descriptors of this process. Raises ``OSError`` where the platform does not tell."""
    if not _HAS_PROC:
        return int(_asked(lambda process: process.num_fds()))
    # Since Linux 6.2 the size of this directory is the answer, without opening it.
    return Original.stat(_DESCRIPTORS).st_size or len(Original.listdir(_DESCRIPTORS)) - 1


def _asked(question: Callable[[Any], _Answer]) -> _Answer:
    """What psutil says of this process; imported where it is needed, which is nowhere on Linux."""
    import psutil

    try:
        return question(psutil.Process())
    except psutil.Error as error:
        raise OSError(str(error)) from None


def descriptor_limit() -> float:
    """How many descriptors this process may have open.

    Without end where the platform does not tell.
    """
    try:
        import resource
    except ImportError:
        return math.inf
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if soft == resource.RLIM_INFINITY else soft


def thread_count() -> int:
    """Threads of this process, those that Python does not know included.

    Raises ``OSError`` where the platform does not tell.
    """
    if not _HAS_PROC:
        return int(_asked(lambda process: process.num_threads()))
    return Original.stat(_TASKS).st_nlink - 2


def _threads() -> list[Any]:
    """What tells all threads apart."""
    if not _HAS_PROC:
        return list(_cpython.frames_of_threads())
    return list(Original.listdir(_TASKS))


def child_count() -> int:
    """Child processes that run or wait to be collected.

    Raises ``OSError`` where there are some and the platform does not tell how many.
    """
    try:
        Original.waitid(os.P_ALL, 0, _WITHOUT_COLLECTING)
    except ChildProcessError:
        return 0
    except AttributeError:  # a platform without it, such as macOS until Python 3.13
        pass
    return len(children())


def children() -> list[int]:
    """Process ids of all children, zombies included. Raises ``OSError`` where nobody tells."""
    if not _HAS_PROC:
        return _children_by_parent()
    found: list[int] = []
    for task in Original.listdir(_TASKS):
        try:
            with Original.open(f"{_TASKS}/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if task == str(Original.getpid()):  # the kernel was built without this file
                return _children_by_parent()
        except ProcessLookupError:  # the thread has ended
            continue
    return found


def _children_by_parent() -> list[int]:
    return _asked(lambda process: [child.pid for child in process.children()])


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
