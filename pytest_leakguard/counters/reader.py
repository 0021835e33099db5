"""Exact counters of this process: what each counts, and how to read all in some 30 microseconds.

A reading goes into an array made beforehand, so that measuring allocates nothing that stays.
"""

from __future__ import annotations

import gc
import os
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.counters import _cpython, caches, malloc
from pytest_leakguard.counters.caches import NO_RUNNER, RunnerCaches
from pytest_leakguard.counters.tempfiles import NO_DIRECTORY, TemporaryFiles

_TASKS, _DESCRIPTORS = "/proc/self/task", "/proc/self/fd"


@dataclass(frozen=True, slots=True)
class Counter:
    """One thing that is counted."""

    metric: MetricName
    """Its name in the report."""
    unit: str
    kind: LeakKind
    is_resource: bool = False
    """Scarce and countable one by one, so that few of them prove a leak, and too many break the
    process."""


COUNTERS = (
    Counter(MetricName.BLOCKS, "blocks", LeakKind.PYTHON_OBJECTS),
    Counter(MetricName.HEAP_BYTES, "bytes", LeakKind.GROWTH),
    Counter(MetricName.MAPPED_BYTES, "bytes", LeakKind.MAPPINGS),
    Counter(MetricName.FILE_DESCRIPTORS, "descriptors", LeakKind.FILE_DESCRIPTORS, True),
    Counter(MetricName.THREADS, "threads", LeakKind.THREADS, True),
    Counter(MetricName.CHILD_PROCESSES, "processes", LeakKind.CHILD_PROCESSES, True),
    Counter(MetricName.TEMPORARY_FILES, "files", LeakKind.GROWTH, True),
    Counter(MetricName.ASYNCIO_TASKS, "tasks", LeakKind.PYTHON_OBJECTS),
    Counter(MetricName.PRIVATE_BYTES, "bytes of pages", LeakKind.MAPPINGS),
)
BLOCKS, HEAP, MAPPED, DESCRIPTORS, THREADS, CHILDREN, FILES, TASKS, PRIVATE = range(len(COUNTERS))
PRIVATE_GRAIN_BYTES = 64 * 1024
"""Resident pages come and go one by one; in such steps a quiet process reads the same again and
again."""


class Reader:
    """Reads all counters; make it before the first reading, since making it allocates."""

    def __init__(
        self,
        files: TemporaryFiles,
        leaves_out_interned: bool = True,
        short_lived: tuple[str, ...] = (),
        runner: RunnerCaches = NO_RUNNER,
    ) -> None:
        self._files = files
        self._short_lived = short_lived or NO_DIRECTORY
        """What directories begin with that have another name in every run, such as those of
        ``tmp_path``."""
        self._runner = runner
        self.counts_interned = not leaves_out_interned
        """Strings that the interpreter interned for good are among the blocks."""
        self._interned = ImmortalStrings().count if leaves_out_interned else int
        self.interned = 0
        """Strings that the last reading left out."""
        self._heap = malloc.heap_reader()
        self._arenas = _cpython.arena_reader()
        self._unclaimed = self._own_bytes = 0
        self.private_bytes = 0
        """What the last reading rounded down to ``PRIVATE_GRAIN_BYTES``."""
        self._cached: dict[str, int] = {}
        self._clear_caches = _cpython.cache_clearer()
        self.empties_library_caches = False
        """Before every reading, which makes the code that uses them slower: for suspects only."""
        self.filling: tuple[Callable[[], object], ...] = ()
        """What empties the bounded caches that the suspect fills, called with them."""

    def empty_no_caches(self) -> None:
        """As before the last suspect, whose caches they were."""
        self.empties_library_caches, self.filling = False, ()

    def read(self, into: array[float], row: int, clears_caches: bool = False) -> None:
        """One reading after a collection, into ``row`` of an array of ``len(COUNTERS)`` columns."""
        self.read_cheap(into, row, clears_caches)
        self.read_heap(into, row)

    def read_heap(self, into: array[float], row: int) -> None:
        """The counters that the allocator has to be asked for, which may take it a while."""
        at = row * len(COUNTERS)
        into[at + HEAP], into[at + MAPPED], self.private_bytes = self._memory()
        into[at + PRIVATE] = self.private_bytes // PRIVATE_GRAIN_BYTES * PRIVATE_GRAIN_BYTES

    def _memory(self) -> tuple[int, int, int]:
        """Bytes of the heap in use, of address space, and of private pages.

        What allocators claim is in neither of the last two. Nor is the main thread's stack, which
        stays as large as the deepest recursion has made it.
        """
        in_use, claimed = self._heap()
        mapped, private = malloc.memory()
        if mapped - claimed != self._unclaimed:
            # Asked for only when it may have changed, since it takes many times as long.
            self._unclaimed = mapped - claimed
            self._own_bytes = self._arenas() + malloc.stack_bytes()
        claimed += self._own_bytes
        return in_use, mapped - claimed, private - claimed

    def read_cheap(self, into: array[float], row: int, clears_caches: bool = False) -> None:
        """All others, garbage collected before."""
        self.forget_what_is_gone()
        files = self._files.count()  # first, since it drops the names of files that are gone
        gc.collect()
        if clears_caches:  # last, since whatever runs puts names there
            self._clear_caches()
        at = row * len(COUNTERS)
        self.interned = self._interned()
        into[at + BLOCKS] = sys.getallocatedblocks() - self.interned
        into[at + DESCRIPTORS] = descriptor_count()
        into[at + THREADS] = thread_count()
        into[at + CHILDREN] = child_count()
        into[at + FILES] = files
        into[at + TASKS] = _cpython.task_count()

    def forget_what_is_gone(self) -> None:
        """Drops what caches keep about temporary files and modules.

        They look again when they need them.
        """
        if self.empties_library_caches:
            caches.empty()
            self._runner.empty()
            for clear in self.filling:
                clear()
        for name, cache in _cpython.path_caches():
            self._forget(name, cache, self._is_gone)
        for cache in self._runner.keyed_by_module():
            self._forget("modules", cache, _is_no_module)

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
        """One reading without a collection, for line-by-line use."""
        in_use, mapped, private = self._memory()
        return (
            0.0,
            in_use,
            mapped,
            descriptor_count(),
            thread_count(),
            child_count(),
            self._files.count(),
            0.0,
            private,
        )


def _is_no_module(name: str) -> bool:
    return name not in sys.modules


class ImmortalStrings:
    """Counts the strings that this interpreter has interned and will never free.

    The count is 0 where it frees them all.

    Python 3.12 keeps every interned string: each attribute set by a new name, each part of a path
    in pathlib. Python 3.13 keeps those of its compiler. Neither is a leak of the code that runs, so
    CPython's own hunt for leaks leaves them out as well.
    """

    def __init__(self) -> None:
        self._size_at_count = self._known = 0

    def count(self) -> int:
        """Counts them one by one where some are mortal, but only when their number has changed."""
        size = _cpython.interned_strings()
        if _cpython.KEEPS_ALL_INTERNED:
            return size
        if size != self._size_at_count:
            self._size_at_count = size
            self._known = _cpython.immortal_strings()
        return self._known


def descriptor_count() -> int:
    """Open descriptors of this process; 0 where the platform does not tell."""
    try:
        # Since Linux 6.2 the size of this directory is the answer, without opening it.
        return os.stat(_DESCRIPTORS).st_size or len(os.listdir(_DESCRIPTORS)) - 1  # noqa: PTH116, PTH208  # a tenth of the time
    except OSError:
        return 0


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


def make_frames() -> None:
    """Makes the frame objects of all callers now.

    An exception kept in a cycle would, one for each caller.
    """
    frame = _cpython.calling_frame()
    while frame.f_back is not None:
        frame = frame.f_back
