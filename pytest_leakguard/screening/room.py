"""What this process has left for another run of a test: descriptors, threads, memory, disk.

A test that leaks would otherwise take what pytest, its reports and later tests need. Nothing is
ever closed or ended behind its owner's back: repeats stop early, and say why.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from pathlib import Path

from pytest_leakguard.counters._cpython import collect_abandoned_children
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.counters.reader import (
    CHILDREN,
    COUNTERS,
    DESCRIPTORS,
    FILES,
    THREADS,
    child_count,
    descriptor_count,
    descriptor_limit,
    thread_count,
)
from pytest_leakguard.counters.transients import wait_until
from pytest_leakguard.screening.ledger import Ledger

MOST_THREADS = 400
"""Threads of this process at which repeats stop; each has a stack, and debuggers list them."""
MOST_CHILDREN = 200
"""Child processes at which repeats stop; each is a line in somebody's ``ps``, and containers have
few to give."""
RESERVE_TASKS = 32
"""Threads and processes of the group's limit that are left for others."""
RESERVE_DESCRIPTORS = 32
"""Descriptors that repeats leave free for pytest, its plugins, the reports and later tests."""
SMALL_LIMIT_SHARE = 3
"""Where the limit is so small that this reserve would be most of it, one part in so many is left
free."""
SHARERS = 2
"""One test's repeats may take one part in so many of the free descriptors, or the next leak would
find none."""
MEMORY_SHARE = 4
"""Repeats may keep one part in so many of what memory was free when they began."""
LARGE_RUN_BYTES = 1024**2
"""Bytes kept by one run from which on the sum over all runs is looked at; fewer reach no limit in
a test's time."""
MOST_DISK_BYTES = 1024**3
"""Bytes of temporary files that the repeats of one test may leave."""
RESERVE_DISK_BYTES = 256 * 1024**2
"""Bytes of the disk for temporary files that are left free."""
EXPLAINING_RUNS = 4
"""Runs like the last one that there must be room for before an explanation is looked for."""
_GROUP = Path("/sys/fs/cgroup")


class OutOfRoom(Exception):
    """No further run may be made; says why."""

    def __init__(self, problem: str, counter: int | None = None) -> None:
        super().__init__(problem)
        self.counter = counter
        """Of what is scarce and would be used up; None where it is memory or time."""


class Room:
    """What there is room for while one test is repeated."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._descriptors = 0
        with contextlib.suppress(OSError):  # where they cannot be counted, no run leaves any
            self._descriptors = descriptor_count()
        self._directory = tempfile.gettempdir()
        self._disk_bytes = _free_disk(self._directory)
        self._memory_bytes = _free_memory() / MEMORY_SHARE
        self._closed = ""
        self._rises = [0.0] * len(COUNTERS)
        """By counter of what is scarce, the most that one run has left."""

    def close(self, why: str) -> None:
        """There shall be no more runs."""
        self._closed = self._closed or why

    def problem(self, runs: int = 1) -> str:
        """Why so many more runs like the last one must not be made; empty when they may."""
        try:
            self.check(runs)
        except OutOfRoom as problem:
            return str(problem)
        return ""

    def check(self, runs: int = 1) -> None:
        """Raises ``OutOfRoom`` when so many more runs like the last one must not be made."""
        if self._closed:
            raise OutOfRoom(self._closed)
        self._check_descriptors(runs)
        self._check_tasks(runs)
        self._check_memory(runs)
        self._check_disk()

    def _rise(self, counter: int) -> float:
        self._rises[counter] = max(self._rises[counter], self._ledger.rise(counter))
        return self._rises[counter]

    def _check_descriptors(self, runs: int) -> None:
        rise = self._rise(DESCRIPTORS)
        if not rise:
            return
        now, limit = descriptor_count(), descriptor_limit()
        left = limit - self._descriptors - reserve_of(limit)
        if runs == 1 and left < limit:  # an explanation, which asks for more, may take what is left
            left /= SHARERS
        if now - self._descriptors + runs * rise >= left:
            text = f"{now} of {limit:.0f} descriptors are open, and a run leaves {rise:.0f}"
            raise OutOfRoom(text, DESCRIPTORS)

    def _check_tasks(self, runs: int) -> None:
        """Threads and processes that end by themselves are waited for before it is said."""

        def is_room() -> bool:
            collect_abandoned_children()
            return self._of_tasks(runs) is None

        problem = self._of_tasks(runs)
        if problem is not None and not wait_until(is_room):
            raise problem

    def _of_tasks(self, runs: int) -> OutOfRoom | None:
        threads, children = self._rise(THREADS), self._rise(CHILDREN)
        if not threads and not children:
            return None
        if threads and thread_count() + runs * threads > MOST_THREADS:
            text = f"{thread_count()} threads run, and a run leaves {threads:.0f}"
            return OutOfRoom(text, THREADS)
        if children and child_count() + runs * children > MOST_CHILDREN:
            text = f"there are {child_count()} child processes, and a run leaves {children:.0f}"
            return OutOfRoom(text, CHILDREN)
        more, limit = threads + children, _group_limit("pids.max")
        if _group_limit("pids.current", 0.0) + runs * more + RESERVE_TASKS > limit:
            text = f"{limit:.0f} threads and processes may run here, and a run leaves {more:.0f}"
            return OutOfRoom(text, THREADS if threads else CHILDREN)
        return None

    def _check_memory(self, runs: int) -> None:
        rise_bytes = self._ledger.bytes_of_last()
        if rise_bytes < LARGE_RUN_BYTES:
            return
        kept_bytes = self._ledger.bytes_of_all()
        if kept_bytes + runs * rise_bytes >= self._memory_bytes:
            kept = f"{kept_bytes / 1e6:,.0f} MB"
            raise OutOfRoom(f"repeated runs have kept {kept}, and more is not to be had here")

    def _check_disk(self) -> None:
        if not self._rise(FILES):
            return
        free_bytes = _free_disk(self._directory)
        used_bytes = self._disk_bytes - free_bytes
        if used_bytes >= MOST_DISK_BYTES or free_bytes <= RESERVE_DISK_BYTES:
            used = f"{used_bytes / 1e6:,.0f} MB"
            raise OutOfRoom(f"repeated runs have left {used} of temporary files", FILES)


def reserve_of(limit: float) -> float:
    """Descriptors that are left free."""
    return min(RESERVE_DESCRIPTORS, limit // SMALL_LIMIT_SHARE) if limit < math.inf else 0.0


def _free_disk(directory: str) -> float:
    try:
        found = Original.statvfs(directory)
    except OSError:
        return math.inf
    return float(found.f_bavail * found.f_frsize)


def _free_memory() -> float:
    """What the machine and the group of this process have left, in bytes."""
    limit = _group_limit("memory.max") - _group_limit("memory.current", 0.0)
    with contextlib.suppress(OSError, ValueError), Original.open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(b"MemAvailable:"):
                return min(limit, 1024.0 * int(line.split()[1]))
    return limit


def _group_limit(name: str, unknown: float = math.inf) -> float:
    """A number of this process's control group (version 2)."""
    try:
        with Original.open("/proc/self/cgroup", "rb") as file:
            path = file.read().rpartition(b"::")[2].strip().decode()
        with Original.open(f"{_GROUP}{path}/{name}", "rb") as file:
            return float(file.read())
    except (OSError, ValueError):
        return unknown
